//! What this host's network should be: a pure function of its assignments and of the endpoints its containers hold.
//!
//! Nothing here trusts the other side of the wire: a part of the assignments that makes no sense is left out and reported, and the
//! rest stands.

use std::collections::BTreeMap;

use ipnet::IpNet;
use rcon_netplan::{EncryptedBackend, HostNetwork, LocalEndpoint, NodeSettings, OverlayNetwork, OverlaySubnet, RemoteEndpoint, RemoteHost};
use rcon_proto::{
    convert::{self, Malformed},
    v1,
};
use rcon_types::{ContainerId, EndpointId, Mtu, NetworkId, NodeId, Vni};

use crate::attachments::{Attached, Table};

/// The host's network, and what of the assignments could not be understood.
#[derive(Debug, Default)]
pub struct Desired {
    /// What the kernel should be.
    pub network: HostNetwork,
    /// Names of networks or nodes, with what is wrong with them.
    pub malformed: Vec<(String, Malformed)>,
}

/// Computes the host's network.
#[must_use]
pub fn desired(set: &v1::Assignments, attachments: &Table, backend: EncryptedBackend) -> Desired {
    let mut out = Desired::default();
    let Some(node) = &set.node else { return out };
    let Ok(own) = convert::id(" node", &node.id) else { return out };
    match settings(set, node, backend) {
        Ok(settings) => out.network.node = settings,
        Err(error) => out.malformed.push(("this node".to_owned(), error)),
    }
    for peer in &set.peers {
        match remote_host(peer) {
            Ok((id, host)) if id != own => {
                out.network.hosts.insert(id, host);
            }
            Ok(_) => {}
            Err(error) => out.malformed.push((peer.hostname.clone(), error)),
        }
    }
    let held = held(attachments);
    for assignment in &set.networks {
        let name = assignment.network.as_ref().and_then(|n| n.spec.as_ref()).map(|s| s.name.clone()).unwrap_or_default();
        match network(assignment, own, &held, &out.network.hosts) {
            Ok((id, network)) => {
                out.network.networks.insert(id, network);
            }
            Err(error) => out.malformed.push((name, error)),
        }
    }
    default_routes(&mut out.network, attachments);
    out
}

/// Who holds which endpoint on this host.
type Held<'a> = BTreeMap<EndpointId, (ContainerId, &'a Attached)>;

fn held(attachments: &Table) -> Held<'_> {
    let each = attachments.iter().flat_map(|(container, networks)| networks.attached.iter().map(|attached| (*container, attached)));
    each.map(|(container, attached)| (attached.endpoint_id, (container, attached))).collect()
}

fn settings(set: &v1::Assignments, node: &v1::Node, backend: EncryptedBackend) -> Result<NodeSettings, Malformed> {
    let defaults = NodeSettings::default();
    let description = node.description.clone().unwrap_or_default();
    let cluster = set.cluster.clone().unwrap_or_default();
    let port = |wire: u32, default: u16| u16::try_from(wire).ok().filter(|port| *port != 0).unwrap_or(default);
    let pool = match &cluster.vtep_pool {
        Some(pool) => match convert::prefix("vtep_pool", pool)? {
            IpNet::V4(pool) => pool,
            IpNet::V6(_) => return Err(Malformed { field: "vtep_pool", why: "it is not of IPv4".to_owned() }),
        },
        None => defaults.vtep_pool,
    };
    Ok(NodeSettings {
        data_address: convert::ip("data_address", &description.data_address)?,
        data_port: port(cluster.data_path_port, defaults.data_port),
        encrypted_port: port(cluster.encrypted_port, defaults.encrypted_port),
        vtep: convert::ipv4("vtep_address", &node.vtep_address)?,
        vtep_pool: pool,
        backend,
    })
}

fn remote_host(peer: &v1::Peer) -> Result<(NodeId, RemoteHost), Malformed> {
    let key = match peer.wireguard_public_key.len() {
        0 => None,
        _ => Some(
            <[u8; 32]>::try_from(&peer.wireguard_public_key[..])
                .map_err(|_| Malformed { field: "wireguard_public_key", why: "a key has 32 bytes".to_owned() })?,
        ),
    };
    let host = RemoteHost {
        name: peer.hostname.clone(),
        data_address: convert::ip("data_address", &peer.data_address)?,
        vtep: convert::ipv4("vtep_address", &peer.vtep_address)?,
        wireguard_public_key: key,
    };
    Ok((convert::id("node_id", &peer.node_id)?, host))
}

