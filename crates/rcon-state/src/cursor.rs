//! Where the allocators stand, so that what was just freed is not given out again at once.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The addresses of one network that were given out last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct AddressCursor {
    pub(crate) ipv4: Option<Ipv4Addr>,
    pub(crate) ipv6: Option<Ipv6Addr>,
}
