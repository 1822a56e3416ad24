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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Fixture;
    use proptest::{collection, prelude::*};
    use rcon_proto::{
        Message,
        assignments::{apply_delta, delta},
    };
    use rcon_types::Role;

    fn of(fixture: &Fixture, node: NodeId) -> v1::Assignments {
        assignments(&fixture.state, node, Underlay::of(&fixture.state)).unwrap()
    }

    #[test]
    fn a_node_knows_its_networks_with_all_their_endpoints_and_nodes_and_no_others() {
        let mut fixture = Fixture::new();
        let [two, three, four] = [2, 3, 4].map(|n| fixture.add_node(n, Role::Worker));
        let (backend, other) = (fixture.add_network("backend", true), fixture.add_network("other", false));
        fixture.add_endpoint(two, backend, "web");
        fixture.add_endpoint(three, backend, "db");
        fixture.add_endpoint(four, other, "lonely");

        let set = of(&fixture, two);
        let names: Vec<&str> = set.networks.iter().flat_map(|n| &n.endpoints).map(|e| e.name.as_str()).collect();
        assert_eq!((set.networks.len(), names.len()), (1, 2), "{names:?}");
        assert_eq!(set.networks[0].mtu, 1370);
        let peers: Vec<&str> = set.peers.iter().map(|p| p.hostname.as_str()).collect();
        assert_eq!(peers, ["h2", "h3"]);
        assert_eq!(set.peers[0].wireguard_public_key.len(), 32);
        assert!(!set.peers[0].vtep_address.is_empty());
        assert_eq!(set.managers.len(), 1);

        let alone = of(&fixture, fixture.founded.node_id);
        assert!(alone.networks.is_empty());
        assert_eq!(alone.peers.iter().map(|p| p.hostname.as_str()).collect::<Vec<_>>(), ["h1"]);
        assert!(assignments(&fixture.state, NodeId::from_bytes([77; 16]), Underlay::of(&fixture.state)).is_none());
    }

    #[test]
    fn the_smallest_underlay_decides_the_mtu_unless_people_do() {
        let mut fixture = Fixture::new();
        let plain = v1::NetworkSpec::default();
        let encrypted = v1::NetworkSpec { encrypted: true, ..plain.clone() };
        assert_eq!(Underlay::of(&fixture.state).mtu_of(&plain), Mtu(1450));
        assert_eq!(Underlay::of(&fixture.state).mtu_of(&encrypted), Mtu(1370));
        let small = v1::NodeDescription { underlay_mtu: 1400, data_address: vec![0xfd; 16].into(), ..crate::fixture::description(2) };
        let node = fixture.add_node(2, Role::Worker);
        let describe = v1::DescribeNode { node_id: convert::id_bytes(node), description: Some(small) };
        fixture.apply(vec![v1::op::Op::DescribeNode(describe)]);
        assert_eq!(Underlay::of(&fixture.state).mtu_of(&plain), Mtu(1330));
        assert_eq!(Underlay::of(&fixture.state).mtu_of(&encrypted), Mtu(1270));
        assert_eq!(Underlay::of(&fixture.state).mtu_of(&v1::NetworkSpec { mtu: 9000, ..plain }), Mtu(9000));
    }

    /// Something that happens to a cluster of five hosts and four networks.
    #[derive(Debug, Clone, Copy)]
    enum Event {
        Attach { node: u8, network: usize },
        Detach { nth: usize },
        Beat { node: u8, ready: bool },
        Shrink { node: u8, mtu: u32 },
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            3 => (2_u8..7, 0_usize..4).prop_map(|(node, network)| Event::Attach { node, network }),
            2 => (0_usize..8).prop_map(|nth| Event::Detach { nth }),
            1 => (2_u8..7, any::<bool>()).prop_map(|(node, ready)| Event::Beat { node, ready }),
            1 => (2_u8..7, 1400_u32..1500).prop_map(|(node, mtu)| Event::Shrink { node, mtu }),
        ]
    }

    fn happen(fixture: &mut Fixture, networks: &[rcon_types::NetworkId], event: Event) {
        let id = |number| NodeId::from_bytes([number; 16]);
        match event {
            Event::Attach { node, network } => {
                let name = format!("c{}", fixture.state.revision());
                fixture.add_endpoint(id(node), networks[network], &name);
            }
            Event::Detach { nth } => {
                let endpoint = fixture.state.endpoints().nth(nth).map(|(id, _)| id);
                fixture.apply(endpoint.map(|id| v1::op::Op::RemoveEndpoint(convert::id_bytes(id))).into_iter().collect());
            }
            Event::Beat { node, ready } => fixture.set_state(id(node), if ready { v1::NodeState::Ready } else { v1::NodeState::Down }),
            Event::Shrink { node, mtu } => {
                let description = v1::NodeDescription { underlay_mtu: mtu, ..crate::fixture::description(node) };
                let describe = v1::DescribeNode { node_id: convert::id_bytes(id(node)), description: Some(description) };
                fixture.apply(vec![v1::op::Op::DescribeNode(describe)]);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        #[test]
        fn whoever_applies_the_deltas_has_the_set_of_the_state(events in collection::vec(collection::vec(event(), 1..4), 1..12)) {
            let mut fixture = Fixture::new();
            let nodes: Vec<NodeId> = (2..7).map(|n| fixture.add_node(n, Role::Worker)).collect();
            let networks: Vec<_> = (0..4).map(|n| fixture.add_network(&format!("n{n}"), n % 2 == 0)).collect();
            let mut ledgers: Vec<v1::Assignments> = nodes.iter().map(|node| of(&fixture, *node)).collect();
            for flush in events {
                flush.into_iter().for_each(|event| happen(&mut fixture, &networks, event));
                for (node, ledger) in nodes.iter().zip(&mut ledgers) {
                    let set = of(&fixture, *node);
                    let change = delta(ledger, &set);
                    *ledger = apply_delta(ledger.clone(), change).unwrap();
                    prop_assert_eq!(&*ledger, &set);
                }
            }
        }
    }

    #[test]
    fn no_secret_of_the_cluster_is_in_a_set() {
        let fixture = Fixture::new();
        let bytes = of(&fixture, fixture.founded.node_id).encode_to_vec();
        let cluster = fixture.state.cluster().unwrap();
        let secrets =
            fixture.state.tokens().flat_map(|(_, t)| [t.secret.clone(), t.secret_sha256.clone()]).chain([cluster.ca_key_pkcs8.clone()]);
        for secret in secrets {
            assert!(secret.len() >= 16 && !bytes.windows(secret.len()).any(|window| window == secret));
        }
    }

    #[test]
    fn an_operators_address_wins() {
        let mut node = v1::Node { description: Some(crate::fixture::description(1)), ..Default::default() };
        assert_eq!(control_address(&node), "192.168.0.1:2377");
        node.manager = Some(v1::ManagerStatus { raft_id: 1, address: "10.0.0.1:2377".to_owned() });
        assert_eq!(control_address(&node), "10.0.0.1:2377");
        node.control_address_override = "203.0.113.1:2377".to_owned();
        assert_eq!(control_address(&node), "203.0.113.1:2377");
    }
}
