//! What can go wrong with the DNS server as a whole. What goes wrong with one container is in the reply of a reload.

use std::{io, path::PathBuf};

use rcon_types::{Failure, FailureKind};
use thiserror::Error;

/// Why the DNS server could not start, or not do what it was asked.
#[derive(Debug, Error)]
pub enum DnsError {
    /// The snapshot could not be read.
    #[error("could not read the DNS snapshot `{}`", path.display())]
    Snapshot {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The control socket could not be made.
    #[error("could not listen on `{}`", path.display())]
    Listen {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The sockets could not be taken over.
    #[error("could not take over from the DNS server at `{}`", path.display())]
    TakeOver {
        /// Its socket's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server does not answer on its control socket.
    #[error("could not ask the DNS server at `{}`", path.display())]
    Ask {
        /// Its socket's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server could not read its snapshot again.
    #[error("the DNS server goes on with revision {serving}: {why}")]
    Refused {
        /// What it serves.
        serving: u64,
        /// Why.
        why: String,
    },
}

impl From<DnsError> for Failure {
    fn from(error: DnsError) -> Self {
        let (kind, hint) = match &error {
            DnsError::Ask { .. } => (FailureKind::Unavailable, "rcond starts `rcond dns` again by itself; see its log"),
            DnsError::Snapshot { .. } | DnsError::Refused { .. } => {
                (FailureKind::Internal, "rcond writes the snapshot anew with the next change")
            }
            DnsError::Listen { .. } | DnsError::TakeOver { .. } => (FailureKind::Internal, "check that the run directory belongs to root"),
        };
        Failure::from_error(kind, &error).hint(hint)
    }
}
