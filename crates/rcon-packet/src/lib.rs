//! Frames as values: parsing, segmenting, merging, checksums, VXLAN, and the tunnel's control protocol.
//!
//! Bytes come in, bytes and decisions go out. Nothing here reads a clock, a file, a socket or the environment, nothing is
//! `unsafe`, and no input makes it panic: what cannot be understood is refused with a reason, or passed on untouched.

pub mod checksum;
pub mod control;
pub mod flow;
pub mod frame;
pub mod icmp;
pub mod merge;
pub mod segment;
pub mod virtio;
pub mod vxlan;
pub mod wireguard;
