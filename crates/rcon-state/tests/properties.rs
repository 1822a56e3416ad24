//! Random histories of transactions, and what must hold of every state that they lead to.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use bytes::Bytes;
use ipnet::IpNet;
use proptest::prelude::*;
use rcon_proto::{Message, convert, v1};
use rcon_state::{ObjectKey, State};
use rcon_types::{EndpointId, NetworkId, NodeId};
use sha2::{Digest, Sha256};

const CLUSTER: [u8; 16] = [7; 16];
/// Small enough that everything is exhausted and collides: 4 subnets of 5 hosts, 13 VTEPs.
const POOL: &str = "10.0.0.0/27";
const SUBNET_LENGTH: u32 = 29;
const VTEPS: &str = "100.96.0.0/28";

fn prefix(text: &str) -> Option<v1::Prefix> {
    Some(convert::prefix_to_wire(text.parse().unwrap()))
}

fn id(n: u8) -> Bytes {
    Bytes::copy_from_slice(&[n; 16])
}

fn cluster() -> v1::Cluster {
    v1::Cluster {
        id: Bytes::copy_from_slice(&CLUSTER),
        epoch: 1,
        feature_level: 1,
        default_address_pools: prefix(POOL).into_iter().collect(),
        subnet_length: SUBNET_LENGTH,
        ipv6_pool: prefix("fd00:1:2::/48"),
        vtep_pool: prefix(VTEPS),
        data_path_port: 4789,
        encrypted_port: 51820,
        certificate_life_s: 60,
        ..v1::Cluster::default()
    }
}

fn node(n: u8) -> v1::Node {
    let description = v1::NodeDescription {
        hostname: format!("h{}", n % 3),
        feature_level: 1,
        underlay_mtu: 1_400 + u32::from(n),
        ..v1::NodeDescription::default()
    };
    v1::Node {
        id: id(n),
        role: if n.is_multiple_of(2) { v1::Role::Manager } else { v1::Role::Worker }.into(),
        description: Some(description),
        public_key_digest: Bytes::copy_from_slice(&[n; 32]),
        ..v1::Node::default()
    }
}

fn network(n: u8, name: u8, ipv6: bool, subnet: Option<&str>) -> v1::Network {
    let subnets = subnet.map(|text| v1::Subnet { prefix: prefix(text), ..v1::Subnet::default() }).into_iter().collect();
    let spec = v1::NetworkSpec { name: format!("net{name}"), driver: "overlay".to_owned(), ipv6, subnets, ..v1::NetworkSpec::default() };
    v1::Network { id: id(n), spec: Some(spec), ..v1::Network::default() }
}

fn endpoint(n: u8, network: u8, node: u8, name: u8, ipv4: Option<u8>) -> v1::Endpoint {
    v1::Endpoint {
        id: id(n),
        network_id: id(network),
        node_id: id(node),
        container_id: "ab".repeat(32),
        name: format!("c{name}"),
        aliases: vec!["web".to_owned()],
        ipv4: ipv4.map_or_else(Bytes::new, |last| Bytes::copy_from_slice(&[10, 0, 0, last])),
        ..v1::Endpoint::default()
    }
}

fn token(secret: u8, standing: bool, uses_left: u32) -> v1::JoinToken {
    let hash = Sha256::digest([secret]);
    v1::JoinToken {
        id: Bytes::copy_from_slice(&hash[..16]),
        role: v1::Role::Worker.into(),
        secret_sha256: Bytes::copy_from_slice(&hash),
        uses_left: if standing { 0 } else { uses_left },
        standing,
        secret: if standing { Bytes::copy_from_slice(&[secret]) } else { Bytes::new() },
        ..v1::JoinToken::default()
    }
}

fn token_id(secret: u8) -> Bytes {
    Bytes::copy_from_slice(&Sha256::digest([secret])[..16])
}

