//! What a node must know, as a pure function of the replicated state and the node's id.
//!
//! State in, a set in canonical order out (`rcon_proto::assignments` has what changed between two sets). Of the cluster's secrets none
//! is ever in it: no CA key, no token.

use std::collections::BTreeSet;

use rcon_proto::{assignments::sort, convert, v1};
use rcon_state::State;
use rcon_types::{Mtu, NodeId};

use crate::limits::UNDERLAY_MTU_DEFAULT;

/// What the hosts' own networks allow the overlays; the same for every network and node, so it is computed once a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Underlay {
    /// The smallest MTU of any node's underlay.
    pub smallest_mtu: Mtu,
    /// Whether any node sends its overlay packets over IPv6, whose header is longer.
    pub any_ipv6: bool,
}

impl Underlay {
    /// The underlay of all nodes of the state.
    #[must_use]
    pub fn of(state: &State) -> Self {
        Self {
            smallest_mtu: Mtu(state.smallest_underlay_mtu().unwrap_or(UNDERLAY_MTU_DEFAULT)),
            any_ipv6: state.nodes().any(|(_, node)| node.description.as_ref().is_some_and(|d| d.data_address.len() == 16)),
        }
    }

    /// The MTU of a network's containers, bridges and tunnel ports: what people asked for, or what the underlay leaves.
    #[must_use]
    pub fn mtu_of(self, spec: &v1::NetworkSpec) -> Mtu {
        if spec.mtu > 0 { Mtu(spec.mtu) } else { self.smallest_mtu.inside_overlay(spec.encrypted, self.any_ipv6) }
    }
}

/// The set of a node, or `None` where the state has no such node.
#[must_use]
pub fn assignments(state: &State, id: NodeId, underlay: Underlay) -> Option<v1::Assignments> {
    let node = state.node(id)?;
    let mut set = v1::Assignments {
        epoch: state.epoch(),
        revision: state.revision().0,
        node: Some(node.clone()),
        cluster: state.cluster().map(cluster_view),
        networks: networks(state, id, underlay),
        peers: peers(state, state.neighbours(id)),
        managers: managers(state),
    };
    sort(&mut set);
    Some(set)
}

/// The managers with the addresses at which they are reached.
#[must_use]
pub fn managers(state: &State) -> Vec<v1::ManagerAddress> {
    state
        .managers()
        .map(|(id, node)| v1::ManagerAddress { node_id: convert::id_bytes(id), address: control_address(node).to_owned() })
        .filter(|manager| !manager.address.is_empty())
        .collect()
}

/// HOST:PORT of a node's 2377/tcp: what an operator set, else what it joined Raft with, else what it says of itself.
#[must_use]
pub fn control_address(node: &v1::Node) -> &str {
    let joined = node.manager.as_ref().map_or("", |m| m.address.as_str());
    let described = node.description.as_ref().map_or("", |d| d.control_address.as_str());
    [node.control_address_override.as_str(), joined, described].into_iter().find(|a| !a.is_empty()).unwrap_or("")
}

fn cluster_view(cluster: &v1::Cluster) -> v1::ClusterView {
    v1::ClusterView {
        id: cluster.id.clone(),
        data_path_port: cluster.data_path_port,
        encrypted_port: cluster.encrypted_port,
        vtep_pool: cluster.vtep_pool.clone(),
        root_certificates_pem: cluster.root_certificates_pem.clone(),
        certificate_life_s: cluster.certificate_life_s,
    }
}

fn networks(state: &State, node: NodeId, underlay: Underlay) -> Vec<v1::NetworkAssignment> {
    state
        .networks_of_node(node)
        .filter_map(|id| state.network(id).map(|network| (id, network)))
        .map(|(id, network)| v1::NetworkAssignment {
            mtu: network.spec.as_ref().map_or(0, |spec| underlay.mtu_of(spec).0),
            network: Some(network.clone()),
            endpoints: state.endpoints_of_network(id).map(|(_, endpoint)| endpoint.clone()).collect(),
        })
        .collect()
}

fn peers(state: &State, ids: BTreeSet<NodeId>) -> Vec<v1::Peer> {
    ids.into_iter().filter_map(|id| state.node(id)).map(peer).collect()
}

fn peer(node: &v1::Node) -> v1::Peer {
    let description = node.description.clone().unwrap_or_default();
    v1::Peer {
        node_id: node.id.clone(),
        control_address: control_address(node).to_owned(),
        hostname: description.hostname,
        data_address: description.data_address,
        wireguard_public_key: description.wireguard_public_key,
        vtep_address: node.vtep_address.clone(),
        state: node.state,
    }
}
