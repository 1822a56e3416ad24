//! One connection to a shim: requests and their answers, or a stream.

use std::{io, os::fd::AsRawFd, path::PathBuf, time::Duration};

use rcon_oci::shim::{Frame, FrameBuffer, PROTOCOL_VERSION, Request, Response, RunDirectory};
use rcon_types::Failure;
use rustix::fs::{Mode, OFlags, open};
use thiserror::Error;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

use crate::{error::EngineError, limits::SHIM_DEADLINE, shim::session, stream::IoSession};

/// Longest path of a socket (unix(7), `sun_path` without its end).
const SOCKET_PATH_BYTES: usize = 107;
const READ_BYTES: usize = 64 * 1024;

/// Why a shim did not do what it was asked for.
#[derive(Debug, Error)]
pub(crate) enum ShimError {
    /// Nobody answers at its socket.
    #[error("nobody answers at its socket: {0}")]
    Gone(#[source] io::Error),
    /// The connection broke, or what came was no answer.
    #[error("{0}")]
    Protocol(String),
    /// It took too long.
    #[error("it did not answer within {} s", .0.as_secs())]
    Late(Duration),
    /// It said no.
    #[error("{failure}")]
    Refused {
        /// Why.
        failure: Failure,
        /// 126 or 127 where a program cannot be run.
        exit_code: Option<i32>,
    },
}

impl ShimError {
    /// The same as a failed operation on a container.
    pub(crate) fn of(self, container: &str) -> EngineError {
        EngineError::Shim { container: container.to_owned(), reason: self.to_string() }
    }
}

/// A connection that has said hello.
#[derive(Debug)]
pub(crate) struct ShimConnection {
    stream: UnixStream,
    frames: FrameBuffer,
}

impl ShimConnection {
    /// Connects to the shim of a run directory.
    pub(crate) async fn open(run: &RunDirectory) -> Result<Self, ShimError> {
        let stream = connect(run).await.map_err(ShimError::Gone)?;
        let mut connection = Self { stream, frames: FrameBuffer::new() };
        match connection.ask(&Request::Hello { version: PROTOCOL_VERSION }).await? {
            Response::Hello { .. } => Ok(connection),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks one thing of the shim of a run directory and hangs up.
    pub(crate) async fn ask_once(run: &RunDirectory, request: &Request) -> Result<Response, ShimError> {
        Self::open(run).await?.ask(request).await
    }

    /// Sends a request and waits for its answer, which must come soon.
    pub(crate) async fn ask(&mut self, request: &Request) -> Result<Response, ShimError> {
        timeout(SHIM_DEADLINE, self.ask_patiently(request)).await.map_err(|_| ShimError::Late(SHIM_DEADLINE))?
    }

    /// The same without a deadline, for what takes as long as a container.
    pub(crate) async fn ask_patiently(&mut self, request: &Request) -> Result<Response, ShimError> {
        let frame = request.to_frame().map_err(|error| ShimError::Protocol(error.to_string()))?;
        send(&mut self.stream, &frame).await?;
        match self.frame().await? {
            Some(Frame::Message(bytes)) => match Response::from_bytes(&bytes).map_err(|error| ShimError::Protocol(error.to_string()))? {
                Response::Failed { failure, exit_code } => Err(ShimError::Refused { failure, exit_code }),
                other => Ok(other),
            },
            Some(_) => Err(ShimError::Protocol("output came where an answer was due".into())),
            None => Err(ShimError::Protocol("it hung up".into())),
        }
    }

    /// The next frame; none at the end.
    async fn frame(&mut self) -> Result<Option<Frame>, ShimError> {
        next_frame(&mut self.stream, &mut self.frames).await
    }

    /// Both directions of what the last answer has begun.
    pub(crate) fn into_session(self) -> IoSession {
        let (output, input, session) = session::channels();
        self.run_session(input, output);
        session
    }

    /// The same towards channels that somebody holds already.
    pub(crate) fn run_session(self, input: session::Input, output: session::Output) {
        let (read, write) = self.stream.into_split();
        tokio::spawn(session::run(read, write, self.frames, input, output));
    }
}

pub(super) fn unexpected(response: &Response) -> ShimError {
    ShimError::Protocol(format!("an answer was not expected: {response:?}"))
}

pub(super) async fn send(stream: &mut (impl AsyncWriteExt + Unpin), frame: &Frame) -> Result<(), ShimError> {
    let bytes = frame.to_bytes().map_err(|error| ShimError::Protocol(error.to_string()))?;
    stream.write_all(&bytes).await.map_err(|error| ShimError::Protocol(format!("could not write: {error}")))
}

pub(super) async fn next_frame(stream: &mut (impl AsyncReadExt + Unpin), frames: &mut FrameBuffer) -> Result<Option<Frame>, ShimError> {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        if let Some(frame) = frames.next_frame().map_err(|error| ShimError::Protocol(error.to_string()))? {
            return Ok(Some(frame));
        }
        match stream.read(&mut buffer).await {
            Ok(0) => return Ok(None),
            Ok(read) => frames.push(&buffer[..read]),
            Err(error) => return Err(ShimError::Protocol(format!("could not read: {error}"))),
        }
    }
}

async fn connect(run: &RunDirectory) -> io::Result<UnixStream> {
    let socket = run.socket();
    if socket.as_os_str().len() <= SOCKET_PATH_BYTES {
        return UnixStream::connect(socket).await;
    }
    let directory = open(run.path(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(RunDirectory::socket_name());
    UnixStream::connect(short).await
}
