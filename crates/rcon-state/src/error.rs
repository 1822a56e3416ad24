//! What stops a node, and how a rejection reaches people.

use rcon_proto::v1;
use rcon_types::{Failure, FailureKind};
use thiserror::Error;

use crate::limits::FEATURE_LEVEL;

/// An entry that this binary cannot apply. The node stops: skipping it would make its state differ from the others'.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ApplyError {
    /// The entry has an operation that this binary does not know.
    #[error("entry {index} has an operation (number {op}) that this version does not know")]
    UnknownOperation {
        /// Index of the entry.
        index: u64,
        /// Position of the operation in the transaction.
        op: usize,
    },
    /// The cluster was raised to a feature level above ours.
    #[error("entry {index} raises the cluster to feature level {level}, this version supports {FEATURE_LEVEL}")]
    FeatureLevel {
        /// Index of the entry.
        index: u64,
        /// The level it raises the cluster to.
        level: u32,
    },
    /// Entries must be applied in order.
    #[error("entry {index} was to be applied after entry {last}")]
    OutOfOrder {
        /// Index of the entry.
        index: u64,
        /// Index of the last applied one.
        last: u64,
    },
}

impl ApplyError {
    /// The failure as people see it.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let failure = Failure::from_error(FailureKind::Unimplemented, self);
        match self {
            Self::UnknownOperation { .. } | Self::FeatureLevel { .. } => {
                failure.hint("upgrade rcond on this node; nothing was skipped, it continues where it stopped")
            }
            Self::OutOfOrder { .. } => failure,
        }
    }
}

/// A snapshot that is no state.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SnapshotError {
    /// A field does not hold what the `.proto` file says.
    #[error("object {position} of `{list}` in the snapshot is malformed: {why}")]
    Malformed {
        /// The list of the snapshot.
        list: &'static str,
        /// Position in the list.
        position: usize,
        /// What is wrong with it.
        why: String,
    },
    /// The objects are not in strictly ascending order of their keys.
    #[error("object {position} of `{list}` in the snapshot is out of order")]
    Order {
        /// The list of the snapshot.
        list: &'static str,
        /// Position in the list.
        position: usize,
    },
    /// The snapshot is of a cluster whose feature level is above ours.
    #[error("the snapshot has feature level {level}, this version supports {FEATURE_LEVEL}")]
    FeatureLevel {
        /// Its level.
        level: u32,
    },
}

/// A rejection as people see it.
#[must_use]
pub fn rejected_failure(rejected: &v1::Rejected) -> Failure {
    let kind = match v1::RejectedKind::try_from(rejected.kind) {
        Ok(v1::RejectedKind::Conflict) => FailureKind::Conflict,
        Ok(v1::RejectedKind::NotFound) => FailureKind::NotFound,
        Ok(v1::RejectedKind::AlreadyExists) => FailureKind::AlreadyExists,
        Ok(v1::RejectedKind::InUse) => FailureKind::FailedPrecondition,
        Ok(v1::RejectedKind::Exhausted) => FailureKind::ResourceExhausted,
        Ok(v1::RejectedKind::Invalid) => FailureKind::InvalidArgument,
        Ok(v1::RejectedKind::Unspecified) | Err(_) => FailureKind::Internal,
    };
    let failure = Failure::new(kind, rejected.message.clone());
    if rejected.hint.is_empty() { failure } else { failure.hint(rejected.hint.clone()) }
}

/// Why an operation is refused; becomes [`v1::Rejected`] with the operation's position.
#[derive(Debug)]
pub(crate) struct Refusal {
    kind: v1::RejectedKind,
    message: String,
    hint: String,
}

impl Refusal {
    fn new(kind: v1::RejectedKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: String::new() }
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(v1::RejectedKind::Conflict, message)
    }
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(v1::RejectedKind::NotFound, message)
    }
    pub(crate) fn already_exists(message: impl Into<String>) -> Self {
        Self::new(v1::RejectedKind::AlreadyExists, message)
    }
    pub(crate) fn in_use(message: impl Into<String>) -> Self {
        Self::new(v1::RejectedKind::InUse, message)
    }
    pub(crate) fn exhausted(message: impl Into<String>) -> Self {
        Self::new(v1::RejectedKind::Exhausted, message)
    }
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(v1::RejectedKind::Invalid, message)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    pub(crate) fn at(self, op: i32) -> v1::Rejected {
        v1::Rejected { op, kind: self.kind.into(), message: self.message, hint: self.hint }
    }
}

impl From<rcon_proto::convert::Malformed> for Refusal {
    fn from(malformed: rcon_proto::convert::Malformed) -> Self {
        Self::invalid(malformed.to_string())
    }
}
