//! The encrypted datapath: Ethernet frames from TAPs, VXLAN inside WireGuard, UDP to the other nodes, and back.
//!
//! `rcond tunnel` calls [`run`]. What comes in over the control socket ([`rcon_packet::control`]) are whole tables; they are
//! kept in a file, so that a tunnel that starts again needs nobody. Plain threads, blocking calls, no tokio. No code path
//! sends an inner frame that is not sealed: without a session a frame is queued for the handshake or dropped and counted.
//!
//! ```text
//! TAP --transmit--> cut, VXLAN, seal (sealed) --udp--> the other nodes
//! TAP <--writev---- merge, check, open (receive) <--udp--
//! ```

mod control_server;
mod counters;
mod datapath;
mod error;
mod exchange;
mod forwarding;
mod handover;
mod identity;
mod limits;
mod namespace;
mod options;
mod peer;
mod receive;
mod sealed;
mod shared;
mod state_file;
mod tap;
mod threads;
mod timers;
mod transmit;
mod tunnel;
mod udp;
mod wg_socket;

pub use error::TunnelError;
pub use options::Options;
pub use tunnel::Tunnel;

use std::time::Duration;

use nix::sys::{
    signal::{SigSet, SigmaskHow, Signal, pthread_sigmask},
    signalfd::{SfdFlags, SignalFd},
};

/// Runs the tunnel until it is told to stop (SIGTERM, SIGINT, [`Stop`](rcon_packet::control::Command::Stop)) or has handed over.
///
/// If a tunnel already serves the control socket, its descriptors are taken over and it ends. Call it before any other thread is
/// started, since it takes those signals away from all.
///
/// # Errors
/// When the control socket cannot be had, or a thread of the datapath failed.
pub fn run(options: Options) -> Result<(), TunnelError> {
    let failed = |errno: nix::Error| TunnelError::Thread { operation: "listen for signals", source: errno.into() };
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&signals), None).map_err(failed)?;
    let signal = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC).map_err(failed)?;
    let tunnel = Tunnel::start(options)?;
    while threads::wait_readable([&signal, tunnel.over()], Duration::from_secs(3600)) == [false, false] {}
    tunnel.stop()
}