fn operation() -> impl Strategy<Value = v1::op::Op> {
    use v1::op::Op;
    let small = 0..6_u8;
    let subnet = prop_oneof![
        4 => Just(None),
        1 => Just(Some("10.0.0.8/29")),
        1 => Just(Some("10.0.0.0/28")),
        1 => Just(Some("192.168.0.0/30")),
        1 => Just(Some("100.96.0.0/29")),
    ];
    prop_oneof![
        4 => small.clone().prop_map(|n| Op::CreateNode(node(n))),
        1 => small.clone().prop_map(|n| Op::RemoveNode(id(n))),
        1 => small.clone().prop_map(|n| Op::ClearManager(id(n))),
        1 => small.clone().prop_map(|n| Op::ReserveRaftId(v1::ReserveRaftId { node_id: id(n), address: "10.1.1.1:2377".to_owned() })),
        1 => small.clone().prop_map(|n| Op::SetNodeState(v1::SetNodeState { node_id: id(n), state: v1::NodeState::Ready.into(), message: String::new() })),
        1 => small.clone().prop_map(|n| Op::UpdateNodeSpec(v1::Node { role: v1::Role::Worker.into(), ..node(n) })),
        1 => (small.clone(), 1_300..1_500_u32).prop_map(|(n, mtu)| {
            let description = v1::NodeDescription { underlay_mtu: mtu, ..node(n).description.unwrap() };
            Op::DescribeNode(v1::DescribeNode { node_id: id(n), description: Some(description) })
        }),
        4 => (small.clone(), small.clone(), any::<bool>(), subnet).prop_map(|(n, name, ipv6, subnet)| Op::CreateNetwork(network(n, name, ipv6, subnet))),
        2 => small.clone().prop_map(|n| Op::RemoveNetwork(id(n))),
        8 => (0..40_u8, small.clone(), small.clone(), 0..30_u8, proptest::option::weighted(0.2, 0..40_u8))
            .prop_map(|(n, network, node, name, ipv4)| Op::CreateEndpoint(endpoint(n, network, node, name, ipv4))),
        4 => (0..40_u8).prop_map(|n| Op::RemoveEndpoint(id(n))),
        1 => (small.clone(), any::<bool>(), 0..3_u32).prop_map(|(n, standing, uses)| Op::PutToken(token(n, standing, uses))),
        1 => small.clone().prop_map(|n| Op::UseToken(token_id(n))),
        1 => small.prop_map(|n| Op::RemoveToken(token_id(n))),
    ]
}

fn precondition() -> impl Strategy<Value = v1::Precondition> {
    let key = prop_oneof![
        (0..6_u8).prop_map(|n| ObjectKey::Node(NodeId::from_bytes([n; 16]))),
        (0..6_u8).prop_map(|n| ObjectKey::Network(NetworkId::from_bytes([n; 16]))),
        (0..6_u8).prop_map(|n| ObjectKey::Endpoint(EndpointId::from_bytes([n; 16]))),
    ];
    (key, 0..40_u64).prop_map(|(key, version)| v1::Precondition { key: Some(key.to_wire()), version })
}

/// A transaction; ids repeat now and then.
fn transaction() -> impl Strategy<Value = v1::Txn> {
    let ops = proptest::collection::vec(operation(), 1..4);
    let preconditions = proptest::collection::vec(precondition(), 0..2);
    (0..200_u8, ops, proptest::option::weighted(0.2, preconditions), 0..200_u64).prop_map(|(n, ops, preconditions, seconds)| v1::Txn {
        id: id(n),
        time_ms: seconds * 1_000,
        preconditions: preconditions.unwrap_or_default(),
        ops: ops.into_iter().map(|op| v1::Op { op: Some(op) }).collect(),
    })
}

fn initial() -> State {
    let ops = [
        v1::op::Op::InitCluster(cluster()),
        v1::op::Op::CreateNode(node(0)),
        v1::op::Op::ReserveRaftId(v1::ReserveRaftId { node_id: id(0), address: "10.1.1.1:2377".to_owned() }),
    ];
    let ops = ops.into_iter().map(|op| v1::Op { op: Some(op) }).collect();
    let mut state = State::new();
    let init = v1::Txn { id: Bytes::copy_from_slice(&[0xff; 16]), time_ms: 1, preconditions: Vec::new(), ops };
    state.apply(2, &init).unwrap().result.unwrap();
    state
}

fn bytes_of(state: &State) -> Vec<u8> {
    state.snapshot().encode_to_vec()
}

