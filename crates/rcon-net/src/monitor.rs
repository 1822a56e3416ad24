//! Hearing of changes to what is ours.

use std::{io, os::fd::BorrowedFd};

use nix::sys::socket::SockProtocol;
use rcon_netplan::{Namespace, names};

use crate::{NetError, handle::Handle, reading, socket::Netlink};

/// Links, neighbours, addresses and routes of both families (`enum rtnetlink_groups`, bit n − 1 for group n).
const OVERLAY_GROUPS: u32 = (1 << 0) | (1 << 2) | (1 << 4) | (1 << 6) | (1 << 8) | (1 << 10);
/// Links.
const HOST_GROUPS: u32 = 1 << 0;
/// `NFNLGRP_NFTABLES`.
const FIREWALL_GROUP: u32 = 1 << 6;
/// `RTM_NEWLINK` and `RTM_DELLINK`.
const LINK_MESSAGES: [u16; 2] = [libc::RTM_NEWLINK, libc::RTM_DELLINK];
/// `RTM_NEWNEIGH` and `RTM_DELNEIGH`.
const NEIGHBOUR_MESSAGES: [u16; 2] = [libc::RTM_NEWNEIGH, libc::RTM_DELNEIGH];

/// The sockets that hear of changes in one namespace.
#[derive(Debug)]
pub(crate) struct Monitor {
    namespace: Namespace,
    route: Netlink,
    firewall: Netlink,
}

impl Monitor {
    /// Listens from now on.
    pub(crate) fn open(namespace: Namespace, handle: &Handle) -> Result<Self, NetError> {
        let groups = if namespace == Namespace::Overlay { OVERLAY_GROUPS } else { HOST_GROUPS };
        let open = || {
            let route = Netlink::monitor(SockProtocol::NetlinkRoute, groups)?;
            Ok((route, Netlink::monitor(SockProtocol::NetlinkNetFilter, FIREWALL_GROUP)?))
        };
        let (route, firewall) = handle.run(open).map_err(|source| NetError::Socket { what: "changes", source })?;
        Ok(Self { namespace, route, firewall })
    }

    /// To wait for.
    pub(crate) fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.route.descriptor(), self.firewall.descriptor()]
    }

    /// Takes everything that was heard; whether any of it may concern us. Our own changes are heard as well.
    pub(crate) fn take(&mut self) -> bool {
        let namespace = self.namespace;
        let links = drain(&mut self.route, |kind, body| concerns_us(namespace, kind, body));
        drain(&mut self.firewall, |_, _| true) || links
    }
}

fn concerns_us(namespace: Namespace, kind: u16, body: &[u8]) -> bool {
    if NEIGHBOUR_MESSAGES.contains(&kind) {
        // Those of the link to the host come and go by themselves.
        let settled = |entry: reading::RawNeighbour| entry.permanent || entry.failed || entry.of_bridge || entry.own;
        return reading::neighbour(kind, body).is_none_or(settled);
    }
    if namespace == Namespace::Host && LINK_MESSAGES.contains(&kind) {
        return body.windows(names::HOST_LINK.len()).any(|window| window == names::HOST_LINK.as_bytes());
    }
    true
}

fn drain(socket: &mut Netlink, concerns_us: impl Fn(u16, &[u8]) -> bool) -> bool {
    let mut concerned = false;
    loop {
        match socket.heard() {
            Ok(messages) => concerned |= messages.iter().any(|(kind, body)| concerns_us(*kind, body)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return concerned,
            // Some were lost: whatever they said, look.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => concerned = true,
            Err(_) => return true,
        }
    }
}
