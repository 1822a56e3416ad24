//! The kernel as it is, in the words of `rcon-netplan`. Reads, and changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs, io,
};

use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use rcon_netplan::{
    HostFacts, KernelState, LinkAddresses, Namespace, Wanted,
    kernel::{Link, LinkKind, NamespaceState, Port, Route},
    link_address, names,
};

use crate::{
    NetError,
    handle::Handle,
    reading::{self, RawKind, RawLink},
    sysctl,
};

/// Everything rtnetlink tells of one namespace.
pub(crate) struct Seen {
    links: Vec<RawLink>,
    addresses: Vec<(u32, IpNet)>,
    routes: Vec<Route>,
    neighbours: Vec<reading::RawNeighbour>,
    stations: Vec<reading::RawNeighbour>,
}

/// What must be known of the host before anything can be decided.
pub(crate) fn facts(host: &mut Handle) -> Result<HostFacts, NetError> {
    let failed = |source| NetError::Observe { what: "the host's routes", source };
    let links = reading::links(&mut host.route).map_err(failed)?;
    let ours = links.iter().find(|link| link.name == names::HOST_LINK).map(|link| link.index);
    let addresses = reading::addresses(&mut host.route).map_err(failed)?;
    let routes = reading::routes(&mut host.route).map_err(failed)?;
    let foreign: Vec<IpNet> = routes.iter().filter(|route| Some(route.index) != ours).map(|route| route.destination).collect();
    let kept = (0..link_address::CANDIDATES)
        .map(LinkAddresses::candidate)
        .find(|candidate| addresses.iter().any(|(index, address)| Some(*index) == ours && *address == IpNet::V4(candidate.host_v4)));
    let link = kept.or_else(|| LinkAddresses::choose(&foreign)).unwrap_or(LinkAddresses::candidate(0));
    Ok(HostFacts { link, hears_routers: hears_routers(host).map_err(failed)? })
}

/// While the host does not forward IPv6: the interfaces that listen to routers.
fn hears_routers(host: &Handle) -> io::Result<BTreeSet<String>> {
    host.run(|| {
        if sysctl::read("net/ipv6/conf/all/forwarding").as_deref() != Some("0") {
            return Ok(BTreeSet::new());
        }
        let names = fs::read_dir("/proc/sys/net/ipv6/conf")?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let names = names.filter(|name| !matches!(name.as_str(), "all" | "default" | "lo" | names::HOST_LINK));
        Ok(names.filter(|name| sysctl::read(&format!("net/ipv6/conf/{name}/accept_ra")).as_deref() == Some("1")).collect())
    })
}

/// Reads one namespace.
pub(crate) fn look(handle: &mut Handle, namespace: Namespace) -> Result<Seen, NetError> {
    let read = |what| move |source| NetError::Observe { what, source };
    let socket = &mut handle.route;
    let links = reading::links(socket).map_err(read("the interfaces"))?;
    let addresses = reading::addresses(socket).map_err(read("the addresses"))?;
    let names: HashMap<u32, &str> = links.iter().map(|link| (link.index, link.name.as_str())).collect();
    let mut routes = Vec::new();
    for route in reading::routes(socket).map_err(read("the routes"))?.into_iter().filter(|route| !route.of_kernel) {
        if let Some(name) = names.get(&route.index) {
            routes.push(Route { destination: route.destination, gateway: route.gateway, link: (*name).to_owned() });
        }
    }
    let (mut neighbours, mut stations) = (Vec::new(), Vec::new());
    if namespace == Namespace::Overlay {
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            neighbours.extend(reading::neighbours(socket, family).map_err(read("the neighbours"))?);
        }
        stations = reading::neighbours(socket, AddressFamily::Bridge).map_err(read("the forwarding entries"))?;
    }
    Ok(Seen { links, addresses, routes, neighbours, stations })
}

/// All namespaces together, and of their settings those that `wanted` names.
pub(crate) fn state(
    seen: &BTreeMap<Namespace, Seen>,
    wanted: &Wanted,
    handles: &HashMap<Namespace, &Handle>,
) -> Result<KernelState, NetError> {
    let pairs = pairs(seen);
    let mut state = KernelState::default();
    for (&namespace, found) in seen {
        let target = wanted.state.namespaces.get(&namespace);
        let mut observed = NamespaceState { routes: found.routes.iter().cloned().collect(), ..NamespaceState::default() };
        for raw in found.links.iter().filter(|raw| concerns_us(namespace, raw, target)) {
            observed.links.insert(raw.name.clone(), link(found, raw, namespace, &pairs));
        }
        if let (Some(target), Some(handle)) = (target, handles.get(&namespace)) {
            read_sysctls(handle, target, &mut observed).map_err(|source| NetError::Observe { what: "the settings", source })?;
        }
        state.namespaces.insert(namespace, observed);
    }
    Ok(state)
}

