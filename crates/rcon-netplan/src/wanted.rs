//! What the cluster wants of this host, said in the kernel's words.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use rcon_types::{EndpointId, MacAddr, NetworkId};

use crate::{
    constants::{GATEWAY_MAC, INNER_VXLAN_PORT, MIN_MTU, REPLICATION_MAC},
    desired::{EncryptedBackend, HostNetwork, LocalEndpoint, OverlayNetwork},
    firewall::{self, HostRules, OverlayRules},
    kernel::{KernelState, Link, LinkKind, Namespace, Port, Route},
    link_address::LinkAddresses,
    names,
    step::Scope,
};

/// The MTU of the link between host and overlays, which never fragments what a network may carry.
const LINK_MTU: u32 = 65_000;
/// What WireGuard takes from the largest packet of an IPv6 underlay, and VXLAN with Ethernet from what is left.
const VXLAN_IN_TUNNEL_OVERHEAD: u32 = 50;

/// Settings of the namespace of all overlays. Frames on its bridges are nobody's firewall's business; interfaces are born
/// without IPv6, so that ports of bridges say nothing of their own; nothing is learned from the networks.
const OVERLAY_SYSCTLS: [(&str, &str); 16] = [
    ("net/bridge/bridge-nf-call-iptables", "0"),
    ("net/bridge/bridge-nf-call-ip6tables", "0"),
    ("net/bridge/bridge-nf-call-arptables", "0"),
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv4/conf/all/arp_ignore", "1"),
    ("net/ipv4/conf/all/rp_filter", "1"),
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv6/conf/default/disable_ipv6", "1"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/default/router_solicitations", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/default/dad_transmits", "0"),
    ("net/ipv6/conf/default/addr_gen_mode", "1"),
];

/// What an observer found out about the host before anything could be decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// The addresses of the link, kept from an earlier pass or chosen now.
    pub link: LinkAddresses,
    /// Interfaces of the host that configure themselves from router advertisements: they must go on doing so when it forwards.
    pub hears_routers: BTreeSet<String>,
}

/// What the kernel should look like, and whose each interface is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// The kernel.
    pub state: KernelState,
    /// Whose each interface is; what belongs to all networks is absent.
    pub owners: BTreeMap<(Namespace, String), Scope>,
    /// The encrypted networks.
    pub encrypted: BTreeSet<NetworkId>,
}

impl Wanted {
    /// What `desired` means for the kernel.
    #[must_use]
    pub fn of(desired: &HostNetwork, facts: &HostFacts) -> Self {
        let mut wanted = Self::default();
        wanted.state.namespace_mut(Namespace::Host);
        if desired.networks.is_empty() {
            return wanted;
        }
        let overlay = wanted.state.namespace_mut(Namespace::Overlay);
        overlay.sysctls = OVERLAY_SYSCTLS.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        wanted.encrypted = desired.networks.iter().filter(|(_, network)| network.encrypted).map(|(id, _)| *id).collect();
        for (id, network) in &desired.networks {
            wanted.add_network(*id, network, desired);
        }
        let egress = desired.networks.values().any(OverlayNetwork::has_egress);
        if egress {
            wanted.add_link(desired, facts);
        }
        if wireguard_needed(desired) {
            wanted.add_wireguard(desired);
        }
        wanted.add_firewall(desired, egress.then_some(facts.link));
        wanted
    }

    fn own(&mut self, namespace: Namespace, name: &str, network: NetworkId, link: Link) {
        self.owners.insert((namespace, name.to_owned()), Scope::Network(network));
        self.state.namespace_mut(namespace).links.insert(name.to_owned(), link);
    }

    fn add_network(&mut self, id: NetworkId, network: &OverlayNetwork, desired: &HostNetwork) {
        self.own(Namespace::Overlay, &names::bridge(network.vni), id, bridge(network, desired));
        if let Some((name, link)) = tunnel_port(network, desired) {
            self.own(Namespace::Overlay, &name, id, link);
        }
        for (endpoint_id, endpoint) in &network.local {
            self.add_endpoint(id, network, *endpoint_id, endpoint);
        }
    }

