//! Requests to a shim and its responses, as JSON.

use rcon_types::Failure;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use super::{ExitRecord, Frame, MAX_MESSAGE_BYTES};
use crate::ProcessUser;

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// First on every connection.
    Hello {
        /// The client's [`super::PROTOCOL_VERSION`].
        version: u32,
    },
    /// How the container is. Answer: [`Response::State`].
    State,
    /// Run the created container's program. Answer: [`Response::Done`], or [`Response::Failed`] with an exit code of 126 or 127 where the
    /// program cannot be run; the container has ended then.
    Start,
    /// Send a signal to the container's first process, or, within the stream of an exec, to its process. Answer: [`Response::Done`].
    Kill {
        /// Its number.
        signal: i32,
    },
    /// Run another process inside; turns the connection into its stream. Answer: [`Response::ExecStarted`].
    Exec {
        /// What to run.
        process: ExecProcess,
    },
    /// Take part in the streams of the container's first process. Answer: [`Response::Attached`].
    Attach {
        /// Which.
        streams: StreamSet,
    },
    /// The terminal's size, of the container or, within the stream of an exec, of its process. Answer: [`Response::Done`].
    Resize {
        /// The new size.
        size: WindowSize,
    },
    /// Close the container's standard input for good. Answer: [`Response::Done`].
    CloseStdin,
    /// Answered when the container has ended and its log is complete. Answer: [`Response::Exited`].
    Wait,
    /// The end is known: remove the runtime's state, the cgroup and the socket, and leave. Answer: [`Response::Done`] when that is done;
    /// [`Response::Failed`] while the container runs, unless `force`, which kills it first.
    Shutdown {
        /// Kill what still runs.
        #[serde(default)]
        force: bool,
    },
}

/// What the shim answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "snake_case")]
pub enum Response {
    /// To [`Request::Hello`].
    Hello {
        /// The shim's [`super::PROTOCOL_VERSION`].
        version: u32,
        /// The container's id.
        id: String,
    },
    /// To [`Request::State`].
    State {
        /// As it is now.
        state: ShimState,
    },
    /// It is done.
    Done,
    /// Output follows, and input is taken.
    Attached,
    /// The process runs; output follows, and input is taken.
    ExecStarted {
        /// Its process id on the host.
        pid: i32,
    },
    /// The process, or the container, has ended; no output follows.
    Exited {
        /// How.
        exit: ExitRecord,
    },
    /// The reader was too slow: output was lost, and the connection ends. The log has everything.
    Lagged,
    /// It could not be done.
    Failed {
        /// Why.
        failure: Failure,
        /// What the process would have exited with, as in Docker: 126 not executable, 127 not found; absent for other failures.
        #[serde(default)]
        exit_code: Option<i32>,
    },
}

/// How a container is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimState {
    /// Where it is in its life.
    pub status: ShimStatus,
    /// The shim's process id.
    pub shim_pid: i32,
    /// Process id of the container's first process on the host; 0 once it has ended.
    pub pid: i32,
    /// When the program was started, nanoseconds since 1970; 0 before.
    pub started_at_ns: u64,
    /// How it ended.
    #[serde(default)]
    pub exit: Option<ExitRecord>,
    /// Processes of execs that run.
    #[serde(default)]
    pub execs: u32,
    /// Whether the kernel has killed a process of it for lack of memory.
    #[serde(default)]
    pub oom_killed: bool,
    /// Log records that could not be written (a full disk).
    #[serde(default)]
    pub lost_log_records: u64,
}

/// Where a container is in its life; only moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShimStatus {
    /// Everything is set up; the program waits for [`Request::Start`].
    Created,
    /// The program runs.
    Running,
    /// It has ended.
    Exited,
}

/// A process to run in a running container. Capabilities, limits, seccomp and AppArmor are the container's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecProcess {
    /// The program and its arguments; never empty.
    pub args: Vec<String>,
    /// `KEY=VALUE`; these come after, and replace, the container's own.
    #[serde(default)]
    pub env: Vec<String>,
    /// Absolute path inside; absent: the container's.
    #[serde(default)]
    pub cwd: Option<String>,
    /// Who runs it; absent: the container's user.
    #[serde(default)]
    pub user: Option<ProcessUser>,
    /// A terminal of its own.
    #[serde(default)]
    pub tty: bool,
    /// Whether input will be sent; else its standard input is empty.
    #[serde(default)]
    pub stdin: bool,
    /// The terminal's first size.
    #[serde(default)]
    pub size: Option<WindowSize>,
}

/// Which streams an attachment takes part in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamSet {
    /// Send input; refused where the container was started without an open standard input.
    pub stdin: bool,
    /// Get standard output (and all of a terminal's).
    pub stdout: bool,
    /// Get standard error.
    pub stderr: bool,
}

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

