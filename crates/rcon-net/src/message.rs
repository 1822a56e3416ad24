//! Steps as messages of rtnetlink. Pure: names are already numbers here, and nothing is sent.

use std::{net::IpAddr, os::fd::RawFd};

use ipnet::IpNet;
use netlink_packet_core::Emitable;
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage},
    link::{
        BridgeStpState, InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, InfoVxlan, LinkAttribute,
        LinkFlags, LinkInfo, LinkMessage,
    },
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState},
    route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType},
};
use rcon_netplan::kernel::{Link, LinkKind, Port, Route};
use rcon_types::MacAddr;

use crate::socket::Message;

/// `NLM_F_CREATE` and friends fit into the 16 bits of the header.
const CREATE: u16 = libc::NLM_F_CREATE as u16;
const EXCLUSIVE: u16 = libc::NLM_F_EXCL as u16;
const REPLACE: u16 = libc::NLM_F_REPLACE as u16;
const APPEND: u16 = libc::NLM_F_APPEND as u16;
/// `NUD_NOARP | NUD_PERMANENT`: what a VXLAN device demands of a static entry (`vxlan_fdb_add`).
const STATIC_TUNNEL_STATION: u16 = 0x40 | 0x80;

fn message(message: &RouteNetlinkMessage, flags: u16) -> Message {
    let mut body = vec![0; message.buffer_len()];
    message.emit(&mut body);
    Message { kind: message.message_type(), flags, body }
}

/// Everything about all interfaces.
pub(crate) fn dump_links() -> Message {
    message(&RouteNetlinkMessage::GetLink(LinkMessage::default()), 0)
}

/// All addresses.
pub(crate) fn dump_addresses() -> Message {
    message(&RouteNetlinkMessage::GetAddress(AddressMessage::default()), 0)
}

/// All neighbours of a family; those of `AddressFamily::Bridge` are forwarding entries.
pub(crate) fn dump_neighbours(family: AddressFamily) -> Message {
    let mut neighbour = NeighbourMessage::default();
    neighbour.header.family = family;
    message(&RouteNetlinkMessage::GetNeighbour(neighbour), 0)
}

/// All routes of a family.
pub(crate) fn dump_routes(family: AddressFamily) -> Message {
    let mut route = RouteMessage::default();
    route.header.address_family = family;
    message(&RouteNetlinkMessage::GetRoute(route), 0)
}

/// One interface.
pub(crate) fn get_link(name: &str) -> Message {
    message(&RouteNetlinkMessage::GetLink(named(name)), 0)
}

/// Removes an interface.
pub(crate) fn delete_link(name: &str) -> Message {
    message(&RouteNetlinkMessage::DelLink(named(name)), 0)
}

/// What else a new interface is tied to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Elsewhere<'a> {
    /// Where it shall live, when that is not where the message is sent.
    pub(crate) namespace: Option<RawFd>,
    /// The other end of a pair, and where that shall live.
    pub(crate) peer: Option<(&'a Link, RawFd)>,
    /// Index of the only interface that its packets may leave by.
    pub(crate) lower: Option<u32>,
}

/// Makes an interface; `None` for what is not made by a message.
pub(crate) fn create_link(name: &str, link: &Link, elsewhere: &Elsewhere<'_>) -> Option<Message> {
    let mut request = newborn(name, link, elsewhere.namespace);
    request.attributes.push(LinkAttribute::LinkInfo(link_info(&link.kind, elsewhere)?));
    Some(message(&RouteNetlinkMessage::NewLink(request), CREATE | EXCLUSIVE))
}

fn named(name: &str) -> LinkMessage {
    let mut request = LinkMessage::default();
    request.attributes.push(LinkAttribute::IfName(name.to_owned()));
    request
}