fn network(
    assignment: &v1::NetworkAssignment,
    own: NodeId,
    held: &Held<'_>,
    hosts: &BTreeMap<NodeId, RemoteHost>,
) -> Result<(NetworkId, OverlayNetwork), Malformed> {
    let missing = |field| Malformed { field, why: "it is missing".to_owned() };
    let wire = assignment.network.as_ref().ok_or_else(|| missing("network"))?;
    let spec = wire.spec.as_ref().ok_or_else(|| missing("spec"))?;
    let mut network = OverlayNetwork {
        name: spec.name.clone(),
        vni: Vni::new(wire.vni).ok_or(Malformed { field: "vni", why: "it has more than 24 bits".to_owned() })?,
        encrypted: spec.encrypted,
        internal: spec.internal,
        mtu: Mtu(assignment.mtu),
        subnets: wire.subnets.iter().map(|subnet| overlay_subnet(subnet, spec.internal)).collect::<Result<_, _>>()?,
        local: BTreeMap::new(),
        remote: BTreeMap::new(),
    };
    for endpoint in &assignment.endpoints {
        let id: EndpointId = convert::id("endpoint", &endpoint.id)?;
        let node: NodeId = convert::id("node_id", &endpoint.node_id)?;
        let addresses = [convert::ip("ipv4", &endpoint.ipv4)?, convert::ip("ipv6", &endpoint.ipv6)?].into_iter().flatten().collect();
        let mac = convert::mac("mac", &endpoint.mac)?;
        if node != own {
            // A host that is not known yet comes with a later set; its frames have nowhere to go until then.
            if hosts.contains_key(&node) {
                network.remote.insert(id, RemoteEndpoint { node, addresses, mac });
            }
        } else if let Some((container, attached)) = held.get(&id) {
            let interface = attached.interface_name();
            network.local.insert(id, LocalEndpoint { container: *container, interface, addresses, mac, default_route: false });
        }
    }
    Ok((convert::id("network", &wire.id)?, network))
}

fn overlay_subnet(wire: &v1::Subnet, internal: bool) -> Result<OverlaySubnet, Malformed> {
    let prefix = wire.prefix.as_ref().ok_or(Malformed { field: "prefix", why: "it is missing".to_owned() })?;
    let gateway = if internal { None } else { convert::ip("gateway", &wire.gateway)? };
    Ok(OverlaySubnet { prefix: convert::prefix("prefix", prefix)?, gateway })
}

/// A container's default route leads into the first of its networks, in the order of joining, that has a way out.
fn default_routes(host: &mut HostNetwork, attachments: &Table) {
    for networks in attachments.values() {
        let first = networks.attached.iter().find(|attached| {
            let network = host.networks.get(&attached.network_id);
            network.is_some_and(|network| network.has_egress() && network.local.contains_key(&attached.endpoint_id))
        });
        if let Some(attached) = first
            && let Some(network) = host.networks.get_mut(&attached.network_id)
            && let Some(endpoint) = network.local.get_mut(&attached.endpoint_id)
        {
            endpoint.default_route = true;
        }
    }
}