/// The objects alone, without the memory of transactions and the index.
fn objects_of(state: &State) -> Vec<u8> {
    v1::StateSnapshot { recent: Vec::new(), last_index: 0, ..state.snapshot() }.encode_to_vec()
}

/// What must hold of every state.
fn check_invariants(state: &State) -> Result<(), TestCaseError> {
    prop_assert!(state.has_consistent_indexes());
    let vteps: Vec<&Bytes> = state.nodes().map(|(_, node)| &node.vtep_address).collect();
    prop_assert_eq!(vteps.iter().collect::<BTreeSet<_>>().len(), vteps.len(), "VTEPs are unique");
    let vtep_pool: IpNet = VTEPS.parse().unwrap();
    for vtep in vteps {
        let address = convert::ip("vtep", vtep).unwrap().unwrap();
        prop_assert!(vtep_pool.contains(&address) && address != vtep_pool.network() && address != vtep_pool.broadcast());
    }
    let raft_ids: Vec<u64> = state.managers().map(|(_, node)| node.manager.as_ref().unwrap().raft_id).collect();
    prop_assert!(raft_ids.is_sorted_by(|a, b| a < b), "Raft ids are unique");
    let mut subnets: Vec<IpNet> = Vec::new();
    let (mut vnis, mut names) = (BTreeSet::new(), BTreeSet::new());
    for (id, network) in state.networks() {
        prop_assert!(network.vni >= 4_096 && vnis.insert(network.vni), "VNIs are unique");
        let name = &network.spec.as_ref().unwrap().name;
        prop_assert!(names.insert(name.clone()), "names are unique");
        prop_assert_eq!(state.network_by_name(name), Some(id));
        for subnet in &network.subnets {
            let prefix = convert::prefix("prefix", subnet.prefix.as_ref().unwrap()).unwrap();
            prop_assert!(
                subnets.iter().all(|other| !other.contains(&prefix.network()) && !prefix.contains(&other.network())),
                "subnets are apart"
            );
            subnets.push(prefix);
        }
        check_endpoints(state, id, network)?;
    }
    let counted: usize = state.networks().map(|(id, _)| state.endpoints_of_network(id).count()).sum();
    prop_assert_eq!(counted, state.endpoints().count());
    let counted: usize = state.nodes().map(|(id, _)| state.endpoints_of_node(id).count()).sum();
    prop_assert_eq!(counted, state.endpoints().count(), "no endpoint outlives its node");
    Ok(())
}

