//! What can go wrong with a container, and how to mend it.

use std::{io, path::PathBuf};

use rcon_image::ImageError;
use rcon_types::{Failure, FailureKind, NameError};
use thiserror::Error;

use crate::record::ContainerState;

/// A failed operation on containers.
#[derive(Debug, Error)]
pub enum EngineError {
    /// A file, directory or mount could not be handled.
    #[error("could not {action} `{}`", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Another daemon has the data directory.
    #[error("another rcond (process {pid}) has the data directory `{}`", data_dir.display())]
    Locked {
        /// The directory.
        data_dir: PathBuf,
        /// The process that holds it.
        pid: String,
    },
    /// The images failed.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// No container of that name or id.
    #[error("no such container: `{0}`")]
    Unknown(String),
    /// The start of an id fits several containers.
    #[error("`{prefix}` is the start of {count} containers' ids")]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// How many fit.
        count: usize,
    },
    /// The name is taken.
    #[error("the name `{name}` is taken by container {holder}")]
    NameTaken {
        /// The name.
        name: String,
        /// Short id of who has it.
        holder: String,
    },
    /// A name that is none.
    #[error("bad container name")]
    Name(#[from] NameError),
    /// A part of a request that cannot be.
    #[error("bad {what}: {reason}")]
    Invalid {
        /// Which part.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// The container is in a state in which this cannot be done.
    #[error("cannot {action} container `{container}`: it is {state}")]
    State {
        /// What was attempted.
        action: &'static str,
        /// Its name.
        container: String,
        /// What it is.
        state: ContainerState,
    },
    /// The container could not be started.
    #[error("could not start container `{container}`: {reason}")]
    Start {
        /// Its name.
        container: String,
        /// What the runtime said.
        reason: String,
        /// 125, 126 or 127, as `docker run` exits.
        exit_code: i32,
    },
    /// A command could not be started in a container.
    #[error("could not run `{command}` in container `{container}`: {reason}")]
    Exec {
        /// Its name.
        container: String,
        /// The program.
        command: String,
        /// What the runtime said.
        reason: String,
        /// 126 or 127, as `docker exec` exits.
        exit_code: i32,
    },
    /// The container's shim did not answer as it should.
    #[error("the shim of container `{container}` failed: {reason}")]
    Shim {
        /// The container's name.
        container: String,
        /// In which way.
        reason: String,
    },
    /// The store failed.
    #[error("could not {action} the engine's store")]
    Store {
        /// What was attempted.
        action: &'static str,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The engine is being shut down.
    #[error("the engine is shutting down")]
    ShuttingDown,
}

impl EngineError {
    /// The failure as it crosses processes.
    #[must_use]
    pub fn failure(&self) -> Failure {
        Failure::from_error(FailureKind::Internal, self)
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        error.failure()
    }
}
