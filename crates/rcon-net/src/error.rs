//! Why something could not be done to the host's network.

use std::{io, path::PathBuf};

use rcon_types::{Failure, FailureKind};
use thiserror::Error;

/// A failed operation of this crate.
#[derive(Debug, Error)]
pub enum NetError {
    /// The run directory, or a file in it.
    #[error("could not prepare `{}`", path.display())]
    RunDirectory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A namespace could not be made or bound to its file.
    #[error("could not create the network namespace `{}`", path.display())]
    CreateNamespace {
        /// The file that would have kept it.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A namespace could not be entered.
    #[error("could not enter the network namespace `{}`", path.display())]
    EnterNamespace {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A namespace's file could not be removed.
    #[error("could not remove the network namespace `{}`", path.display())]
    RemoveNamespace {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A netlink socket could not be opened.
    #[error("could not open a netlink socket for {what}")]
    Socket {
        /// Links, firewall or monitor.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The kernel's state could not be read.
    #[error("could not read {what} of the kernel")]
    Observe {
        /// Links, addresses, …
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A step was refused by the kernel.
    #[error("could not {step}")]
    Step {
        /// The step, in words.
        step: String,
        /// Why.
        source: io::Error,
    },
    /// This node's key could not be read.
    #[error("could not read the private key in `{}`", path.display())]
    PrivateKey {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel's WireGuard refused.
    #[error("could not {what} the kernel's WireGuard")]
    Wireguard {
        /// Configure, or ask.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// `nft` could not be run.
    #[error("could not run `nft`")]
    RunNft {
        /// Why.
        source: io::Error,
    },
    /// `nft` refused a ruleset.
    #[error("nftables refused a ruleset of {lines} lines: {stderr}")]
    Nft {
        /// Its size.
        lines: usize,
        /// What `nft` said, shortened.
        stderr: String,
    },
    /// Not everything of ours could be removed.
    #[error("not everything could be removed from this host")]
    Remains {
        /// The first thing that stayed.
        failure: Failure,
    },
    /// The thread that holds the network has ended.
    #[error("the network's thread has ended")]
    Gone,
}

impl NetError {
    /// What a caller can do about it.
    #[must_use]
    pub fn failure(&self) -> Failure {
        if let Self::Remains { failure } = self {
            return failure.clone().during(self.to_string());
        }
        let failure = Failure::from_error(self.kind(), self);
        match self.remedy() {
            Some(remedy) => failure.hint(remedy),
            None => failure,
        }
    }

    fn kind(&self) -> FailureKind {
        match self.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => FailureKind::PermissionDenied,
            Some(libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT) => FailureKind::Unimplemented,
            Some(libc::ENOMEM | libc::ENOSPC | libc::ENFILE | libc::EMFILE | libc::ENOBUFS) => FailureKind::ResourceExhausted,
            Some(libc::EADDRINUSE | libc::EEXIST) => FailureKind::FailedPrecondition,
            _ => match self {
                Self::RunNft { .. } => FailureKind::FailedPrecondition,
                Self::Gone => FailureKind::Unavailable,
                _ => FailureKind::Internal,
            },
        }
    }

    fn remedy(&self) -> Option<String> {
        match (self, self.raw_os_error()) {
            (Self::RunNft { .. }, Some(libc::ENOENT)) => Some("install the package `nftables` on this host".into()),
            (_, Some(libc::EPERM | libc::EACCES)) => Some("rcond needs to run as root (CAP_NET_ADMIN and CAP_SYS_ADMIN)".into()),
            (Self::Step { step, .. }, Some(libc::EOPNOTSUPP)) => ["vxlan", "bridge", "veth", "wireguard"]
                .into_iter()
                .find(|kind| step.contains(&format!(" {kind} ")))
                .map(|kind| format!("this kernel has no {kind}; load it with `modprobe {kind}`")),
            (Self::Step { step, .. }, Some(libc::EADDRINUSE)) if step.contains("rcx") => {
                Some("another program holds the overlay's UDP port; stop it, or choose another with `swarm init --data-path-port`".into())
            }
            _ => None,
        }
    }

    /// The kernel's error number, where one is the cause.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::RunDirectory { source, .. }
            | Self::CreateNamespace { source, .. }
            | Self::EnterNamespace { source, .. }
            | Self::RemoveNamespace { source, .. }
            | Self::Socket { source, .. }
            | Self::Observe { source, .. }
            | Self::Step { source, .. }
            | Self::PrivateKey { source, .. }
            | Self::Wireguard { source, .. }
            | Self::RunNft { source } => source.raw_os_error(),
            Self::Nft { .. } | Self::Remains { .. } | Self::Gone => None,
        }
    }
}

impl From<NetError> for Failure {
    fn from(error: NetError) -> Self {
        error.failure()
    }
}
