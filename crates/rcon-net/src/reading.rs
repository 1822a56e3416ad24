//! Dumps of rtnetlink as plain values. What cannot be decoded is somebody else's, and left out.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use netlink_packet_core::{NetlinkDeserializable, NetlinkHeader};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
    link::{BridgePortState, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState},
    route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType},
};
use rcon_types::{MacAddr, Vni};

use crate::{message, socket::Netlink};

/// An interface as the kernel numbers things.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawLink {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) kind: RawKind,
    pub(crate) mac: Option<MacAddr>,
    pub(crate) mtu: u32,
    pub(crate) up: bool,
    /// Index of the bridge.
    pub(crate) master: Option<u32>,
    pub(crate) port: RawPort,
    /// Index of the other end of a pair, in whatever namespace that is.
    pub(crate) peer: Option<u32>,
    /// Discards what it is given to send: its carrier was not noticed yet (`noop` is its queueing discipline).
    pub(crate) discards: bool,
    /// Whether it is tied to another namespace than the one it lives in.
    pub(crate) tied_elsewhere: bool,
}

/// What an interface says it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum RawKind {
    #[default]
    Other,
    Bridge,
    Veth,
    Tun,
    Wireguard,
    Vxlan {
        vni: Option<Vni>,
        local: Option<IpAddr>,
        port: u16,
        learning: bool,
    },
}

/// How a port behaves.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RawPort {
    pub(crate) learning: bool,
    pub(crate) flood: bool,
    pub(crate) suppresses_neighbours: bool,
    pub(crate) locked: bool,
    /// Frames pass, which the kernel decides some time after the carrier came.
    pub(crate) forwarding: bool,
}

/// A neighbour or a forwarding entry.
#[derive(Debug, Clone)]
pub(crate) struct RawNeighbour {
    pub(crate) index: u32,
    pub(crate) mac: MacAddr,
    pub(crate) destination: Option<IpAddr>,
    pub(crate) permanent: bool,
    /// Nobody answers for it, or it was deleted just now.
    pub(crate) failed: bool,
    /// Entry of the device itself, as VXLAN's are.
    pub(crate) own: bool,
    /// Entry of the bridge that the interface is a port of.
    pub(crate) of_bridge: bool,
}

/// A route of the main table that somebody made.
#[derive(Debug, Clone)]
pub(crate) struct RawRoute {
    pub(crate) destination: IpNet,
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) index: u32,
    /// Made by the kernel for an address.
    pub(crate) of_kernel: bool,
}

fn decode(kind: u16, body: &[u8]) -> Option<RouteNetlinkMessage> {
    let mut header = NetlinkHeader::default();
    header.message_type = kind;
    RouteNetlinkMessage::deserialize(&header, body).ok()
}

/// All interfaces.
pub(crate) fn links(socket: &mut Netlink) -> io::Result<Vec<RawLink>> {
    let found = socket.dump(&message::dump_links())?;
    Ok(found.iter().filter_map(|(kind, body)| link(*kind, body)).collect())
}

/// The index of an interface.
pub(crate) fn index_of(socket: &mut Netlink, name: &str) -> io::Result<u32> {
    let body = socket.get(&message::get_link(name))?;
    // `struct ifinfomsg`: family, padding, type, index.
    body.get(4..8)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u32::from_ne_bytes)
        .ok_or_else(|| io::Error::from_raw_os_error(libc::EBADMSG))
}

/// Whether an interface passes frames, now. On newer kernels (6.8) asking for one interface also makes the kernel act on its
/// carrier at once (`linkwatch_sync_dev`), which it does by itself some time within a second.
pub(crate) fn passes_frames(socket: &mut Netlink, name: &str) -> io::Result<bool> {
    let body = socket.get(&message::get_link(name))?;
    Ok(link(libc::RTM_NEWLINK, &body).is_some_and(|link| !link.discards && (link.master.is_none() || link.port.forwarding)))
}

fn link(kind: u16, body: &[u8]) -> Option<RawLink> {
    let RouteNetlinkMessage::NewLink(LinkMessage { header, attributes, .. }) = decode(kind, body)? else { return None };
    let mut link = RawLink { index: header.index, up: header.flags.contains(LinkFlags::Up), ..RawLink::default() };
    for attribute in attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Address(bytes) => link.mac = bytes.try_into().ok().map(MacAddr),
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Qdisc(name) => link.discards = name == "noop",
            LinkAttribute::Controller(index) => link.master = Some(index),
            LinkAttribute::Link(index) => link.peer = Some(index),
            LinkAttribute::LinkNetNsId(_) => link.tied_elsewhere = true,
            LinkAttribute::LinkInfo(info) => read_info(&mut link, info),
            _ => {}
        }
    }
    Some(link)
}

fn read_info(link: &mut RawLink, info: Vec<LinkInfo>) {
    for part in info {
        match part {
            LinkInfo::Kind(InfoKind::Bridge) => link.kind = RawKind::Bridge,
            LinkInfo::Kind(InfoKind::Veth) => link.kind = RawKind::Veth,
            LinkInfo::Kind(InfoKind::Tun) => link.kind = RawKind::Tun,
            LinkInfo::Kind(InfoKind::Wireguard) => link.kind = RawKind::Wireguard,
            LinkInfo::Data(InfoData::Vxlan(settings)) => link.kind = vxlan(&settings),
            LinkInfo::PortData(InfoPortData::BridgePort(settings)) => link.port = port(&settings),
            _ => {}
        }
    }
}

