//! How one talks to a container's shim: its run directory, its frames and its messages.
//!
//! A client connects to [`RunDirectory::socket`], sends [`Request::Hello`] and gets [`Response::Hello`]; then requests are answered
//! in order, one response each. [`Request::Attach`] and [`Request::Exec`] turn the connection into a stream: after
//! [`Response::Attached`] or [`Response::ExecStarted`] the client may send [`Frame::Stdin`], [`Frame::StdinClosed`] and the messages
//! [`Request::Resize`] and [`Request::Kill`] (unanswered there), and gets [`Frame::Stdout`] and [`Frame::Stderr`] until
//! [`Response::Exited`] ends it. Which bytes went out before the response arrives in order: the socket is a stream.
//!
//! The shim outlives its daemon and may be older or newer than it: fields are added with defaults, meanings never change, and
//! [`PROTOCOL_VERSION`] is raised when a shim would have to refuse what an older one understood.

mod exit;
mod frame;
mod layout;
mod message;
mod options;

pub use exit::ExitRecord;
pub use frame::{Frame, FrameBuffer, FrameError};
pub use layout::RunDirectory;
pub use message::{ExecProcess, MessageError, Readiness, Request, Response, ShimState, ShimStatus, StreamSet, WindowSize};
pub use options::{OptionsError, ShimOptions};

/// The version of frames and messages that this build speaks.
pub const PROTOCOL_VERSION: u32 = 1;

/// Longest data in one frame of a stream, bytes: one pipe's worth.
pub const MAX_DATA_BYTES: usize = 64 * 1024;

/// Longest message, bytes of JSON: an exec's arguments and environment may be long.
pub const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

/// How long a shim waits for [`Request::Shutdown`] after its container ended and everything is written; then it leaves, and
/// [`RunDirectory::exit_file`] tells the rest.
pub const LINGER_MS: u64 = 5_000;