fn check_endpoints(state: &State, id: NetworkId, network: &v1::Network) -> Result<(), TestCaseError> {
    let (mut addresses, mut names, mut nodes) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
    for (endpoint_id, endpoint) in state.endpoints_of_network(id) {
        prop_assert!(names.insert(endpoint.name.clone()), "names are unique on a network");
        nodes.insert(NodeId::from_slice(&endpoint.node_id).unwrap());
        for bytes in [&endpoint.ipv4, &endpoint.ipv6] {
            let Some(address) = convert::ip("address", bytes).unwrap() else { continue };
            prop_assert!(addresses.insert(address, endpoint_id).is_none(), "addresses are unique on a network");
            prop_assert_eq!(state.endpoint_by_address(id, address), Some(endpoint_id));
            let subnet = network
                .subnets
                .iter()
                .find(|s| convert::prefix("prefix", s.prefix.as_ref().unwrap()).is_ok_and(|prefix| prefix.contains(&address)));
            let subnet = subnet.expect("an address is in a subnet of its network");
            let prefix = convert::prefix("prefix", subnet.prefix.as_ref().unwrap()).unwrap();
            let gateway = convert::ip("gateway", &subnet.gateway).unwrap().unwrap();
            prop_assert!(address != gateway && address != prefix.network());
            prop_assert!(address.is_ipv6() || address != prefix.broadcast());
        }
        let first: IpAddr = convert::ip("ipv4", &endpoint.ipv4).unwrap().unwrap();
        prop_assert_eq!(&endpoint.mac[..], rcon_types::MacAddr::for_ip(first).0, "the MAC is that of the address");
    }
    prop_assert_eq!(state.nodes_of_network(id).collect::<BTreeSet<_>>(), nodes);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_state_keeps_its_invariants_and_every_outcome_its_promise(txns in proptest::collection::vec(transaction(), 1..120)) {
        let mut state = initial();
        let mut outcomes: BTreeMap<Bytes, Result<v1::Applied, v1::Rejected>> = BTreeMap::new();
        for (position, txn) in txns.iter().enumerate() {
            let index = 3 + position as u64;
            let before = state.clone();
            let outcome = state.apply(index, txn).unwrap();
            prop_assert_eq!(state.revision().0, index);
            if let Some(known) = outcomes.get(&txn.id) {
                prop_assert!(outcome.repeated, "a known transaction is answered, not applied");
                prop_assert_eq!(known, &outcome.result);
                prop_assert_eq!(objects_of(&before), objects_of(&state));
                continue;
            }
            let holds = txn.preconditions.iter().all(|p| before.version(ObjectKey::from_wire(p.key.as_ref()).unwrap()) == p.version);
            match &outcome.result {
                Ok(applied) => {
                    prop_assert!(holds, "preconditions are kept");
                    prop_assert_eq!((applied.index, applied.written.len()), (index, txn.ops.len()));
                    for key in &outcome.dirty.keys {
                        let version = state.version(*key);
                        prop_assert!(version == index || version == 0, "what is dirty was written now or is gone");
                    }
                }
                Err(rejected) => {
                    prop_assert_eq!(objects_of(&before), objects_of(&state), "a rejection changes nothing");
                    prop_assert!(outcome.dirty.is_empty() && !rejected.message.is_empty());
                    prop_assert_eq!(rejected.op == -1, !holds);
                }
            }
            outcomes.insert(txn.id.clone(), outcome.result);
            check_invariants(&state)?;
        }
    }

    #[test]
    fn replay_snapshot_and_original_are_the_same_state(txns in proptest::collection::vec(transaction(), 1..80), cut in 0..80_usize) {
        let (mut one, mut two) = (initial(), initial());
        for (position, txn) in txns.iter().enumerate() {
            let index = 3 + position as u64;
            if position == cut {
                // Through a snapshot, and on from there.
                two = State::from_snapshot(v1::StateSnapshot::decode(bytes_of(&two).as_slice()).unwrap()).unwrap();
            }
            prop_assert_eq!(one.apply(index, txn).unwrap(), two.apply(index, txn).unwrap());
        }
        prop_assert_eq!(one.digest(), two.digest());
        prop_assert_eq!(bytes_of(&one), bytes_of(&two));
    }

    #[test]
    fn whoever_sees_a_change_is_told_of_it(txns in proptest::collection::vec(transaction(), 1..60)) {
        let mut state = initial();
        for (position, txn) in txns.iter().enumerate() {
            let before = state.clone();
            let outcome = state.apply(3 + position as u64, txn).unwrap();
            for (id, _) in before.nodes().chain(state.nodes()) {
                if view(&before, id) != view(&state, id) {
                    prop_assert!(outcome.dirty.interests(id), "node {} sees a change of {:?}", id, outcome.dirty.keys);
                }
            }
        }
    }
}

/// What a node's assignments are made of: itself, the cluster, its networks with their endpoints, its neighbours, the managers.
fn view(state: &State, node: NodeId) -> Vec<Vec<u8>> {
    let mut view: Vec<Vec<u8>> = vec![state.cluster().map_or_else(Vec::new, Message::encode_to_vec)];
    view.extend(state.managers().map(|(id, node)| [&id.to_bytes()[..], &node.manager.as_ref().unwrap().encode_to_vec()].concat()));
    view.push(state.smallest_underlay_mtu().unwrap_or(0).to_be_bytes().to_vec());
    for network in state.networks_of_node(node) {
        view.push(state.network(network).unwrap().encode_to_vec());
        view.extend(state.endpoints_of_network(network).map(|(_, endpoint)| endpoint.encode_to_vec()));
    }
    view.extend(state.neighbours(node).into_iter().filter_map(|id| state.node(id)).map(Message::encode_to_vec));
    view
}
