//! Why an archive was not unpacked.

use std::io;

use rcon_types::FailureKind;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A failed unpacking. Crosses from the child to its parent as JSON, so causes are texts.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnpackError {
    /// The bytes are no tar archive, or a damaged one.
    #[error("not a sound tar archive: {reason} (at byte {offset} of the unpacked stream)")]
    Malformed {
        /// What is wrong.
        reason: String,
        /// Where.
        offset: u64,
    },
    /// The compressed stream is damaged or ends early.
    #[error("the archive could not be decompressed: {0}")]
    Decompress(String),
    /// An entry that would leave the directory, or be something that it may not.
    #[error("entry `{path}` is refused: {reason}")]
    Refused {
        /// The entry's path, as the archive has it.
        path: String,
        /// Why.
        reason: String,
    },
    /// The archive becomes larger than is allowed.
    #[error("the archive is too large: more than {limit} {what}")]
    Limit {
        /// Of what.
        what: String,
        /// The limit.
        limit: u64,
    },
    /// The kernel refused an operation.
    #[error("could not {action} `{path}`: {reason}")]
    Write {
        /// What was attempted.
        action: String,
        /// On which entry.
        path: String,
        /// Why not.
        reason: String,
        /// Whether there was no room.
        disk_full: bool,
    },
    /// The child could not be started, locked in, or understood.
    #[error("the unpacking process failed: {0}")]
    Process(String),
}

impl UnpackError {
    pub(crate) fn write(action: &str, path: &[u8], error: io::Error) -> Self {
        Self::Write {
            action: action.to_owned(),
            path: printable(path),
            disk_full: crate::error::is_full(&error),
            reason: error.to_string(),
        }
    }

    pub(crate) fn refused(path: &[u8], reason: impl Into<String>) -> Self {
        Self::Refused { path: printable(path), reason: reason.into() }
    }

    /// Whether there was no room for an entry.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Write { disk_full: true, .. })
    }

    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Malformed { .. } | Self::Decompress(_) | Self::Refused { .. } => FailureKind::InvalidArgument,
            Self::Limit { .. } => FailureKind::ResourceExhausted,
            Self::Write { disk_full: true, .. } => FailureKind::ResourceExhausted,
            Self::Write { .. } | Self::Process(_) => FailureKind::Internal,
        }
    }

    /// How to mend it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Malformed { .. } | Self::Decompress(_) => Some("give a root file system as tar, plain or compressed with gzip or zstd"),
            Self::Refused { .. } => Some("make the archive again from the root directory itself, e.g. `tar -C ROOTFS -c . `"),
            Self::Limit { .. } => Some("an archive that grows this much is taken for an attack"),
            Self::Write { .. } | Self::Process(_) => None,
        }
    }
}

/// The start of a path of an archive, harmless on a terminal.
fn printable(path: &[u8]) -> String {
    const SHOWN: usize = 200;
    let mut text = path[..path.len().min(SHOWN)].escape_ascii().to_string();
    if path.len() > SHOWN {
        text.push('…');
    }
    text
}