/// The one line that `rcon-shim run` writes to its standard output before it closes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "shim", rename_all = "snake_case")]
pub enum Readiness {
    /// The container is created, and the socket answers.
    Ready {
        /// The shim's process id.
        shim_pid: i32,
        /// Process id of the container's first process on the host.
        pid: i32,
    },
    /// Nothing of the container is left.
    Failed {
        /// Why.
        failure: Failure,
        /// As in [`Response::Failed`].
        #[serde(default)]
        exit_code: Option<i32>,
    },
}

/// Bytes that are no message.
#[derive(Debug, Error)]
pub enum MessageError {
    /// No JSON, or not of a message that this version knows.
    #[error("a message could not be understood")]
    Malformed {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Too long to be sent.
    #[error("a message has {len} bytes, at most {MAX_MESSAGE_BYTES} are allowed")]
    TooLong {
        /// How long.
        len: usize,
    },
}

fn to_frame<T: Serialize>(message: &T) -> Result<Frame, MessageError> {
    let bytes = serde_json::to_vec(message).map_err(|source| MessageError::Malformed { source })?;
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(MessageError::TooLong { len: bytes.len() });
    }
    Ok(Frame::Message(bytes))
}

fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, MessageError> {
    serde_json::from_slice(bytes).map_err(|source| MessageError::Malformed { source })
}

impl Request {
    /// The frame to send.
    ///
    /// # Errors
    /// When it is longer than a peer accepts.
    pub fn to_frame(&self) -> Result<Frame, MessageError> {
        to_frame(self)
    }

    /// From the bytes of a [`Frame::Message`].
    ///
    /// # Errors
    /// When it is none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MessageError> {
        from_bytes(bytes)
    }
}

impl Response {
    /// The frame to send.
    ///
    /// # Errors
    /// When it is longer than a peer accepts.
    pub fn to_frame(&self) -> Result<Frame, MessageError> {
        to_frame(self)
    }

    /// From the bytes of a [`Frame::Message`].
    ///
    /// # Errors
    /// When it is none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MessageError> {
        from_bytes(bytes)
    }
}

impl Readiness {
    /// The line, with its end.
    ///
    /// # Errors
    /// Never in practice: every value has a JSON form.
    pub fn to_line(&self) -> Result<String, MessageError> {
        serde_json::to_string(self).map(|text| text + "\n").map_err(|source| MessageError::Malformed { source })
    }

    /// From what `rcon-shim run` wrote.
    ///
    /// # Errors
    /// When that is not the line, e.g. since the shim was killed.
    pub fn from_line(line: &str) -> Result<Self, MessageError> {
        from_bytes(line.trim_end().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcon_types::FailureKind;

    #[test]
    fn messages_have_a_fixed_form_on_the_wire() {
        for (request, text) in [
            (Request::Hello { version: 1 }, r#"{"request":"hello","version":1}"#),
            (Request::Kill { signal: 15 }, r#"{"request":"kill","signal":15}"#),
            (Request::Shutdown { force: false }, r#"{"request":"shutdown","force":false}"#),
            (Request::Resize { size: WindowSize { rows: 24, columns: 80 } }, r#"{"request":"resize","size":{"rows":24,"columns":80}}"#),
        ] {
            let Frame::Message(bytes) = request.to_frame().unwrap() else { panic!("not a message") };
            assert_eq!(String::from_utf8(bytes.clone()).unwrap(), text);
            assert_eq!(Request::from_bytes(&bytes).unwrap(), request);
        }
        let failed = Response::Failed { failure: Failure::new(FailureKind::NotFound, "no"), exit_code: Some(127) };
        let Frame::Message(bytes) = failed.to_frame().unwrap() else { panic!("not a message") };
        assert_eq!(Response::from_bytes(&bytes).unwrap(), failed);
    }

    #[test]
    fn an_older_peer_may_leave_out_what_came_later() {
        let request = Request::from_bytes(br#"{"request":"exec","process":{"args":["true"]},"later":1}"#).unwrap();
        let Request::Exec { process } = request else { panic!("not an exec") };
        assert_eq!((process.tty, process.stdin, process.cwd), (false, false, None));
        assert!(matches!(Request::from_bytes(br#"{"request":"shutdown"}"#), Ok(Request::Shutdown { force: false })));
        assert!(Request::from_bytes(br#"{"request":"fly"}"#).is_err());
        assert!(Request::from_bytes(&[0xff, 0xfe]).is_err());
    }

    #[test]
    fn a_message_that_no_peer_accepts_is_not_sent() {
        let process = ExecProcess {
            args: vec!["x".repeat(MAX_MESSAGE_BYTES)],
            env: Vec::new(),
            cwd: None,
            user: None,
            tty: false,
            stdin: false,
            size: None,
        };
        assert!(matches!(Request::Exec { process }.to_frame(), Err(MessageError::TooLong { .. })));
    }
}
