//! What all threads of the datapath look at.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwapOption;

use crate::{counters::DropCounters, forwarding::Forwarding, udp::UdpSocket};

/// The tables in force, the socket, and whether to go on. Swapped, never locked.
#[derive(Debug)]
pub(crate) struct Shared {
    /// `None` before the first tables.
    pub(crate) forwarding: ArcSwapOption<Forwarding>,
    /// `None` before the first tables.
    pub(crate) socket: ArcSwapOption<UdpSocket>,
    /// Drops that belong to no peer.
    pub(crate) drops: DropCounters,
    stopping: AtomicBool,
    segmentation: AtomicBool,
}

impl Shared {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            forwarding: ArcSwapOption::empty(),
            socket: ArcSwapOption::empty(),
            drops: DropCounters::default(),
            stopping: AtomicBool::new(false),
            segmentation: AtomicBool::new(true),
        })
    }

    /// Whether the threads must end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Tells the threads to end; each looks within [`crate::limits::STOP_CHECK`].
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether the kernel cuts what is sent.
    pub(crate) fn segmentation(&self) -> bool {
        self.segmentation.load(Ordering::Relaxed)
    }

    /// From now on every datagram is sent by itself.
    pub(crate) fn give_up_segmentation(&self, error: &io::Error) {
        if self.segmentation.swap(false, Ordering::Relaxed) {
            tracing::warn!(%error, "the kernel or a device does not cut UDP (UDP_SEGMENT); the tunnel is slower");
        }
    }
}