    fn add_endpoint(&mut self, id: NetworkId, network: &OverlayNetwork, endpoint_id: EndpointId, endpoint: &LocalEndpoint) {
        let inside = Namespace::Container(endpoint.container);
        let name = names::container_port(endpoint_id);
        let kind = |peer_namespace, peer: &str| LinkKind::Veth { peer_namespace, peer: peer.to_owned() };
        let mut port = Link::new(kind(inside, &endpoint.interface), mtu(network));
        port.up = true;
        port.port = Some(port_of(network, true, [endpoint.mac].into()));
        self.own(Namespace::Overlay, &name, id, port);

        let mut link = Link::new(kind(Namespace::Overlay, &name), mtu(network));
        link.up = true;
        link.mac = Some(endpoint.mac);
        link.addresses = endpoint.addresses.iter().filter_map(|address| with_prefix(network, *address)).collect();
        let has_ipv6 = endpoint.addresses.iter().any(IpAddr::is_ipv6);
        link.sysctls.insert(format!("net/ipv6/conf/{}/disable_ipv6", endpoint.interface), u8::from(!has_ipv6).to_string());
        self.own(inside, &endpoint.interface, id, link);

        let container = self.state.namespace_mut(inside);
        container.redirects_dns = true;
        if endpoint.default_route && network.has_egress() {
            container.routes.extend(default_routes(network, endpoint));
        }
    }

    /// The pair of links between host and overlays.
    fn add_link(&mut self, desired: &HostNetwork, facts: &HostFacts) {
        let has_ipv6 = desired.networks.values().any(|network| network.has_egress() && network.has_ipv6());
        let ends = [
            (Namespace::Host, names::HOST_LINK, Namespace::Overlay, names::OVERLAY_LINK, facts.link.host_v4, facts.link.host_v6),
            (Namespace::Overlay, names::OVERLAY_LINK, Namespace::Host, names::HOST_LINK, facts.link.overlay_v4, facts.link.overlay_v6),
        ];
        for (namespace, name, peer_namespace, peer, v4, v6) in ends {
            let mut link = Link::new(LinkKind::Veth { peer_namespace, peer: peer.to_owned() }, LINK_MTU);
            link.up = true;
            link.sysctls.insert(format!("net/ipv6/conf/{name}/disable_ipv6"), u8::from(!has_ipv6).to_string());
            link.addresses.insert(IpNet::V4(v4));
            if has_ipv6 {
                link.addresses.insert(IpNet::V6(v6));
            }
            self.state.namespace_mut(namespace).links.insert(name.to_owned(), link);
        }
        let mut gateways: Vec<IpAddr> = vec![facts.link.host_v4.addr().into()];
        let host = self.state.namespace_mut(Namespace::Host);
        host.sysctls.insert("net/ipv4/ip_forward".into(), "1".into());
        if has_ipv6 {
            gateways.push(facts.link.host_v6.addr().into());
            host.sysctls.insert("net/ipv6/conf/all/forwarding".into(), "1".into());
            host.sysctls.extend(facts.hears_routers.iter().map(|name| (format!("net/ipv6/conf/{name}/accept_ra"), "2".to_owned())));
        }
        let routes = gateways.into_iter().map(|gateway| default_route(gateway, names::OVERLAY_LINK));
        self.state.namespace_mut(Namespace::Overlay).routes.extend(routes);
    }

    fn add_wireguard(&mut self, desired: &HostNetwork) {
        let Some(vtep) = desired.node.vtep else { return };
        let largest = desired.networks.values().filter(|network| network.encrypted).map(mtu).max().unwrap_or(MIN_MTU);
        let mut link = Link::new(LinkKind::Wireguard, largest + VXLAN_IN_TUNNEL_OVERHEAD);
        link.up = true;
        link.addresses.insert(IpNet::from(IpAddr::V4(vtep)));
        self.owners.insert((Namespace::Overlay, names::WIREGUARD.to_owned()), Scope::Encrypted);
        let overlay = self.state.namespace_mut(Namespace::Overlay);
        overlay.links.insert(names::WIREGUARD.to_owned(), link);
        let destination = IpNet::V4(desired.node.vtep_pool.trunc());
        overlay.routes.insert(Route { destination, gateway: None, link: names::WIREGUARD.to_owned() });
    }

    fn add_firewall(&mut self, desired: &HostNetwork, link: Option<LinkAddresses>) {
        let plain = desired.networks.values().any(|network| !network.encrypted);
        let rules = HostRules { plain: plain.then(|| (desired.node.data_port, desired.plain_senders())), link };
        if let Some(table) = firewall::host_table(&rules) {
            self.state.namespace_mut(Namespace::Host).tables.insert(firewall::INET, table);
        }
        let egress = desired.networks.values().filter(|network| network.has_egress()).map(|network| names::bridge(network.vni)).collect();
        let rules = OverlayRules { egress, link, wireguard: wireguard_needed(desired) };
        self.state.namespace_mut(Namespace::Overlay).tables.extend(firewall::overlay_tables(&rules));
    }
}

