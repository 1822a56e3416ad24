//! What can go wrong, and how to mend it.

use std::{io, path::PathBuf};

use rcon_proto::v1;
use rcon_types::{Failure, FailureKind};
use thiserror::Error;

/// The remedy for a log that cannot be trusted any more.
const REJOIN: &str = "a voter whose log is damaged rejoins under a new id: on a healthy manager `rconctl node demote` it, `rconctl swarm leave --force` here, and join again";

/// Why a manager's consensus does not start, or does not go on.
#[derive(Debug, Error)]
pub enum RaftError {
    /// A file of the Raft directory cannot be read or written.
    #[error("could not {what} `{path}`")]
    Io {
        /// The operation.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The log or a snapshot is not what was written. Never mended silently.
    #[error("`{path}` is damaged at byte {offset}: {why}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        offset: u64,
        /// What is wrong there.
        why: String,
    },
    /// The log ends before what was synced.
    #[error("the log in `{path}` ends at byte {found}, but was synced up to byte {synced} (entry {index})")]
    LogTooShort {
        /// The log's directory.
        path: PathBuf,
        /// Where it ends, counted from the first byte ever written.
        found: u64,
        /// Up to where it was synced.
        synced: u64,
        /// The last entry that was synced.
        index: u64,
    },
    /// This directory has a membership already.
    #[error("`{path}` belongs to a cluster already")]
    AlreadyMember {
        /// The Raft directory.
        path: PathBuf,
    },
    /// This directory has none.
    #[error("`{path}` belongs to no cluster")]
    NotMember {
        /// The Raft directory.
        path: PathBuf,
    },
    /// The directory is of another node or cluster.
    #[error("`{path}` belongs to another {what}")]
    Foreign {
        /// The Raft directory.
        path: PathBuf,
        /// Node or cluster.
        what: &'static str,
    },
    /// The options cannot be.
    #[error("the options of Raft cannot be: {why}")]
    Options {
        /// What is wrong with them.
        why: String,
    },
    /// Raft itself has stopped.
    #[error("consensus has stopped on this manager: {why}")]
    Stopped {
        /// Its last word.
        why: String,
    },
    /// The others have another state for the same entry.
    #[error("the state of this manager differs from that of the majority as of entry {index}")]
    Diverged {
        /// Index of the entry.
        index: u64,
    },
    /// The first transaction of a cluster was refused.
    #[error("the cluster could not be initialised: {}", .0.message)]
    InitRejected(v1::Rejected),
    /// No manager took this one in.
    #[error("no manager took this node in as a manager")]
    JoinRefused {
        /// What the last of them said.
        source: Failure,
    },
    /// It did not happen in time.
    #[error("{what} did not happen within {seconds} s")]
    Deadline {
        /// What was waited for.
        what: &'static str,
        /// For how long.
        seconds: u64,
    },
    /// The membership cannot be changed that way now.
    #[error("the managers cannot be changed: {why}")]
    Membership {
        /// Why not.
        why: String,
        /// What to do first.
        hint: &'static str,
    },
    /// There is no leader, or it does not answer.
    #[error("no leader answers")]
    NoLeader {
        /// Managers that do not answer, by host name or address.
        missing: Vec<String>,
    },
    /// Another manager refused.
    #[error("the leader refused")]
    Remote {
        /// What it said.
        source: Failure,
    },
}