/// Leases of this node that no container holds: given back when they stay so.
#[must_use]
pub fn orphans(set: &v1::Assignments, attachments: &Table) -> Vec<EndpointId> {
    let Some(node) = &set.node else { return Vec::new() };
    let held = held(attachments);
    let own = set.networks.iter().flat_map(|network| &network.endpoints).filter(|endpoint| endpoint.node_id == node.id);
    own.filter_map(|endpoint| EndpointId::from_slice(&endpoint.id).ok()).filter(|id| !held.contains_key(id)).collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use rcon_proto::Bytes;
    use rcon_types::MacAddr;

    use super::*;
    use crate::attachments::{ContainerNetworks, Requested};

    const OWN: [u8; 16] = [1; 16];
    const OTHER: [u8; 16] = [2; 16];

    fn endpoint(id: u8, node: [u8; 16], last: u8) -> v1::Endpoint {
        let ip = Ipv4Addr::new(10, 0, 0, last);
        v1::Endpoint {
            id: Bytes::copy_from_slice(&[id; 16]),
            node_id: Bytes::copy_from_slice(&node),
            ipv4: Bytes::copy_from_slice(&ip.octets()),
            mac: Bytes::copy_from_slice(&MacAddr::for_ipv4(ip).0),
            ..Default::default()
        }
    }

    fn set(internal: bool) -> v1::Assignments {
        let prefix: IpNet = "10.0.0.0/24".parse().unwrap();
        let subnet = v1::Subnet { prefix: Some(convert::prefix_to_wire(prefix)), gateway: vec![10, 0, 0, 1].into(), range: None };
        let spec = v1::NetworkSpec { name: "backend".into(), encrypted: true, internal, ..Default::default() };
        let network = v1::Network { id: vec![9; 16].into(), spec: Some(spec), vni: 4096, subnets: vec![subnet], ..Default::default() };
        v1::Assignments {
            node: Some(v1::Node { id: OWN.to_vec().into(), vtep_address: vec![100, 96, 0, 1].into(), ..Default::default() }),
            peers: vec![
                v1::Peer { node_id: OWN.to_vec().into(), ..Default::default() },
                v1::Peer {
                    node_id: OTHER.to_vec().into(),
                    hostname: "h2".into(),
                    data_address: vec![192, 0, 2, 2].into(),
                    ..Default::default()
                },
            ],
            networks: vec![v1::NetworkAssignment {
                network: Some(network),
                endpoints: vec![endpoint(1, OWN, 2), endpoint(2, OTHER, 3), endpoint(3, [7; 16], 4)],
                mtu: 1370,
            }],
            ..Default::default()
        }
    }

    fn table() -> Table {
        let request = Requested { network: "backend".into(), aliases: Vec::new(), ipv4: None, ipv6: None };
        let attached = Attached {
            network_id: NetworkId::from_bytes([9; 16]),
            network_name: "backend".into(),
            endpoint_id: EndpointId::from_bytes([1; 16]),
            interface: 0,
            request,
        };
        let networks = ContainerNetworks { name: "web".parse().unwrap(), attached: vec![attached] };
        Table::from([(ContainerId::from_bytes([5; 32]), networks)])
    }

    #[test]
    fn endpoints_are_local_remote_or_not_known_yet() {
        let desired = desired(&set(false), &table(), EncryptedBackend::Userspace);
        assert!(desired.malformed.is_empty(), "{:?}", desired.malformed);
        let network = &desired.network.networks[&NetworkId::from_bytes([9; 16])];
        assert_eq!(network.local.len(), 1);
        assert!(network.local[&EndpointId::from_bytes([1; 16])].default_route);
        assert_eq!(network.remote.keys().copied().collect::<Vec<_>>(), [EndpointId::from_bytes([2; 16])]);
        assert_eq!(desired.network.hosts.len(), 1);
    }

    #[test]
    fn an_internal_network_has_no_gateway_and_gives_no_default_route() {
        let desired = desired(&set(true), &table(), EncryptedBackend::Userspace);
        let network = &desired.network.networks[&NetworkId::from_bytes([9; 16])];
        assert!(network.subnets[0].gateway.is_none());
        assert!(!network.local[&EndpointId::from_bytes([1; 16])].default_route);
    }

    #[test]
    fn a_lease_without_a_container_is_an_orphan() {
        assert!(orphans(&set(false), &table()).is_empty());
        assert_eq!(orphans(&set(false), &Table::new()), [EndpointId::from_bytes([1; 16])]);
    }

    #[test]
    fn one_network_that_makes_no_sense_does_not_spoil_the_rest() {
        let mut set = set(false);
        let mut bad = set.networks[0].clone();
        bad.network.as_mut().unwrap().vni = 1 << 24;
        bad.network.as_mut().unwrap().id = vec![8; 16].into();
        set.networks.push(bad);
        let desired = desired(&set, &table(), EncryptedBackend::Userspace);
        assert_eq!(desired.malformed.len(), 1);
        assert_eq!(desired.network.networks.len(), 1);
    }
}
