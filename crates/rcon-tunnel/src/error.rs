//! What can go wrong in the tunnel, and how to mend it.

use std::path::PathBuf;

use rcon_types::{Failure, FailureKind};
use thiserror::Error;

/// A failure of the tunnel as a whole or of one control request.
#[derive(Debug, Error)]
pub enum TunnelError {
    /// Not there yet.
    #[error("the tunnel behind {} is not implemented", control_socket.display())]
    Unimplemented {
        /// The socket it was to serve.
        control_socket: PathBuf,
    },
}

impl TunnelError {
    /// As it crosses the control socket.
    #[must_use]
    pub fn failure(&self) -> Failure {
        Failure::from_error(FailureKind::Internal, self)
    }
}