impl RaftError {
    /// The failure as people see it.
    #[must_use]
    pub fn failure(&self) -> Failure {
        match self {
            Self::Damaged { .. } | Self::LogTooShort { .. } | Self::Diverged { .. } => {
                Failure::from_error(FailureKind::FailedPrecondition, self).hint(REJOIN)
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Failure::from_error(FailureKind::ResourceExhausted, self).hint("free some space on that file system")
            }
            Self::AlreadyMember { .. } => {
                Failure::from_error(FailureKind::AlreadyExists, self).hint("leave the cluster first: `rconctl swarm leave`")
            }
            Self::NotMember { .. } | Self::Foreign { .. } => Failure::from_error(FailureKind::FailedPrecondition, self),
            Self::Options { .. } => Failure::from_error(FailureKind::InvalidArgument, self),
            Self::InitRejected(rejected) => rcon_state::rejected_failure(rejected).during("the cluster could not be initialised"),
            Self::JoinRefused { source } => source.clone().during(self.to_string()),
            Self::Remote { source } => source.clone(),
            Self::Deadline { .. } => Failure::from_error(FailureKind::DeadlineExceeded, self),
            Self::Membership { hint, .. } => Failure::from_error(FailureKind::FailedPrecondition, self).hint(*hint),
            Self::NoLeader { missing } => no_quorum(missing),
            Self::Io { .. } | Self::Stopped { .. } => Failure::from_error(FailureKind::Internal, self),
        }
    }
}

impl From<RaftError> for Failure {
    fn from(error: RaftError) -> Self {
        error.failure()
    }
}

/// Why a transaction was not applied, or is not known to be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProposeError {
    /// The state machine refused it; nothing changed.
    #[error("{}", .0.message)]
    Rejected(Rejected),
    /// Too few managers answer. The transaction may still take effect when they come back.
    #[error("the cluster has no quorum")]
    NoQuorum {
        /// Managers that do not answer, by host name or address.
        missing: Vec<String>,
    },
    /// Not applied in time. It may still take effect.
    #[error("the transaction was not applied within {seconds} s")]
    Deadline {
        /// How long was tried.
        seconds: u64,
    },
    /// The disk of the leader, or of this manager, is too full to take more.
    #[error("the disk of manager `{manager}` is full: {free_bytes} bytes are left")]
    Full {
        /// Whose disk.
        manager: String,
        /// What is left of it.
        free_bytes: u64,
    },
    /// The transaction cannot be proposed at all: too large, or with an operation this version does not know.
    #[error("the transaction cannot be proposed: {why}")]
    Invalid {
        /// What is wrong with it.
        why: String,
    },
    /// Consensus does not run on this manager: it has stopped for good, or its storage fails for now.
    #[error("consensus does not run on this manager: {why}")]
    Stopped {
        /// Its last word.
        why: String,
    },
    /// The leader answered with a failure.
    #[error("the leader refused the transaction")]
    Remote(Failure),
}

/// A [`v1::Rejected`] that can be compared.
pub type Rejected = v1::Rejected;

impl ProposeError {
    /// The failure as people see it.
    #[must_use]
    pub fn failure(&self) -> Failure {
        match self {
            Self::Rejected(rejected) => rcon_state::rejected_failure(rejected),
            Self::NoQuorum { missing } => no_quorum(missing),
            Self::Deadline { .. } => {
                Failure::from_error(FailureKind::DeadlineExceeded, self).hint("look whether it took effect before you repeat it")
            }
            Self::Full { .. } => {
                Failure::from_error(FailureKind::ResourceExhausted, self).hint("free some space there, or transfer the leadership")
            }
            Self::Invalid { .. } => Failure::from_error(FailureKind::InvalidArgument, self),
            Self::Stopped { .. } => Failure::from_error(FailureKind::Unavailable, self).hint("its log says why; ask another manager"),
            Self::Remote(failure) => failure.clone(),
        }
    }
}

impl From<ProposeError> for Failure {
    fn from(error: ProposeError) -> Self {
        error.failure()
    }
}

/// The failure of a cluster that cannot decide anything.
fn no_quorum(missing: &[String]) -> Failure {
    let message = if missing.is_empty() {
        "the managers have no leader".to_owned()
    } else {
        format!("the managers have no quorum: {} do not answer", missing.join(", "))
    };
    Failure::new(FailureKind::Unavailable, message)
        .hint("bring them back; containers and networks go on meanwhile. What was asked may still take effect then")
}