fn newborn(name: &str, link: &Link, namespace: Option<RawFd>) -> LinkMessage {
    let mut request = named(name);
    request.attributes.push(LinkAttribute::Mtu(link.mtu));
    request.attributes.extend(link.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
    request.attributes.extend(namespace.map(LinkAttribute::NetNsFd));
    request
}

fn link_info(kind: &LinkKind, elsewhere: &Elsewhere<'_>) -> Option<Vec<LinkInfo>> {
    let (kind, data) = match kind {
        LinkKind::Bridge => {
            let settings =
                vec![InfoBridge::StpState(BridgeStpState::Disabled), InfoBridge::ForwardDelay(0), InfoBridge::MulticastSnooping(false)];
            (InfoKind::Bridge, Some(InfoData::Bridge(settings)))
        }
        LinkKind::Vxlan { vni, local, port, .. } => {
            let local = match local {
                IpAddr::V4(address) => InfoVxlan::Local(*address),
                IpAddr::V6(address) => InfoVxlan::Local6(*address),
            };
            let mut settings = vec![InfoVxlan::Id(vni.get()), local, InfoVxlan::Port(*port), InfoVxlan::Learning(false)];
            settings.extend(elsewhere.lower.map(InfoVxlan::Link));
            (InfoKind::Vxlan, Some(InfoData::Vxlan(settings)))
        }
        LinkKind::Wireguard => (InfoKind::Wireguard, None),
        LinkKind::Veth { peer: name, .. } => {
            let (link, namespace) = elsewhere.peer?;
            (InfoKind::Veth, Some(InfoData::Veth(InfoVeth::Peer(newborn(name, link, Some(namespace))))))
        }
        LinkKind::Tap | LinkKind::Foreign => return None,
    };
    Some([LinkInfo::Kind(kind)].into_iter().chain(data.map(LinkInfo::Data)).collect())
}

/// Changes an interface's MTU.
pub(crate) fn set_mtu(index: u32, mtu: u32) -> Message {
    set_link(index, vec![LinkAttribute::Mtu(mtu)])
}

/// Changes an interface's Ethernet address.
pub(crate) fn set_mac(index: u32, mac: MacAddr) -> Message {
    set_link(index, vec![LinkAttribute::Address(mac.0.to_vec())])
}

/// Sets an interface up or down.
pub(crate) fn set_up(index: u32, up: bool) -> Message {
    let mut request = LinkMessage::default();
    request.header.index = index;
    request.header.change_mask = LinkFlags::Up;
    request.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
    message(&RouteNetlinkMessage::SetLink(request), 0)
}

/// Makes an interface a port of a bridge; then says how it behaves, which only a port can be told.
pub(crate) fn set_port(index: u32, bridge: u32, port: &Port) -> [Message; 2] {
    let settings = vec![
        InfoBridgePort::Learning(port.learning),
        InfoBridgePort::UnicastFlood(port.flood),
        InfoBridgePort::MulticastFlood(true),
        InfoBridgePort::BroadcastFlood(true),
        InfoBridgePort::NeighSupress(port.suppresses_neighbours),
        InfoBridgePort::Locked(port.locked),
    ];
    let info = vec![LinkInfo::PortKind(InfoPortKind::Bridge), LinkInfo::PortData(InfoPortData::BridgePort(settings))];
    let mut behaviour = LinkMessage::default();
    behaviour.header.index = index;
    behaviour.attributes.push(LinkAttribute::LinkInfo(info));
    [set_link(index, vec![LinkAttribute::Controller(bridge)]), message(&RouteNetlinkMessage::NewLink(behaviour), 0)]
}

fn set_link(index: u32, attributes: Vec<LinkAttribute>) -> Message {
    let mut request = LinkMessage::default();
    request.header.index = index;
    request.attributes = attributes;
    message(&RouteNetlinkMessage::SetLink(request), 0)
}

/// Gives an interface an address; IPv6 ones are usable at once (`IFA_F_NODAD`).
pub(crate) fn add_address(index: u32, address: IpNet) -> Message {
    let mut request = address_of(index, address);
    match address {
        IpNet::V4(v4) if v4.prefix_len() < 31 => request.attributes.push(AddressAttribute::Broadcast(v4.broadcast())),
        IpNet::V4(_) => {}
        IpNet::V6(_) => {
            request.header.flags = AddressHeaderFlags::Nodad;
            request.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
    }
    message(&RouteNetlinkMessage::NewAddress(request), CREATE | EXCLUSIVE)
}

/// Takes an address away.
pub(crate) fn delete_address(index: u32, address: IpNet) -> Message {
    message(&RouteNetlinkMessage::DelAddress(address_of(index, address)), 0)
}

fn address_of(index: u32, address: IpNet) -> AddressMessage {
    let mut request = AddressMessage::default();
    request.header.family = family(address.addr());
    request.header.prefix_len = address.prefix_len();
    request.header.index = index;
    request.attributes = vec![AddressAttribute::Local(address.addr()), AddressAttribute::Address(address.addr())];
    request
}

/// Makes or corrects a permanent neighbour.
pub(crate) fn set_neighbour(index: u32, address: IpAddr, mac: MacAddr) -> Message {
    let mut request = neighbour(index, family(address), NeighbourState::Permanent, NeighbourFlags::empty());
    request.attributes = vec![NeighbourAttribute::Destination(destination(address)), lladdr(mac)];
    message(&RouteNetlinkMessage::NewNeighbour(request), CREATE | REPLACE)
}

/// Forgets a neighbour.
pub(crate) fn delete_neighbour(index: u32, address: IpAddr) -> Message {
    let mut request = neighbour(index, family(address), NeighbourState::None, NeighbourFlags::empty());
    request.attributes = vec![NeighbourAttribute::Destination(destination(address))];
    message(&RouteNetlinkMessage::DelNeighbour(request), 0)
}

/// Makes a static forwarding entry of the bridge for one of its ports.
pub(crate) fn add_station(port: u32, mac: MacAddr) -> Message {
    let mut request = neighbour(port, AddressFamily::Bridge, NeighbourState::Noarp, NeighbourFlags::Controller);
    request.attributes = vec![lladdr(mac)];
    message(&RouteNetlinkMessage::NewNeighbour(request), CREATE | REPLACE)
}

/// Removes a forwarding entry of the bridge.
pub(crate) fn delete_station(port: u32, mac: MacAddr) -> Message {
    let mut request = neighbour(port, AddressFamily::Bridge, NeighbourState::None, NeighbourFlags::Controller);
    request.attributes = vec![lladdr(mac)];
    message(&RouteNetlinkMessage::DelNeighbour(request), 0)
}

/// Makes a static entry of a VXLAN device; several hosts may be given for the all-zero address.
pub(crate) fn add_tunnel_station(device: u32, mac: MacAddr, host: IpAddr, via: Option<u32>) -> Message {
    let state = NeighbourState::from(STATIC_TUNNEL_STATION);
    let mut request = neighbour(device, AddressFamily::Bridge, state, NeighbourFlags::Own);
    request.attributes = vec![lladdr(mac), NeighbourAttribute::Destination(destination(host))];
    request.attributes.extend(via.map(NeighbourAttribute::IfIndex));
    let shared = mac.0 == [0; 6];
    message(&RouteNetlinkMessage::NewNeighbour(request), CREATE | if shared { APPEND } else { REPLACE })
}

/// Removes an entry of a VXLAN device.
pub(crate) fn delete_tunnel_station(device: u32, mac: MacAddr, host: IpAddr) -> Message {
    let mut request = neighbour(device, AddressFamily::Bridge, NeighbourState::None, NeighbourFlags::Own);
    request.attributes = vec![lladdr(mac), NeighbourAttribute::Destination(destination(host))];
    message(&RouteNetlinkMessage::DelNeighbour(request), 0)
}

fn neighbour(index: u32, family: AddressFamily, state: NeighbourState, flags: NeighbourFlags) -> NeighbourMessage {
    let mut request = NeighbourMessage::default();
    request.header.family = family;
    request.header.ifindex = index;
    request.header.state = state;
    request.header.flags = flags;
    request
}

fn lladdr(mac: MacAddr) -> NeighbourAttribute {
    NeighbourAttribute::LinkLayerAddress(mac.0.to_vec())
}

fn destination(address: IpAddr) -> NeighbourAddress {
    match address {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    }
}

/// Makes or corrects a route.
pub(crate) fn add_route(index: u32, route: &Route) -> Message {
    message(&RouteNetlinkMessage::NewRoute(route_of(index, route)), CREATE | REPLACE)
}

/// Removes a route.
pub(crate) fn delete_route(index: u32, route: &Route) -> Message {
    let mut request = route_of(index, route);
    request.header.scope = RouteScope::NoWhere;
    request.header.protocol = RouteProtocol::Unspec;
    message(&RouteNetlinkMessage::DelRoute(request), 0)
}

fn route_of(index: u32, route: &Route) -> RouteMessage {
    let mut request = RouteMessage::default();
    request.header.address_family = family(route.destination.addr());
    request.header.destination_prefix_length = route.destination.prefix_len();
    request.header.table = RouteHeader::RT_TABLE_MAIN;
    request.header.protocol = RouteProtocol::Static;
    request.header.kind = RouteType::Unicast;
    request.header.scope = match (route.gateway, route.destination) {
        (None, IpNet::V4(_)) => RouteScope::Link,
        _ => RouteScope::Universe,
    };
    if route.destination.prefix_len() > 0 {
        request.attributes.push(RouteAttribute::Destination(RouteAddress::from(route.destination.network())));
    }
    request.attributes.extend(route.gateway.map(|gateway| RouteAttribute::Gateway(RouteAddress::from(gateway))));
    request.attributes.push(RouteAttribute::Oif(index));
    request
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}
