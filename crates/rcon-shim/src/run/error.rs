//! What a shim can fail with.

use std::{io, path::PathBuf};

use rcon_types::{Failure, FailureKind};
use thiserror::Error;

/// A failed step of the shim.
#[derive(Debug, Error)]
pub enum RunError {
    /// A file.
    #[error("could not {action} `{}`", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A system call that is about no file.
    #[error("could not {action}")]
    System {
        /// What was tried.
        action: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A bundle that is none.
    #[error("`{}` is not a runtime specification", path.display())]
    Bundle {
        /// Its `config.json`.
        path: PathBuf,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// A specification that lacks something.
    #[error("the runtime specification has no {what}")]
    Incomplete {
        /// What.
        what: &'static str,
    },
    /// A path that depends on a working directory.
    #[error("`{}` is not an absolute path", path.display())]
    RelativePath {
        /// Which.
        path: PathBuf,
    },
    /// Another shim has the run directory.
    #[error("another shim has `{}`", path.display())]
    Taken {
        /// The directory.
        path: PathBuf,
    },
    /// The OCI runtime failed.
    #[error("could not {action} the container: {reason}")]
    Runtime {
        /// What was asked of it.
        action: &'static str,
        /// What it said.
        reason: String,
        /// 126 or 127 where the program cannot be run.
        exit_code: Option<i32>,
    },
    /// The OCI runtime did not end in time.
    #[error("the OCI runtime did not {action} the container within {seconds} s")]
    Slow {
        /// What was asked of it.
        action: &'static str,
        /// The deadline.
        seconds: u64,
    },
    /// No terminal came.
    #[error("the OCI runtime sent no terminal")]
    NoTerminal,
}

impl RunError {
    /// What a process of that program would have exited with.
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Runtime { exit_code, .. } => *exit_code,
            _ => None,
        }
    }

    /// The same as it crosses processes.
    pub fn failure(&self) -> Failure {
        let kind = match self {
            Self::Runtime { exit_code: Some(_), .. } | Self::Bundle { .. } | Self::Incomplete { .. } | Self::RelativePath { .. } => {
                FailureKind::InvalidArgument
            }
            Self::Taken { .. } => FailureKind::AlreadyExists,
            Self::Slow { .. } => FailureKind::DeadlineExceeded,
            _ => FailureKind::Internal,
        };
        let failure = Failure::from_error(kind, self);
        match self {
            Self::Runtime { exit_code: Some(127), .. } => failure.hint("look for the program in the image, and at its PATH"),
            Self::Runtime { exit_code: Some(_), .. } => failure.hint("the file must be executable, and made for this machine"),
            _ => failure,
        }
    }
}