fn wireguard_needed(desired: &HostNetwork) -> bool {
    desired.node.backend == EncryptedBackend::Kernel && desired.node.vtep.is_some() && desired.has_encrypted()
}

/// The bridge of a network. It answers for the gateway and for every endpoint, and asks for none.
fn bridge(network: &OverlayNetwork, desired: &HostNetwork) -> Link {
    let name = names::bridge(network.vni);
    let mut link = Link::new(LinkKind::Bridge, mtu(network));
    link.up = true;
    link.mac = Some(GATEWAY_MAC);
    link.sysctls.insert(format!("net/ipv6/conf/{name}/disable_ipv6"), u8::from(!network.has_ipv6()).to_string());
    for family in ["ipv4", "ipv6"] {
        for solicit in ["mcast_solicit", "ucast_solicit", "app_solicit"] {
            link.sysctls.insert(format!("net/{family}/neigh/{name}/{solicit}"), "0".into());
        }
    }
    if network.has_egress() {
        let gateways = network.subnets.iter().filter_map(|subnet| subnet.gateway);
        link.addresses = gateways.filter_map(|gateway| with_prefix(network, gateway)).collect();
    }
    let local = network.local.values().map(|endpoint| (&endpoint.addresses, endpoint.mac));
    let reachable = network.remote.values().filter(|endpoint| destination(network, desired, endpoint.node).is_some());
    for (addresses, mac) in local.chain(reachable.map(|endpoint| (&endpoint.addresses, endpoint.mac))) {
        link.neighbours.extend(addresses.iter().map(|address| (*address, mac)));
    }
    link
}

/// The port that leads to the other hosts; `None` where this node has no address for it yet.
fn tunnel_port(network: &OverlayNetwork, desired: &HostNetwork) -> Option<(String, Link)> {
    let node = &desired.node;
    let vxlan = |local, port, socket_in_host| LinkKind::Vxlan { vni: network.vni, local, port, socket_in_host };
    let (name, kind) = match (network.encrypted, node.backend) {
        (false, _) => (names::vxlan(network.vni), vxlan(node.data_address?, node.data_port, true)),
        (true, EncryptedBackend::Kernel) => (names::vxlan(network.vni), vxlan(node.vtep?.into(), INNER_VXLAN_PORT, false)),
        (true, EncryptedBackend::Userspace) => (names::tap(network.vni), LinkKind::Tap),
    };
    let mut link = Link::new(kind, mtu(network));
    link.up = true;
    let is_vxlan = matches!(link.kind, LinkKind::Vxlan { .. });
    let mut stations = BTreeSet::new();
    for endpoint in network.remote.values() {
        let Some(host) = destination(network, desired, endpoint.node) else { continue };
        stations.insert(endpoint.mac);
        if is_vxlan {
            link.tunnel_stations.insert((endpoint.mac, host));
            link.tunnel_stations.insert((REPLICATION_MAC, host));
        }
    }
    link.port = Some(port_of(network, false, stations));
    Some((name, link))
}

/// Where frames for `node` are sent, where that is known.
fn destination(network: &OverlayNetwork, desired: &HostNetwork, node: rcon_types::NodeId) -> Option<IpAddr> {
    let host = desired.hosts.get(&node)?;
    if network.encrypted { host.vtep.map(IpAddr::V4) } else { host.data_address }
}

fn port_of(network: &OverlayNetwork, locked: bool, stations: BTreeSet<MacAddr>) -> Port {
    Port { bridge: names::bridge(network.vni), learning: false, flood: false, suppresses_neighbours: !locked, locked, stations }
}

fn default_routes(network: &OverlayNetwork, endpoint: &LocalEndpoint) -> Vec<Route> {
    let gateways = network.subnets.iter().filter_map(|subnet| subnet.gateway);
    let served = gateways.filter(|gateway| endpoint.addresses.iter().any(|address| address.is_ipv4() == gateway.is_ipv4()));
    served.map(|gateway| default_route(gateway, &endpoint.interface)).collect()
}

fn default_route(gateway: IpAddr, link: &str) -> Route {
    let any: IpAddr = if gateway.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
    Route { destination: IpNet::new_assert(any, 0), gateway: Some(gateway), link: link.to_owned() }
}

fn with_prefix(network: &OverlayNetwork, address: IpAddr) -> Option<IpNet> {
    IpNet::new(address, network.prefix_length(address)?).ok()
}

fn mtu(network: &OverlayNetwork) -> u32 {
    network.mtu.0.max(MIN_MTU)
}
