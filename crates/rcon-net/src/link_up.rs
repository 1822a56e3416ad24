//! The loopback of a new namespace.

use std::io;

use crate::{message, socket::Netlink};

/// The loopback's index in every namespace (`LOOPBACK_IFINDEX` in `include/net/net_namespace.h`).
const LOOPBACK_INDEX: u32 = 1;

/// Sets the loopback of the calling thread's namespace up.
pub(crate) fn loopback() -> io::Result<()> {
    Netlink::route()?.execute(message::set_up(LOOPBACK_INDEX, true))
}
