//! The streams of an attached container or an exec: this terminal on one side, the agent's stream on the other.

use std::{process::ExitCode, time::Duration};

use rcon_proto::v1::{self, stream_down::Down, stream_up::Up};
use rcon_rpc::{
    Channel,
    tonic::{Request, Streaming},
    v1::containers_client::ContainersClient,
};
use rcon_types::{Failure, FailureKind};
use tokio::{
    io::AsyncReadExt,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    connect::answer,
    report::{Outcome, Report},
    stdio::Output,
};

/// Size of the pieces that standard input travels in.
const PIECE_BYTES: usize = 32 * 1024;
/// How many of them may wait for the agent.
const PIECES: usize = 16;
/// How long the agent may take to say that the process runs.
const READY: Duration = Duration::from_secs(30);

/// An open pair of streams; the process may not run yet.
pub struct Attached {
    down: Streaming<v1::StreamDown>,
    up: mpsc::Sender<v1::StreamUp>,
}

/// Opens the streams of an attachment or an exec and waits until the agent says that they are complete.
pub async fn open(containers: &mut ContainersClient<Channel>, head: Up, stdin: bool) -> Result<Attached, Report> {
    let (up, receiver) = mpsc::channel(PIECES);
    let is_exec = matches!(head, Up::Exec(_));
    let first = v1::StreamUp { up: Some(head) };
    up.try_send(first).map_err(|_| Failure::new(FailureKind::Internal, "the stream closed before it was opened"))?;
    let streams = Request::new(ReceiverStream::new(receiver));
    let mut down = if is_exec { containers.exec(streams).await } else { containers.attach(streams).await }?.into_inner();
    let ready = tokio::time::timeout(READY, down.message())
        .await
        .map_err(|_| Failure::new(FailureKind::DeadlineExceeded, "the agent did not attach to the container in time"))??;
    if !matches!(ready, Some(v1::StreamDown { down: Some(Down::Ready(_)) })) {
        return Err(Failure::new(FailureKind::Internal, "the agent's stream did not begin as it must").into());
    }
    if stdin {
        tokio::spawn(feed(up.clone()));
    } else {
        // The other side has gone only when its answer says so.
        let _ = up.send(v1::StreamUp { up: Some(Up::StdinClosed(true)) }).await;
    }
    Ok(Attached { down, up })
}

/// Copies standard input up until it ends.
async fn feed(up: mpsc::Sender<v1::StreamUp>) {
    let mut input = tokio::io::stdin();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match input.read(&mut piece).await {
            Ok(0) | Err(_) => break,
            Ok(length) => {
                if up.send(v1::StreamUp { up: Some(Up::Stdin(piece[..length].to_vec().into())) }).await.is_err() {
                    return;
                }
            }
        }
    }
    // A process that has ended reads no more.
    let _ = up.send(v1::StreamUp { up: Some(Up::StdinClosed(true)) }).await;
}

impl Attached {
    /// Copies output down until the process ends and returns its exit code.
    ///
    /// Signals to this command are passed on: by the stream for an exec, by `kill` for the container `of`.
    pub async fn run_until_exit(mut self, mut of: Option<(&mut ContainersClient<Channel>, &str)>) -> Outcome {
        let mut interrupts = signal(SignalKind::interrupt()).map_err(|e| crate::report::local("could not watch for signals", &e))?;
        let mut terminations = signal(SignalKind::terminate()).map_err(|e| crate::report::local("could not watch for signals", &e))?;
        let mut output = Output::default();
        loop {
            let name = tokio::select! {
                message = self.down.message() => match message? {
                    Some(v1::StreamDown { down: Some(down) }) => match down {
                        Down::Ready(_) => continue,
                        Down::Stdout(data) => { output.stdout(&data)?; continue; }
                        Down::Stderr(data) => { output.stderr(&data)?; continue; }
                        Down::ExitCode(code) => return Ok(ExitCode::from(u8::try_from(code & 0xff).unwrap_or(125))),
                    },
                    Some(_) => continue,
                    None => return Err(Failure::new(FailureKind::Unavailable, "the agent ended the stream before the process ended")
                        .hint("the container may still run: see `rconctl ps`").into()),
                },
                _ = interrupts.recv() => "INT",
                _ = terminations.recv() => "TERM",
            };
            match &mut of {
                Some((containers, container)) => {
                    let kill = v1::KillContainerRequest { container: (*container).to_owned(), signal: name.to_owned() };
                    // It may have ended meanwhile; the stream tells.
                    let _ = answer(containers.kill(kill)).await;
                }
                None => {
                    let _ = self.up.send(v1::StreamUp { up: Some(Up::Signal(name.to_owned())) }).await;
                }
            }
        }
    }
}
