//! What can go wrong with an identity, a variant an operation.

use std::{io, path::PathBuf};

use rcon_types::{Failure, FailureKind};
use thiserror::Error;

/// A cause of foreign making; its text is all that is known of it.
pub type Cause = Box<dyn std::error::Error + Send + Sync + 'static>;

/// A failure of an operation on keys, certificates or tokens.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The operating system gave no randomness.
    #[error("could not get random bytes for a new {what}")]
    Random {
        /// What they were for.
        what: &'static str,
        /// Why.
        #[source]
        source: getrandom::Error,
    },
    /// A key could not be made or read.
    #[error("could not {action} the {what}")]
    Key {
        /// `make` or `read`.
        action: &'static str,
        /// Which key.
        what: &'static str,
        /// Why.
        #[source]
        source: Cause,
    },
    /// A certificate could not be read, or does not say what a certificate of ours says.
    #[error("not a certificate of a cluster: {why}")]
    Certificate {
        /// What is missing or malformed.
        why: String,
    },
    /// A certificate request is malformed, of a kind that is not accepted, or not signed by the key in it.
    #[error("the certificate request is refused: {why}")]
    Request {
        /// What is wrong with it.
        why: String,
    },
    /// The authority could not sign.
    #[error("could not issue the certificate of {subject}")]
    Issue {
        /// Whose it was to be.
        subject: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// A life that no certificate may have.
    #[error("a certificate cannot live for {asked_s} s: at least {minimum_s} s, and not beyond its root")]
    Life {
        /// What was asked, in seconds.
        asked_s: u64,
        /// The least, in seconds.
        minimum_s: u64,
    },
    /// The key and the certificates given for an authority do not belong together.
    #[error("none of the {roots} root certificates is that of the authority's key")]
    ForeignRoot {
        /// How many root certificates there were.
        roots: usize,
    },
    /// A certificate that does not belong to the key, the node or the cluster it was given for.
    #[error("the certificate is not for this node: {why}")]
    Mismatch {
        /// What differs.
        why: String,
    },
    /// A text that is no join token.
    #[error("not a join token: {why}")]
    Token {
        /// What is wrong with it.
        why: String,
    },
    /// A file of the identity could not be read or written.
    #[error("could not {action} `{}`", path.display())]
    File {
        /// `read`, `write`, `remove`, …
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of the identity has something else in it than its name says.
    #[error("`{}` is damaged", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<IdentityError>,
    },
    /// rustls refused a configuration.
    #[error("could not set up TLS")]
    Tls {
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

impl IdentityError {
    /// What a caller can do about it.
    #[must_use]
    pub const fn kind(&self) -> FailureKind {
        match self {
            Self::Request { .. } | Self::Token { .. } | Self::Life { .. } => FailureKind::InvalidArgument,
            Self::Certificate { .. } | Self::Mismatch { .. } | Self::ForeignRoot { .. } | Self::Damaged { .. } => {
                FailureKind::FailedPrecondition
            }
            Self::Random { .. } | Self::Key { .. } | Self::Issue { .. } | Self::File { .. } | Self::Tls { .. } => FailureKind::Internal,
        }
    }

    /// How to mend it, where that is known.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Token { .. } => Some("print the whole token with `rconctl swarm join-token worker` (or `manager`) on a manager"),
            Self::Life { .. } => Some("give `--cert-expiry` at least 1h"),
            Self::Damaged { .. } => Some(
                "restore the identity directory from a backup, or remove it and join again: `rconctl node rm` on a manager, then `rconctl swarm join`",
            ),
            Self::File { .. } => Some("check that the data directory's disk is mounted, has room, and belongs to root"),
            _ => None,
        }
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        let failure = Failure::from_error(error.kind(), &error);
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}
