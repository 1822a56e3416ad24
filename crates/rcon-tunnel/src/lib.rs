//! The encrypted datapath: Ethernet frames from TAPs, VXLAN inside WireGuard, UDP to the other nodes, and back.
//!
//! `rcond tunnel` calls [`run`]. What comes in over the control socket ([`rcon_packet::control`]) are whole tables; they are
//! kept in a file, so that a tunnel that starts again needs nobody. Plain threads, blocking calls, no tokio. No code path
//! sends an inner frame that is not sealed: without a session a frame is queued for the handshake or dropped and counted.

mod error;
mod options;

pub use error::TunnelError;
pub use options::Options;

/// Runs the tunnel until it is told to stop (SIGTERM, SIGINT, [`Stop`](rcon_packet::control::Command::Stop)) or has handed over.
///
/// If a tunnel already serves the control socket, its descriptors are taken over and it ends.
///
/// # Errors
/// When the control socket cannot be had, or the host lacks what the datapath needs.
pub fn run(options: Options) -> Result<(), TunnelError> {
    Err(TunnelError::Unimplemented { control_socket: options.control_socket })
}
