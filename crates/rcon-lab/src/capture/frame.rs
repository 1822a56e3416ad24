//! One frame as a port of the fabric saw it.

use std::time::Duration;

/// A frame, from its destination address on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The port: named after the host that is plugged in there.
    pub port: String,
    /// Which way it went.
    pub direction: Direction,
    /// When, since 1970-01-01 UTC.
    pub time: Duration,
    /// Set where the kernel passed several segments as one.
    pub segments: Option<SegmentSize>,
    /// All of it.
    pub bytes: Vec<u8>,
}

/// Which way a frame crossed a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The host sent it.
    FromHost,
    /// The host gets it.
    ToHost,
}

/// How a frame of several segments is to be cut (virtio 1.2, 5.1.6 "Device Operation", gso_size).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentSize {
    /// Bytes of TCP payload a segment.
    Tcp(u16),
    /// Bytes of UDP payload a datagram.
    Udp(u16),
}
