//! Streams between a client and a container. All of them are bounded: a reader that stalls stalls the writer.

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::{error::EngineError, request::WindowSize};

/// Standard output or standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamKind {
    /// Standard output; also everything a terminal shows.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What a client sends to a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputFrame {
    /// Bytes for its standard input.
    Stdin(Bytes),
    /// The end of its standard input.
    StdinClosed,
    /// The terminal has a new size.
    Resize(WindowSize),
    /// A signal for the process, by number.
    Signal(i32),
}

/// What a process sends to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputFrame {
    /// From its standard output.
    Stdout(Bytes),
    /// From its standard error.
    Stderr(Bytes),
    /// The process has ended; the last frame. All its output came before.
    Exit(i32),
}

/// Both directions of an `exec` or `attach`. Dropping it detaches; an attached container goes on.
#[derive(Debug)]
pub struct IoSession {
    /// Towards the process.
    pub input: mpsc::Sender<InputFrame>,
    /// From the process; ends after [`OutputFrame::Exit`], or without it when the shim died.
    pub output: mpsc::Receiver<OutputFrame>,
}

/// One piece of a container's log: a line with its newline, or part of a long one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Where it was written to.
    pub stream: StreamKind,
    /// What was written.
    pub data: Bytes,
    /// When, in ns since 1970.
    pub time_ns: u64,
}

/// A log being read; ends with the log, or, when following, with the container.
#[derive(Debug)]
pub struct LogStream {
    /// The pieces, oldest first.
    pub entries: mpsc::Receiver<Result<LogEntry, EngineError>>,
}