/// All of the overlays' namespace; of a container what we gave it; of the host the link alone.
fn concerns_us(namespace: Namespace, raw: &RawLink, target: Option<&NamespaceState>) -> bool {
    match namespace {
        Namespace::Overlay => raw.name != "lo",
        Namespace::Host => raw.name == names::HOST_LINK,
        Namespace::Container(_) => target.is_some_and(|target| target.links.contains_key(&raw.name)),
    }
}

/// Both ends of each pair: an end of the overlays' namespace to one elsewhere, where both name the other's index.
fn pairs(seen: &BTreeMap<Namespace, Seen>) -> HashMap<(Namespace, u32), (Namespace, String)> {
    let mut pairs = HashMap::new();
    let Some(overlay) = seen.get(&Namespace::Overlay) else { return pairs };
    let ends: HashMap<u32, &RawLink> =
        overlay.links.iter().filter(|link| link.kind == RawKind::Veth).map(|link| (link.index, link)).collect();
    for (&namespace, found) in seen.iter().filter(|(namespace, _)| **namespace != Namespace::Overlay) {
        for there in found.links.iter().filter(|link| link.kind == RawKind::Veth && link.tied_elsewhere) {
            let Some(here) = there.peer.and_then(|index| ends.get(&index)) else { continue };
            if here.peer == Some(there.index) && here.tied_elsewhere {
                pairs.insert((Namespace::Overlay, here.index), (namespace, there.name.clone()));
                pairs.insert((namespace, there.index), (Namespace::Overlay, here.name.clone()));
            }
        }
    }
    pairs
}

fn link(found: &Seen, raw: &RawLink, namespace: Namespace, pairs: &HashMap<(Namespace, u32), (Namespace, String)>) -> Link {
    let kind = match &raw.kind {
        RawKind::Bridge => LinkKind::Bridge,
        RawKind::Tun => LinkKind::Tap,
        RawKind::Wireguard if raw.tied_elsewhere => LinkKind::Wireguard,
        RawKind::Vxlan { vni: Some(vni), local: Some(local), port, learning: false } => {
            LinkKind::Vxlan { vni: *vni, local: *local, port: *port, socket_in_host: raw.tied_elsewhere }
        }
        RawKind::Veth => pairs
            .get(&(namespace, raw.index))
            .map_or(LinkKind::Foreign, |(peer_namespace, peer)| LinkKind::Veth { peer_namespace: *peer_namespace, peer: peer.clone() }),
        _ => LinkKind::Foreign,
    };
    let is_vxlan = matches!(kind, LinkKind::Vxlan { .. });
    let mut link = Link { mac: raw.mac, up: raw.up, ..Link::new(kind, raw.mtu) };
    link.port = port(found, raw);
    link.addresses = of(&found.addresses, raw.index).filter(|address| !is_link_local(address)).collect();
    let permanent = found.neighbours.iter().filter(|entry| entry.index == raw.index && entry.permanent);
    link.neighbours =
        permanent.filter_map(|entry| Some((entry.destination?, entry.mac))).filter(|(address, _)| !address.is_multicast()).collect();
    if is_vxlan {
        let own = found.stations.iter().filter(|entry| entry.index == raw.index && entry.own);
        link.tunnel_stations = own.filter_map(|entry| Some((entry.mac, entry.destination?))).collect();
    }
    link
}

fn of(addresses: &[(u32, IpNet)], index: u32) -> impl Iterator<Item = IpNet> {
    addresses.iter().filter(move |(of, _)| *of == index).map(|(_, address)| *address)
}

/// Link-local IPv6 addresses are the kernel's own; those of IPv4 are the link's.
fn is_link_local(address: &IpNet) -> bool {
    matches!(address, IpNet::V6(v6) if v6.addr().is_unicast_link_local())
}

fn port(found: &Seen, raw: &RawLink) -> Option<Port> {
    let master = raw.master?;
    let bridge = found.links.iter().find(|link| link.index == master)?.name.clone();
    let static_entries = found.stations.iter().filter(|entry| entry.index == raw.index && entry.of_bridge && !entry.permanent);
    Some(Port {
        bridge,
        learning: raw.port.learning,
        flood: raw.port.flood,
        suppresses_neighbours: raw.port.suppresses_neighbours,
        locked: raw.port.locked,
        stations: static_entries.map(|entry| entry.mac).collect(),
    })
}

fn read_sysctls(handle: &Handle, target: &NamespaceState, observed: &mut NamespaceState) -> io::Result<()> {
    let of_links = target.links.values().flat_map(|link| link.sysctls.keys());
    let keys: Vec<&String> = target.sysctls.keys().chain(of_links).collect();
    if keys.is_empty() {
        return Ok(());
    }
    let values =
        handle.run(|| Ok(keys.into_iter().filter_map(|key| Some((key.clone(), sysctl::read(key)?))).collect::<BTreeMap<_, _>>()))?;
    for (name, link) in &target.links {
        if let Some(there) = observed.links.get_mut(name) {
            there.sysctls = link.sysctls.keys().filter_map(|key| Some((key.clone(), values.get(key)?.clone()))).collect();
        }
    }
    observed.sysctls = values.into_iter().filter(|(key, _)| target.sysctls.contains_key(key)).collect();
    Ok(())
}