fn vxlan(settings: &[InfoVxlan]) -> RawKind {
    let (mut vni, mut local, mut port, mut learning) = (None, None, 0, false);
    for setting in settings {
        match setting {
            InfoVxlan::Id(id) => vni = Vni::new(*id),
            InfoVxlan::Local(address) => local = Some(IpAddr::V4(*address)),
            InfoVxlan::Local6(address) => local = Some(IpAddr::V6(*address)),
            InfoVxlan::Port(number) => port = *number,
            InfoVxlan::Learning(on) => learning = *on,
            _ => {}
        }
    }
    RawKind::Vxlan { vni, local, port, learning }
}

fn port(settings: &[InfoBridgePort]) -> RawPort {
    let mut port = RawPort::default();
    for setting in settings {
        match setting {
            InfoBridgePort::Learning(on) => port.learning = *on,
            InfoBridgePort::UnicastFlood(on) => port.flood = *on,
            InfoBridgePort::NeighSupress(on) => port.suppresses_neighbours = *on,
            InfoBridgePort::Locked(on) => port.locked = *on,
            InfoBridgePort::State(state) => port.forwarding = *state == BridgePortState::Forwarding,
            _ => {}
        }
    }
    port
}

/// All addresses, with the index of their interface.
pub(crate) fn addresses(socket: &mut Netlink) -> io::Result<Vec<(u32, IpNet)>> {
    let found = socket.dump(&message::dump_addresses())?;
    Ok(found.iter().filter_map(|(kind, body)| address(*kind, body)).collect())
}

fn address(kind: u16, body: &[u8]) -> Option<(u32, IpNet)> {
    let RouteNetlinkMessage::NewAddress(AddressMessage { header, attributes, .. }) = decode(kind, body)? else { return None };
    let local = attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let plain = attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    IpNet::new(local.or(plain)?, header.prefix_len).ok().map(|net| (header.index, net))
}

/// All neighbours of a family; forwarding entries for `AddressFamily::Bridge`.
pub(crate) fn neighbours(socket: &mut Netlink, family: AddressFamily) -> io::Result<Vec<RawNeighbour>> {
    let found = socket.dump(&message::dump_neighbours(family))?;
    Ok(found.iter().filter_map(|(kind, body)| neighbour(*kind, body)).collect())
}

/// One neighbour, also as a monitor tells of it.
pub(crate) fn neighbour(kind: u16, body: &[u8]) -> Option<RawNeighbour> {
    let decoded = decode(kind, body)?;
    let (RouteNetlinkMessage::NewNeighbour(found) | RouteNetlinkMessage::DelNeighbour(found)) = decoded else { return None };
    let NeighbourMessage { header, attributes, .. } = found;
    let mut entry = RawNeighbour {
        index: header.ifindex,
        mac: MacAddr([0; 6]),
        destination: None,
        permanent: u16::from(header.state) & u16::from(NeighbourState::Permanent) != 0,
        failed: header.state == NeighbourState::Failed,
        own: header.flags.contains(NeighbourFlags::Own),
        of_bridge: false,
    };
    for attribute in attributes {
        match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => entry.mac = MacAddr(bytes.try_into().ok()?),
            NeighbourAttribute::Destination(address) => entry.destination = destination(address),
            NeighbourAttribute::Controller(_) => entry.of_bridge = true,
            _ => {}
        }
    }
    Some(entry)
}

fn destination(address: NeighbourAddress) -> Option<IpAddr> {
    match address {
        NeighbourAddress::Inet(address) => Some(address.into()),
        NeighbourAddress::Inet6(address) => Some(address.into()),
        NeighbourAddress::Other(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(bytes).ok().map(|b| Ipv4Addr::from(b).into()),
            _ => <[u8; 16]>::try_from(bytes).ok().map(|b| Ipv6Addr::from(b).into()),
        },
        _ => None,
    }
}

/// Unicast routes of the main table.
pub(crate) fn routes(socket: &mut Netlink) -> io::Result<Vec<RawRoute>> {
    let mut found = socket.dump(&message::dump_routes(AddressFamily::Inet))?;
    found.extend(socket.dump(&message::dump_routes(AddressFamily::Inet6))?);
    Ok(found.iter().filter_map(|(kind, body)| route(*kind, body)).collect())
}

fn route(kind: u16, body: &[u8]) -> Option<RawRoute> {
    let RouteNetlinkMessage::NewRoute(RouteMessage { header, attributes, .. }) = decode(kind, body)? else { return None };
    if header.table != RouteHeader::RT_TABLE_MAIN || header.kind != RouteType::Unicast {
        return None;
    }
    let mut destination = if header.address_family == AddressFamily::Inet { IpAddr::from([0, 0, 0, 0]) } else { IpAddr::from([0_u16; 8]) };
    let (mut gateway, mut index) = (None, 0);
    for attribute in attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = route_address(&address)?,
            RouteAttribute::Gateway(address) => gateway = route_address(&address),
            RouteAttribute::Oif(number) => index = number,
            _ => {}
        }
    }
    let destination = IpNet::new(destination, header.destination_prefix_length).ok()?;
    Some(RawRoute { destination, gateway, index, of_kernel: header.protocol == RouteProtocol::Kernel })
}

fn route_address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}
