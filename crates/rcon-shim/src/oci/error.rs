//! What a command of the runtime can fail with.

use std::{error::Error, io, path::PathBuf};

use libcontainer::error::LibcontainerError;
use thiserror::Error;

use super::program::ProgramError;

/// A failed command.
#[derive(Debug, Error)]
pub enum OciError {
    /// A file that cannot be read, written or removed.
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
    /// A file that is not what it should be.
    #[error("`{}` is not valid", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// A specification that lacks something.
    #[error("the specification has no {what}")]
    Incomplete {
        /// What.
        what: &'static str,
    },
    /// The container's program.
    #[error("could not run the container's program")]
    Program {
        /// Why not.
        #[source]
        source: ProgramError,
    },
    /// Of libcontainer.
    #[error("could not {action} container `{id}`")]
    Container {
        /// What was tried.
        action: &'static str,
        /// With which container.
        id: String,
        /// Why not.
        #[source]
        source: Box<LibcontainerError>,
    },
    /// A signal that libcontainer does not know.
    #[error("could not name the signal")]
    Signal {
        /// Why not.
        #[source]
        source: libcontainer::signal::SignalError<i32>,
    },
    /// Too little memory or too many descriptors.
    #[error("could not make a pipe")]
    Pipe {
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl OciError {
    /// What the process ends with: Docker's 126 and 127 for a program that cannot be run, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Program { source } => source.exit_code,
            _ => 1,
        }
    }

    /// The message, and after colons those of its causes.
    pub fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut next = self.source();
        while let Some(cause) = next {
            let line = cause.to_string();
            if !text.ends_with(&line) {
                text.push_str(": ");
                text.push_str(&line);
            }
            next = cause.source();
        }
        text
    }
}
