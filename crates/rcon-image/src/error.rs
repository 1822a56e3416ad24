//! What can go wrong with an image, and how to mend it.

use std::{io, path::PathBuf};

use rcon_types::{Failure, FailureKind};
use thiserror::Error;

use crate::{changes::ChangeError, digest::Digest, reference::ReferenceError, unpack::UnpackError};

/// A failed operation on images.
#[derive(Debug, Error)]
pub enum ImageError {
    /// A file or directory of the store could not be read or written.
    #[error("could not {action} `{}`", path.display())]
    Io {
        /// What was attempted, e.g. `write`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The stream that the caller gave ended with an error.
    #[error("the archive could not be read to its end")]
    Input(#[source] io::Error),
    /// Content whose digest is not the expected one.
    #[error("content has digest {found} where {expected} was expected")]
    Digest {
        /// What it should have been.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// A document of the store does not parse: damage.
    #[error("`{what}` is damaged")]
    Damaged {
        /// Which document.
        what: String,
        /// Why it does not parse.
        #[source]
        source: serde_json::Error,
    },
    /// A name that is none.
    #[error("bad image name")]
    Reference(#[from] ReferenceError),
    /// A Dockerfile instruction that cannot be applied.
    #[error("bad change")]
    Change(#[from] ChangeError),
    /// The archive could not be unpacked.
    #[error("could not unpack the archive")]
    Unpack(#[from] UnpackError),
    /// No image of that name or id.
    #[error("no such image: `{0}`")]
    Unknown(String),
    /// The start of an id fits several images.
    #[error("`{prefix}` is the start of {count} images' ids")]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// How many fit.
        count: usize,
    },
    /// Containers are made of the image.
    #[error("image `{image}` is in use by {}", users.join(", "))]
    InUse {
        /// The image.
        image: String,
        /// Names of the containers.
        users: Vec<String>,
    },
    /// The image has several names and was named by its id.
    #[error("image `{image}` has several names: {}", names.join(", "))]
    SeveralNames {
        /// The image.
        image: String,
        /// Its names.
        names: Vec<String>,
    },
}

impl ImageError {
    /// Makes an I/O error one of this crate; for `map_err`.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// Whether the disk (or the quota) was full.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => is_full(source),
            Self::Unpack(unpack) => unpack.is_disk_full(),
            _ => false,
        }
    }

    /// The failure as it crosses processes.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let (kind, hint) = match self {
            _ if self.is_disk_full() => {
                (FailureKind::ResourceExhausted, Some("the disk is full; free some space and try again, nothing was changed"))
            }
            Self::Io { .. } => (FailureKind::Internal, None),
            Self::Input(_) => (FailureKind::InvalidArgument, Some("send the whole archive again; nothing was kept of this one")),
            Self::Digest { .. } | Self::Damaged { .. } => {
                (FailureKind::Internal, Some("the disk or somebody else changed it; remove the image and import it again"))
            }
            Self::Reference(_) => (FailureKind::InvalidArgument, Some("a name is like `web`, `web:1.2` or `example.org/team/web:1.2`")),
            Self::Change(_) => (FailureKind::InvalidArgument, Some("a change is like `CMD [\"httpd\", \"-f\"]` or `ENV KEY=VALUE`")),
            Self::Unpack(unpack) => (unpack.kind(), unpack.hint()),
            Self::Unknown(_) => (
                FailureKind::NotFound,
                Some("`rconctl image ls` lists the images of this host; import one with `rconctl image import FILE NAME`"),
            ),
            Self::Ambiguous { .. } => (FailureKind::InvalidArgument, Some("give more digits of the id")),
            Self::InUse { .. } => (FailureKind::FailedPrecondition, Some("remove the containers first with `rconctl rm`")),
            Self::SeveralNames { .. } => (FailureKind::FailedPrecondition, Some("remove one of the names, or all of them with `--force`")),
        };
        let failure = Failure::from_error(kind, self);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// Whether an I/O error says that there is no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
