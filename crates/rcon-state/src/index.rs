//! What can be found other than by id. Derived from the objects alone, kept in step by `insert` and `remove`.

use std::net::{IpAddr, Ipv4Addr};

use imbl::{OrdMap, OrdSet};
use ipnet::IpNet;
use rcon_proto::{convert, v1};
use rcon_types::{EndpointId, Id, NetworkId, NodeId, id::Kind};

/// All indexes. Equal for equal objects, whatever way led there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) hostnames: OrdSet<(String, NodeId)>,
    pub(crate) public_keys: OrdMap<Vec<u8>, NodeId>,
    pub(crate) vteps: OrdMap<Ipv4Addr, NodeId>,
    pub(crate) raft_ids: OrdMap<u64, NodeId>,
    pub(crate) underlay_mtus: OrdSet<(u32, NodeId)>,
    pub(crate) network_names: OrdMap<String, NetworkId>,
    pub(crate) vnis: OrdMap<u32, NetworkId>,
    /// First address of every subnet; they never overlap.
    pub(crate) subnets: OrdMap<IpAddr, (IpNet, NetworkId)>,
    network_endpoints: OrdSet<(NetworkId, EndpointId)>,
    node_endpoints: OrdSet<(NodeId, EndpointId)>,
    /// How many endpoints a node has on a network; never 0.
    network_nodes: OrdMap<(NetworkId, NodeId), u32>,
    node_networks: OrdSet<(NodeId, NetworkId)>,
    /// Names on a network in lower case, since DNS does not tell cases apart (RFC 4343).
    pub(crate) endpoint_names: OrdMap<(NetworkId, String), EndpointId>,
    pub(crate) addresses: OrdMap<(NetworkId, IpAddr), EndpointId>,
}

const fn first<K: Kind>() -> Id<K> {
    Id::from_bytes([0; 16])
}
const fn last<K: Kind>() -> Id<K> {
    Id::from_bytes([0xff; 16])
}

/// The addresses of an endpoint that has been validated.
fn addresses(endpoint: &v1::Endpoint) -> impl Iterator<Item = IpAddr> {
    [&endpoint.ipv4, &endpoint.ipv6].into_iter().filter_map(|bytes| convert::ip("address", bytes).ok().flatten())
}

/// The prefixes of a network that has been validated.
pub(crate) fn prefixes(network: &v1::Network) -> impl Iterator<Item = IpNet> + '_ {
    network.subnets.iter().filter_map(|subnet| convert::prefix("prefix", subnet.prefix.as_ref()?).ok())
}

impl Index {
    pub(crate) fn insert_node(&mut self, id: NodeId, node: &v1::Node) {
        if let Some(description) = &node.description {
            self.hostnames.insert((description.hostname.clone(), id));
            if description.underlay_mtu > 0 {
                self.underlay_mtus.insert((description.underlay_mtu, id));
            }
        }
        self.public_keys.insert(node.public_key_digest.to_vec(), id);
        if let Ok(Some(vtep)) = convert::ipv4("vtep_address", &node.vtep_address) {
            self.vteps.insert(vtep, id);
        }
        if let Some(manager) = &node.manager {
            self.raft_ids.insert(manager.raft_id, id);
        }
    }

    pub(crate) fn remove_node(&mut self, id: NodeId, node: &v1::Node) {
        if let Some(description) = &node.description {
            self.hostnames.remove(&(description.hostname.clone(), id));
            self.underlay_mtus.remove(&(description.underlay_mtu, id));
        }
        self.public_keys.remove(node.public_key_digest.as_ref());
        if let Ok(Some(vtep)) = convert::ipv4("vtep_address", &node.vtep_address) {
            self.vteps.remove(&vtep);
        }
        if let Some(manager) = &node.manager {
            self.raft_ids.remove(&manager.raft_id);
        }
    }

    pub(crate) fn insert_network(&mut self, id: NetworkId, network: &v1::Network) {
        self.network_names.insert(network.spec.as_ref().map_or_else(String::new, |s| s.name.clone()), id);
        self.vnis.insert(network.vni, id);
        for prefix in prefixes(network) {
            self.subnets.insert(prefix.network(), (prefix, id));
        }
    }

    pub(crate) fn remove_network(&mut self, network: &v1::Network) {
        self.network_names.remove(network.spec.as_ref().map_or("", |s| s.name.as_str()));
        self.vnis.remove(&network.vni);
        for prefix in prefixes(network) {
            self.subnets.remove(&prefix.network());
        }
    }

    pub(crate) fn insert_endpoint(&mut self, ids: EndpointIds, endpoint: &v1::Endpoint) {
        let EndpointIds { endpoint: id, network, node } = ids;
        self.network_endpoints.insert((network, id));
        self.node_endpoints.insert((node, id));
        *self.network_nodes.entry((network, node)).or_insert(0) += 1;
        self.node_networks.insert((node, network));
        self.endpoint_names.insert((network, endpoint.name.to_ascii_lowercase()), id);
        for address in addresses(endpoint) {
            self.addresses.insert((network, address), id);
        }
    }

    pub(crate) fn remove_endpoint(&mut self, ids: EndpointIds, endpoint: &v1::Endpoint) {
        let EndpointIds { endpoint: id, network, node } = ids;
        self.network_endpoints.remove(&(network, id));
        self.node_endpoints.remove(&(node, id));
        match self.network_nodes.get_mut(&(network, node)) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                self.network_nodes.remove(&(network, node));
                self.node_networks.remove(&(node, network));
            }
        }
        self.endpoint_names.remove(&(network, endpoint.name.to_ascii_lowercase()));
        for address in addresses(endpoint) {
            self.addresses.remove(&(network, address));
        }
    }

    pub(crate) fn of_network(&self, network: NetworkId) -> impl Iterator<Item = EndpointId> + '_ {
        self.network_endpoints.range((network, first())..=(network, last())).map(|(_, id)| *id)
    }

    pub(crate) fn of_node(&self, node: NodeId) -> impl Iterator<Item = EndpointId> + '_ {
        self.node_endpoints.range((node, first())..=(node, last())).map(|(_, id)| *id)
    }

    pub(crate) fn nodes_of_network(&self, network: NetworkId) -> impl Iterator<Item = NodeId> + '_ {
        self.network_nodes.range((network, first())..=(network, last())).map(|((_, node), _)| *node)
    }

    pub(crate) fn networks_of_node(&self, node: NodeId) -> impl Iterator<Item = NetworkId> + '_ {
        self.node_networks.range((node, first())..=(node, last())).map(|(_, network)| *network)
    }

    /// The subnet in use that overlaps with `prefix`, if any.
    pub(crate) fn overlapping(&self, prefix: IpNet) -> Option<(IpNet, NetworkId)> {
        // They do not overlap among themselves, so only the last one that starts at or before the end of `prefix` can.
        let (_, (other, network)) = self.subnets.get_prev(&prefix.broadcast())?;
        (other.contains(&prefix.network()) || prefix.contains(&other.network())).then_some((*other, *network))
    }
}

/// The parsed ids of an endpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EndpointIds {
    pub(crate) endpoint: EndpointId,
    pub(crate) network: NetworkId,
    pub(crate) node: NodeId,
}

impl EndpointIds {
    pub(crate) fn of(endpoint: &v1::Endpoint) -> Result<Self, convert::Malformed> {
        Ok(Self {
            endpoint: convert::id("endpoint.id", &endpoint.id)?,
            network: convert::id("endpoint.network_id", &endpoint.network_id)?,
            node: convert::id("endpoint.node_id", &endpoint.node_id)?,
        })
    }
}
