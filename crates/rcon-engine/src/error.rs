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
    /// The container runs already.
    #[error("container `{0}` runs already")]
    Running(String),
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
    /// A limit of this host is reached.
    #[error("this host has {limit} {what} already")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The engine is being shut down.
    #[error("the engine is shutting down")]
    ShuttingDown,
}

impl EngineError {
    /// Makes an I/O error one of this crate; for `map_err`.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// Whether the disk (or the quota) was full.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded),
            Self::Image(image) => image.is_disk_full(),
            Self::Store { source, .. } => source.to_string().contains(DISK_FULL),
            _ => false,
        }
    }

    /// What a command that ran a program ends with when the program could not be run.
    fn exit_code(&self) -> Option<u8> {
        match self {
            Self::Start { exit_code, .. } | Self::Exec { exit_code, .. } => u8::try_from(*exit_code).ok(),
            _ => None,
        }
    }

    /// The failure as it crosses processes.
    #[must_use]
    pub fn failure(&self) -> Failure {
        if let Self::Image(image) = self {
            return image.failure();
        }
        if self.is_disk_full() {
            let hint = "the disk is full; free some space and try again, nothing was changed";
            return Failure::from_error(FailureKind::ResourceExhausted, self).hint(hint);
        }
        let failure = Failure::from_error(self.kind(), self).exit_code(self.exit_code());
        match self.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }

    /// What a caller can do about it.
    fn kind(&self) -> FailureKind {
        match self {
            Self::Io { .. } | Self::Image(_) | Self::Store { .. } | Self::Shim { .. } => FailureKind::Internal,
            Self::Locked { .. } | Self::Running(_) | Self::State { .. } | Self::Start { .. } | Self::Exec { .. } => {
                FailureKind::FailedPrecondition
            }
            Self::Unknown(_) => FailureKind::NotFound,
            Self::Ambiguous { .. } | Self::Name(_) | Self::Invalid { .. } => FailureKind::InvalidArgument,
            Self::NameTaken { .. } => FailureKind::AlreadyExists,
            Self::TooMany { .. } => FailureKind::ResourceExhausted,
            Self::ShuttingDown => FailureKind::Unavailable,
        }
    }

    /// How to mend it.
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Locked { .. } => "stop it first, or give this one another --data-dir and --run-dir".into(),
            Self::Unknown(_) => "`rconctl ps -a` lists the containers of this host".into(),
            Self::Ambiguous { .. } => "give more digits of the id".into(),
            Self::NameTaken { name, .. } => format!("remove that container with `rconctl rm {name}`, or choose another name"),
            Self::State { action: "remove", container, .. } => format!("stop it first with `rconctl stop {container}`, or use --force"),
            Self::State { action: "run a command in" | "send a signal to", container, .. } => {
                format!("start it with `rconctl start {container}`")
            }
            Self::Start { exit_code: 127, .. } | Self::Exec { exit_code: 127, .. } => {
                "the program is not in the container's file system; check its name and PATH".into()
            }
            Self::Start { exit_code: 126, .. } | Self::Exec { exit_code: 126, .. } => {
                "the program is there but cannot be run; check its mode and format".into()
            }
            Self::ShuttingDown => "try again when rcond is back".into(),
            Self::TooMany { .. } => "remove containers that are not needed with `rconctl rm`".into(),
            _ => return None,
        })
    }
}

/// How the C library says ENOSPC; the store's errors come as text.
const DISK_FULL: &str = "No space left on device";

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        error.failure()
    }
}
