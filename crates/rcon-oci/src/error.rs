//! Why a container's description cannot become a specification.

use rcon_types::{Failure, FailureKind};
use thiserror::Error;

/// What is wrong with a [`crate::ContainerSpec`].
#[derive(Debug, Error)]
pub enum SpecError {
    /// No program to run.
    #[error("container `{id}` has no command")]
    NoCommand {
        /// The container.
        id: String,
    },
    /// A path that must be absolute is not.
    #[error("the {what} `{path}` is not an absolute path")]
    RelativePath {
        /// What the path is of.
        what: &'static str,
        /// The path.
        path: String,
    },
    /// A text with a NUL byte, which no system call takes.
    #[error("the {what} contains a NUL byte")]
    Nul {
        /// What the text is.
        what: &'static str,
    },
    /// No such capability.
    #[error("there is no capability `{name}`")]
    UnknownCapability {
        /// As the user wrote it.
        name: String,
    },
    /// A limit above what this host's daemon may give.
    #[error("the hard limit {wanted} of {kind:?} is above {allowed}, the hard limit of this host's daemon")]
    LimitAboveOwn {
        /// Of what.
        kind: crate::LimitKind,
        /// What was asked for.
        wanted: u64,
        /// The most there is.
        allowed: u64,
    },
    /// A soft limit above its hard limit.
    #[error("the soft limit {soft} of {kind:?} is above its hard limit {hard}")]
    LimitInverted {
        /// Of what.
        kind: crate::LimitKind,
        /// The soft limit.
        soft: u64,
        /// The hard limit.
        hard: u64,
    },
    /// A number that the cgroup's file cannot hold.
    #[error("{what} {value} is out of range")]
    OutOfRange {
        /// Of which resource.
        what: &'static str,
        /// What was asked for.
        value: u64,
    },
    /// The OCI types refused a value.
    #[error("could not write the runtime specification of container `{id}`")]
    Oci {
        /// The container.
        id: String,
        /// Why.
        #[source]
        source: oci_spec::OciSpecError,
    },
}

impl SpecError {
    /// The same as it crosses processes.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let kind = match self {
            Self::Oci { .. } => FailureKind::Internal,
            Self::LimitAboveOwn { .. } => FailureKind::FailedPrecondition,
            _ => FailureKind::InvalidArgument,
        };
        let failure = Failure::from_error(kind, self);
        match self {
            Self::NoCommand { .. } => failure.hint("give a command, or use an image that has one"),
            Self::LimitAboveOwn { .. } => {
                failure.hint("ask for less, or raise the limit of the daemon (LimitNOFILE= and so on in its unit)")
            }
            Self::UnknownCapability { .. } => failure.hint("the names are in capabilities(7), with or without CAP_"),
            _ => failure,
        }
    }
}
