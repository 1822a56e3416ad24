//! How a verb ends: an exit code, or a failure with its text, cause and hint.

use std::{fmt, process::ExitCode};

use rcon_rpc::tonic::Status;
use rcon_types::{Failure, FailureKind};

/// What every verb returns.
pub type Outcome = Result<ExitCode, Report>;

/// A failure on its way to the terminal.
#[derive(Debug)]
pub struct Report {
    failure: Failure,
    /// 1 for ordinary verbs, Docker's 125 where the container's own code could be meant.
    pub exit_code: u8,
}

impl Report {
    /// The same failure from `run` or `exec`: its exit code must not be taken for the container's.
    pub fn of_run(mut self) -> Self {
        self.exit_code = self.failure.exit_code.unwrap_or(125);
        self
    }

    /// The kind of the failure.
    pub fn kind(&self) -> FailureKind {
        self.failure.kind
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failure.fmt(f)
    }
}

impl From<Failure> for Report {
    fn from(failure: Failure) -> Self {
        Self { failure, exit_code: 1 }
    }
}

impl From<Status> for Report {
    fn from(status: Status) -> Self {
        rcon_rpc::status_to_failure(status).into()
    }
}

/// A failure of what the user typed.
pub fn invalid(message: impl Into<String>) -> Report {
    Failure::new(FailureKind::InvalidArgument, message).into()
}

/// A failure of reading or writing on this side.
pub fn local(what: impl Into<String>, error: &std::io::Error) -> Report {
    Failure::new(FailureKind::Internal, error.to_string()).during(what).into()
}
