//! Deleting the connections of addresses that are gone, so that the next owner of an address does not inherit them.
//!
//! Numbers are those of `include/uapi/linux/netfilter/nfnetlink_conntrack.h`.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::{
    attribute::{self, Attributes},
    socket::{Message, Netlink},
};

/// `NFNL_SUBSYS_CTNETLINK` in the upper byte of a type.
const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
/// Length of `struct nfgenmsg`.
const HEADER: usize = 4;

/// One direction of a connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tuple {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    /// Both ports, or what ICMP has in their place.
    pub(crate) ports: Vec<u8>,
}

struct Connection {
    original: Tuple,
    reply: Tuple,
    delete: Message,
}

/// Deletes the connections that `select` picks by their two directions, and returns what it was about: the replies' directions.
pub(crate) fn delete(socket: &mut Netlink, select: impl Fn(&Tuple, &Tuple) -> bool) -> io::Result<BTreeSet<Tuple>> {
    let dump = Message { kind: GET, flags: 0, body: vec![0; HEADER] };
    let found = socket.dump(&dump)?;
    let connections = found.iter().filter_map(|(_, body)| connection(body));
    let (mut messages, mut replies) = (Vec::new(), BTreeSet::new());
    for connection in connections.filter(|connection| select(&connection.original, &connection.reply)) {
        messages.push(connection.delete);
        replies.insert(connection.reply);
    }
    for result in socket.batch(&messages)? {
        match result {
            // It ended by itself meanwhile.
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => return Err(error),
            _ => {}
        }
    }
    Ok(replies)
}

fn connection(body: &[u8]) -> Option<Connection> {
    let (header, rest) = body.split_at_checked(HEADER)?;
    let original = attribute::find(rest, TUPLE_ORIGINAL)?;
    let mut request = Attributes::after(&[header[0], 0, 0, 0]).nest(TUPLE_ORIGINAL, Attributes::after(original));
    if let Some(id) = attribute::find(rest, ID) {
        request = request.bytes(ID, id);
    }
    let delete = Message { kind: DELETE, flags: 0, body: request.finish() };
    Some(Connection { original: tuple(original)?, reply: tuple(attribute::find(rest, TUPLE_REPLY)?)?, delete })
}

/// Types: addresses 1 {source 1 or 3, destination 2 or 4}, protocol 2 {number 1, what tells connections apart}.
fn tuple(bytes: &[u8]) -> Option<Tuple> {
    let (addresses, protocol) = (attribute::find(bytes, 1)?, attribute::find(bytes, 2)?);
    let of = |v4, v6| attribute::find(addresses, v4).and_then(address).or_else(|| attribute::find(addresses, v6).and_then(address));
    let number = attribute::find(protocol, 1)?.first().copied()?;
    let ports = attribute::read(protocol).filter(|(kind, _)| *kind != 1).flat_map(|(_, value)| value.to_vec()).collect();
    Some(Tuple { source: of(1, 3)?, destination: of(2, 4)?, protocol: number, ports })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|b| Ipv4Addr::from(b).into()),
        _ => <[u8; 16]>::try_from(bytes).ok().map(|b| Ipv6Addr::from(b).into()),
    }
}
