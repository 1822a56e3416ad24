//! What can go wrong in the tunnel, and how to mend it.

use std::{io, path::PathBuf};

use rcon_packet::control::{FramingError, TablesError, VERSION};
use rcon_types::{Failure, FailureKind, Revision};
use thiserror::Error;

/// A failure of the tunnel as a whole or of one control request.
#[derive(Debug, Error)]
pub enum TunnelError {
    /// The control socket cannot be served.
    #[error("could not serve the tunnel's control socket {}", path.display())]
    ControlSocket {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The socket for `wg show` cannot be served.
    #[error("could not serve the socket {} for `wg show`", path.display())]
    WgSocket {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A control connection broke.
    #[error("could not exchange control messages")]
    Exchange(#[source] io::Error),
    /// A control message was damaged.
    #[error("a control message is damaged")]
    Message(#[source] FramingError),
    /// The other side speaks another version.
    #[error("a control message of version {version}, where {VERSION} is spoken")]
    Version {
        /// Its version.
        version: u32,
    },
    /// The tables contradict themselves.
    #[error("the tunnel's tables do not hold together")]
    Tables(#[source] TablesError),
    /// Tables that are older than those in force.
    #[error("tables of revision {offered}, where {current} is in force already")]
    Stale {
        /// That of the refused tables.
        offered: Revision,
        /// That of the tables in force.
        current: Revision,
    },
    /// The node's private key cannot be had.
    #[error("could not read the tunnel's private key from {}", path.display())]
    PrivateKey {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The namespace of the TAPs cannot be entered.
    #[error("could not enter the overlay namespace {}", path.display())]
    Namespace {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A TAP cannot be had.
    #[error("could not {operation} the TAP `{name}`")]
    Tap {
        /// Its name.
        name: String,
        /// What was attempted.
        operation: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// The UDP socket cannot be had.
    #[error("could not {operation} the tunnel's UDP socket, port {port}")]
    Udp {
        /// What was attempted.
        operation: &'static str,
        /// The port.
        port: u16,
        /// What the system says.
        source: io::Error,
    },
    /// The file with the tables cannot be used.
    #[error("could not {operation} the tunnel's state file {}", path.display())]
    StateFile {
        /// What was attempted.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The running tunnel did not pass on what it has.
    #[error("could not take over from the tunnel that runs: {what}")]
    Handover {
        /// What went wrong.
        what: String,
    },
    /// The tunnel is ending and takes no requests.
    #[error("the tunnel is ending")]
    Ending,
    /// A thread or a descriptor for it could not be made.
    #[error("could not {operation}")]
    Thread {
        /// What was attempted.
        operation: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// A thread ended that must not: a fault of ours.
    #[error("the thread `{thread}` failed")]
    ThreadFailed {
        /// Its name.
        thread: String,
    },
}

impl TunnelError {
    /// As it crosses the control socket.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let failure = Failure::from_error(self.kind(), self);
        match self.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }

    fn kind(&self) -> FailureKind {
        match self {
            Self::Message(_) | Self::Tables(_) => FailureKind::InvalidArgument,
            Self::Version { .. } => FailureKind::Unimplemented,
            Self::Stale { .. } => FailureKind::Conflict,
            Self::Exchange(_) | Self::Handover { .. } | Self::Ending => FailureKind::Unavailable,
            Self::ThreadFailed { .. } => FailureKind::Internal,
            Self::ControlSocket { .. }
            | Self::WgSocket { .. }
            | Self::PrivateKey { .. }
            | Self::Namespace { .. }
            | Self::Tap { .. }
            | Self::Udp { .. }
            | Self::StateFile { .. }
            | Self::Thread { .. } => FailureKind::FailedPrecondition,
        }
    }

    /// How to mend it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let in_use = |source: &io::Error| source.raw_os_error() == Some(libc::EADDRINUSE);
        match self {
            Self::Udp { port, source, .. } if in_use(source) => {
                Some(format!("another program uses UDP port {port}; stop it, or choose another `--encrypted-port` at `swarm init`"))
            }
            Self::Tap { source, .. } if source.raw_os_error() == Some(libc::EBUSY) => {
                Some("another program holds the TAP; `ip -d link` in the overlay namespace and `fuser /dev/net/tun` show it".to_owned())
            }
            Self::Tap { source, .. } if matches!(source.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => {
                Some("this kernel has no TUN/TAP; load it with `modprobe tun`".to_owned())
            }
            Self::Namespace { .. } => Some("the node's network driver makes it; restart `rcond`".to_owned()),
            Self::Version { .. } => Some("`rcond` and `rcond tunnel` are of different releases; restart the tunnel".to_owned()),
            _ => None,
        }
    }
}
