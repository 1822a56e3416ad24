//! What WireGuard does by the clock: handshakes that are repeated or due, keepalives, the end of sessions.

use std::sync::Arc;

use nix::sys::eventfd::EventFd;

use crate::{limits::TICK, sealed::send_messages, shared::Shared, threads::wait_readable};

/// Looks at every peer once a [`TICK`] until the tunnel stops.
pub(crate) fn run(shared: &Shared, wake: &Arc<EventFd>) {
    while !shared.is_stopping() {
        if let Some(forwarding) = shared.forwarding.load_full() {
            forwarding.limiter.0.reset_count();
            for peer in &forwarding.peers {
                // Without an address there is nobody to call; the peer calls us.
                if let Some(to) = peer.endpoint() {
                    send_messages(shared, to, &peer.tick());
                }
            }
        }
        if wait_readable([&**wake], TICK) == [true] {
            // Only a hint that something has changed.
            let _ = wake.read();
        }
    }
}
