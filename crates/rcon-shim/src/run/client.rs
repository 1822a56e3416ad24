//! One connection to the shim's socket.

use std::{
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    time::Instant,
};

use rcon_oci::{
    log::LogStream,
    shim::{Frame, FrameBuffer, MAX_DATA_BYTES, Response, StreamSet},
};

/// Output that waits for a slow client, bytes. Beyond it the process waits (exec) or, after a while, the client goes (attachment).
pub const MAX_PENDING_OUTPUT_BYTES: usize = 1024 * 1024;

/// What a connection is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Nothing said yet.
    New,
    /// The next request may come.
    Idle,
    /// Its request is being worked on; later ones wait in its buffer.
    Busy,
    /// Answered when the container ends.
    Waiting,
    /// Answered when everything is removed.
    Leaving,
    /// In the streams of the container.
    Attached(StreamSet),
    /// The stream of an exec.
    Exec(u64),
    /// Gets what is left to send, then ends.
    Closing,
}

/// A connection with its buffers.
pub struct Client {
    stream: UnixStream,
    /// What it is used for.
    pub role: Role,
    input: FrameBuffer,
    input_ended: bool,
    output: Vec<u8>,
    sent: usize,
    /// Since when an attachment's buffer has been full.
    pub full_since: Option<Instant>,
    broken: bool,
}

impl Client {
    /// A new connection.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            role: Role::New,
            input: FrameBuffer::new(),
            input_ended: false,
            output: Vec::new(),
            sent: 0,
            full_since: None,
            broken: false,
        })
    }

    /// The descriptor to wait for.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Whether something waits to be sent.
    pub fn wants_write(&self) -> bool {
        self.pending_output() > 0
    }

    /// Whether anything is read from it: not while its request is worked on, so that a client cannot fill our memory.
    pub fn wants_read(&self) -> bool {
        !self.input_ended && matches!(self.role, Role::New | Role::Idle | Role::Attached(_) | Role::Exec(_))
    }

    /// Whether it can be forgotten.
    pub fn is_done(&self) -> bool {
        self.broken || (self.role == Role::Closing && !self.wants_write())
    }

    /// The peer is gone, or broke the protocol.
    pub fn break_off(&mut self) {
        self.broken = true;
    }

    /// Bytes that wait to be sent.
    pub fn pending_output(&self) -> usize {
        self.output.len() - self.sent
    }

    /// Whether it should get no more output now.
    pub fn is_full(&self) -> bool {
        self.pending_output() >= MAX_PENDING_OUTPUT_BYTES
    }

    /// Whether its input has just ended; an end is told once.
    pub fn read(&mut self, buffer: &mut [u8; MAX_DATA_BYTES]) -> bool {
        match self.stream.read(buffer) {
            Ok(0) => {
                self.input_ended = true;
                true
            }
            Ok(len) => {
                self.input.push(&buffer[..len]);
                false
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => false,
            Err(_) => {
                self.broken = true;
                false
            }
        }
    }

    /// The next frame; a client that sends none is cut off.
    pub fn next_frame(&mut self) -> Option<Frame> {
        self.input.next_frame().unwrap_or_else(|_| {
            self.broken = true;
            None
        })
    }

    /// Answers.
    pub fn respond(&mut self, response: &Response) {
        let encoded = response.to_frame().map_err(drop).and_then(|frame| frame.encode_into(&mut self.output).map_err(drop));
        self.broken |= encoded.is_err();
        self.flush();
    }

    /// Answers for the last time.
    pub fn finish(&mut self, response: &Response) {
        self.role = Role::Closing;
        self.respond(response);
    }

    /// Sends a process' output.
    pub fn output(&mut self, stream: LogStream, bytes: &[u8]) {
        self.broken |= Frame::encode_output(stream == LogStream::Stderr, bytes, &mut self.output).is_err();
        self.flush();
        if self.is_full() && self.full_since.is_none() {
            self.full_since = Some(Instant::now());
        }
    }

    /// Sends what the peer takes now.
    pub fn flush(&mut self) {
        while self.wants_write() && !self.broken {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(len) => self.sent += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.broken = true,
            }
        }
        if self.sent == self.output.len() {
            self.output.clear();
            self.output.shrink_to(2 * MAX_DATA_BYTES);
            self.sent = 0;
        } else if self.sent > MAX_PENDING_OUTPUT_BYTES {
            self.output.drain(..self.sent);
            self.sent = 0;
        }
        if self.pending_output() <= MAX_PENDING_OUTPUT_BYTES / 2 {
            self.full_since = None;
        }
    }
}
