//! What single operations do, and the words in which they are refused.

use bytes::Bytes;
use rcon_proto::{convert, v1};
use rcon_state::{ApplyError, State, limits::FEATURE_LEVEL, rejected_failure};
use rcon_types::{FailureKind, NetworkId, NodeId};
use v1::op::Op;

/// A cluster of one manager, built up by transactions.
struct World {
    state: State,
    index: u64,
}

fn prefix(text: &str) -> Option<v1::Prefix> {
    Some(convert::prefix_to_wire(text.parse().unwrap()))
}

fn id(n: u8) -> Bytes {
    Bytes::copy_from_slice(&[n; 16])
}

fn cluster() -> v1::Cluster {
    v1::Cluster {
        id: id(7),
        epoch: 1,
        feature_level: FEATURE_LEVEL,
        default_address_pools: prefix("10.0.0.0/8").into_iter().collect(),
        subnet_length: 24,
        ipv6_pool: prefix("fd00:1:2::/48"),
        vtep_pool: prefix("100.96.0.0/12"),
        data_path_port: 4789,
        encrypted_port: 51820,
        certificate_life_s: 60,
        ..v1::Cluster::default()
    }
}

fn node(n: u8) -> v1::Node {
    let description = v1::NodeDescription { hostname: format!("h{n}"), feature_level: FEATURE_LEVEL, ..v1::NodeDescription::default() };
    v1::Node {
        id: id(n),
        role: v1::Role::Manager.into(),
        description: Some(description),
        public_key_digest: Bytes::copy_from_slice(&[n; 32]),
        ..v1::Node::default()
    }
}

fn network(n: u8, name: &str, subnets: &[&str]) -> v1::Network {
    let subnets: Vec<v1::Subnet> = subnets.iter().map(|text| v1::Subnet { prefix: prefix(text), ..v1::Subnet::default() }).collect();
    let ipv6 = subnets.iter().any(|s| s.prefix.as_ref().unwrap().address.len() == 16);
    let spec = v1::NetworkSpec { name: name.to_owned(), driver: "overlay".to_owned(), subnets, ipv6, ..v1::NetworkSpec::default() };
    v1::Network { id: id(n), spec: Some(spec), ..v1::Network::default() }
}

fn endpoint(n: u8, network: u8, node: u8, name: &str) -> v1::Endpoint {
    v1::Endpoint {
        id: id(n),
        network_id: id(network),
        node_id: id(node),
        container_id: "ab".repeat(32),
        name: name.to_owned(),
        ..v1::Endpoint::default()
    }
}

impl World {
    fn new() -> Self {
        let mut world = Self { state: State::new(), index: 1 };
        let reserve = v1::ReserveRaftId { node_id: id(1), address: "10.1.1.1:2377".to_owned() };
        world.apply([Op::InitCluster(cluster()), Op::CreateNode(node(1)), Op::ReserveRaftId(reserve)]).unwrap();
        world
    }

    fn apply(&mut self, ops: impl IntoIterator<Item = Op>) -> Result<Vec<v1::written::Object>, v1::Rejected> {
        self.index += 1;
        let mut txn_id = [0; 16];
        txn_id[..8].copy_from_slice(&self.index.to_be_bytes());
        let ops = ops.into_iter().map(|op| v1::Op { op: Some(op) }).collect();
        let txn = v1::Txn { id: Bytes::copy_from_slice(&txn_id), time_ms: 1_000, preconditions: Vec::new(), ops };
        let applied = self.state.apply(self.index, &txn).unwrap().result?;
        Ok(applied.written.into_iter().filter_map(|written| written.object).collect())
    }

    fn refuse(&mut self, op: Op) -> rcon_types::Failure {
        rejected_failure(&self.apply([op]).unwrap_err())
    }

    fn network(&self, n: u8) -> &v1::Network {
        self.state.network(NetworkId::from_bytes([n; 16])).unwrap()
    }

    fn subnets(&self, n: u8) -> Vec<String> {
        let text = |s: &v1::Subnet| convert::prefix("p", s.prefix.as_ref().unwrap()).unwrap().to_string();
        self.network(n).subnets.iter().map(text).collect()
    }

    fn ipv4(&mut self, endpoint: v1::Endpoint) -> Result<String, v1::Rejected> {
        match self.apply([Op::CreateEndpoint(endpoint)])?.as_slice() {
            [v1::written::Object::Endpoint(endpoint)] => Ok(convert::ip("ipv4", &endpoint.ipv4).unwrap().unwrap().to_string()),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_first_manager_has_raft_id_1_and_the_first_vtep() {
    let world = World::new();
    let node = world.state.node(NodeId::from_bytes([1; 16])).unwrap();
    assert_eq!((node.manager.as_ref().unwrap().raft_id, &node.vtep_address[..]), (1, &[100, 96, 0, 1][..]));
}

#[test]
fn a_later_raft_id_is_the_index_of_its_entry() {
    let mut world = World::new();
    let reserve = v1::ReserveRaftId { node_id: id(2), address: "10.1.1.2:2377".to_owned() };
    world.apply([Op::CreateNode(node(2)), Op::ReserveRaftId(reserve)]).unwrap();
    assert_eq!(world.state.node_by_raft_id(world.index), Some(NodeId::from_bytes([2; 16])));
}

#[test]
fn networks_get_one_subnet_after_the_other_and_numbers_from_4096() {
    let mut world = World::new();
    world.apply([Op::CreateNetwork(network(1, "asked", &["10.0.1.0/24"]))]).unwrap();
    world.apply([Op::CreateNetwork(network(2, "first", &[])), Op::CreateNetwork(network(3, "second", &[]))]).unwrap();
    let mut dual = network(4, "dual", &[]);
    dual.spec.as_mut().unwrap().ipv6 = true;
    world.apply([Op::CreateNetwork(dual)]).unwrap();
    assert_eq!(world.subnets(2), ["10.0.0.0/24"]);
    assert_eq!(world.subnets(3), ["10.0.2.0/24"]);
    assert_eq!(world.subnets(4), ["10.0.3.0/24", "fd00:1:2::/64"]);
    assert_eq!([1, 2, 3, 4].map(|n| world.network(n).vni), [4096, 4097, 4098, 4099]);
    assert_eq!(world.network(2).subnets[0].gateway[..], [10, 0, 0, 1]);
    world.apply([Op::RemoveNetwork(id(4)), Op::CreateNetwork(network(5, "next", &[]))]).unwrap();
    assert_eq!(world.network(5).vni, 4100, "a number is not used again at once");
}

#[test]
fn what_a_network_cannot_be_is_said() {
    let mut world = World::new();
    world.apply([Op::CreateNetwork(network(1, "backend", &["10.0.0.0/24"]))]).unwrap();
    let cases: &[(v1::Network, FailureKind, &str)] = &[
        (network(2, "backend", &[]), FailureKind::AlreadyExists, "network `backend` exists already"),
        (
            network(2, "x", &["10.0.0.128/25"]),
            FailureKind::AlreadyExists,
            "subnet 10.0.0.128/25 overlaps with 10.0.0.0/24 of network `backend`",
        ),
        (
            network(2, "x", &["10.0.0.0/16"]),
            FailureKind::AlreadyExists,
            "subnet 10.0.0.0/16 overlaps with 10.0.0.0/24 of network `backend`",
        ),
        (network(2, "x", &["100.96.1.0/24"]), FailureKind::InvalidArgument, "overlaps with the cluster's VTEP pool"),
        (network(2, "x", &["127.0.0.0/24"]), FailureKind::InvalidArgument, "cannot be an overlay's subnet"),
        (network(2, "x", &["10.1.0.0/31"]), FailureKind::InvalidArgument, "cannot be an overlay's subnet"),
        (network(2, "x", &["10.1.0.0/24", "10.2.0.0/24"]), FailureKind::InvalidArgument, "at most one IPv4 and one IPv6 subnet"),
        (network(2, "-x", &[]), FailureKind::InvalidArgument, "cannot be a network name"),
        (network(2, "host", &[]), FailureKind::AlreadyExists, "every host has"),
    ];
    for (network, kind, words) in cases {
        let failure = world.refuse(Op::CreateNetwork(network.clone()));
        assert!(failure.kind == *kind && failure.message.contains(words), "{failure:?}");
    }
}

#[test]
fn addresses_are_allocated_requested_and_never_special() {
    let mut world = World::new();
    world.apply([Op::CreateNetwork(network(1, "backend", &["10.0.0.0/29"]))]).unwrap();
    assert_eq!(world.ipv4(endpoint(1, 1, 1, "a")).unwrap(), "10.0.0.2");
    assert_eq!(world.ipv4(v1::Endpoint { ipv4: Bytes::from_static(&[10, 0, 0, 3]), ..endpoint(2, 1, 1, "b") }).unwrap(), "10.0.0.3");
    assert_eq!(world.ipv4(endpoint(3, 1, 1, "c")).unwrap(), "10.0.0.4");
    world.apply([Op::RemoveEndpoint(id(3))]).unwrap();
    assert_eq!(world.ipv4(endpoint(4, 1, 1, "d")).unwrap(), "10.0.0.5", "not the one just freed");
    assert_eq!(world.ipv4(endpoint(5, 1, 1, "e")).unwrap(), "10.0.0.6");
    assert_eq!(world.ipv4(endpoint(6, 1, 1, "f")).unwrap(), "10.0.0.4", "round to the freed one");
    let failure = world.refuse(Op::CreateEndpoint(endpoint(7, 1, 1, "g")));
    assert_eq!(failure.kind, FailureKind::ResourceExhausted, "{failure}");
    for (last, words) in [(0, "network, broadcast or gateway"), (1, "gateway"), (7, "broadcast"), (3, "is taken"), (9, "not in subnet")] {
        let asked = v1::Endpoint { ipv4: Bytes::copy_from_slice(&[10, 0, 0, last]), ..endpoint(7, 1, 1, "g") };
        let failure = world.refuse(Op::CreateEndpoint(asked));
        assert!(failure.message.contains(words), "{failure}");
    }
}

#[test]
fn a_name_is_unique_on_its_network_and_aliases_may_repeat() {
    let mut world = World::new();
    world.apply([Op::CreateNetwork(network(1, "one", &[])), Op::CreateNetwork(network(2, "two", &[]))]).unwrap();
    let aliased = |n, network, name| v1::Endpoint { aliases: vec!["db".to_owned()], ..endpoint(n, network, 1, name) };
    world.apply([Op::CreateEndpoint(aliased(1, 1, "web")), Op::CreateEndpoint(aliased(2, 1, "api"))]).unwrap();
    world.apply([Op::CreateEndpoint(aliased(3, 2, "web"))]).unwrap();
    let failure = world.refuse(Op::CreateEndpoint(endpoint(4, 1, 1, "WEB")));
    assert_eq!(failure.message, "the name `WEB` is taken on network `one` by a container on h1");
}

#[test]
fn a_network_in_use_names_who_and_where() {
    let mut world = World::new();
    world.apply([Op::CreateNetwork(network(1, "backend", &[])), Op::CreateNode(node(2))]).unwrap();
    world.apply([Op::CreateEndpoint(endpoint(1, 1, 1, "web")), Op::CreateEndpoint(endpoint(2, 1, 2, "db"))]).unwrap();
    let failure = world.refuse(Op::RemoveNetwork(id(1)));
    assert_eq!(failure.message, "network `backend` is in use by `web` on h1, `db` on h2");
    world.apply([Op::RemoveNode(id(2)), Op::RemoveEndpoint(id(1)), Op::RemoveNetwork(id(1))]).unwrap();
    assert_eq!(world.state.networks().count() + world.state.endpoints().count(), 0);
}

#[test]
fn a_removed_node_stays_removed() {
    let mut world = World::new();
    world.apply([Op::CreateNode(node(2))]).unwrap();
    let failure = world.refuse(Op::RemoveNode(id(1)));
    assert!(failure.message.contains("still takes part in Raft"), "{failure}");
    world.apply([Op::RemoveNode(id(2))]).unwrap();
    assert!(world.state.is_tombstoned(NodeId::from_bytes([2; 16])));
    assert_eq!(world.refuse(Op::CreateNode(node(2))).kind, FailureKind::AlreadyExists);
}

#[test]
fn the_last_manager_is_not_demoted() {
    let mut world = World::new();
    let demoted = v1::Node { role: v1::Role::Worker.into(), ..node(1) };
    assert_eq!(world.refuse(Op::UpdateNodeSpec(demoted.clone())).kind, FailureKind::FailedPrecondition);
    world.apply([Op::CreateNode(node(2)), Op::UpdateNodeSpec(demoted)]).unwrap();
}

#[test]
fn an_operation_that_is_not_known_stops_the_node_and_changes_nothing() {
    let mut world = World::new();
    let before = world.state.digest();
    let txn = v1::Txn { id: id(9), ops: vec![v1::Op { op: None }], ..v1::Txn::default() };
    assert_eq!(world.state.apply(99, &txn), Err(ApplyError::UnknownOperation { index: 99, op: 0 }));
    assert_eq!(world.state.digest(), before);
    let raised = v1::Cluster { feature_level: FEATURE_LEVEL + 1, ..cluster() };
    let failure = world.refuse(Op::PutCluster(raised.clone()));
    assert!(failure.message.contains("manager `h1` does not support"), "{failure}");
    // The managers claim to support it, but this binary does not.
    let description = v1::NodeDescription { feature_level: FEATURE_LEVEL + 1, ..node(1).description.unwrap() };
    world.apply([Op::DescribeNode(v1::DescribeNode { node_id: id(1), description: Some(description) })]).unwrap();
    let txn = v1::Txn { id: id(9), ops: vec![v1::Op { op: Some(Op::PutCluster(raised)) }], ..v1::Txn::default() };
    assert!(matches!(world.state.apply(99, &txn), Err(ApplyError::FeatureLevel { .. })));
}

#[test]
fn things_are_found_by_id_name_and_start_of_an_id() {
    let mut world = World::new();
    world.apply([Op::CreateNode(node(2)), Op::CreateNetwork(network(9, "backend", &[]))]).unwrap();
    let (one, two) = (NodeId::from_bytes([1; 16]), NodeId::from_bytes([2; 16]));
    let find = |text: &str| world.state.node_by_reference(text).map(|(id, _)| id);
    assert_eq!((find(&one.to_string()), find("h2"), find(&two.to_string()[..8])), (Ok(one), Ok(two), Ok(two)));
    assert_eq!(find("0").unwrap_err().kind, FailureKind::InvalidArgument, "both start so");
    assert_eq!(find("h3").unwrap_err().kind, FailureKind::NotFound);
    assert_eq!(world.state.network_by_reference("backend").unwrap().0, NetworkId::from_bytes([9; 16]));
}

#[test]
fn malformed_fields_are_rejected_at_entry() {
    let mut world = World::new();
    world.apply([Op::CreateNetwork(network(1, "backend", &[]))]).unwrap();
    let short = Bytes::from_static(&[1, 2, 3]);
    let cases = [
        Op::RemoveNode(short.clone()),
        Op::CreateNode(v1::Node { public_key_digest: short.clone(), ..node(2) }),
        Op::CreateNode(v1::Node { vtep_address: short.clone(), ..node(2) }),
        Op::CreateNode(v1::Node { role: 99, ..node(2) }),
        Op::CreateEndpoint(v1::Endpoint { node_id: short.clone(), ..endpoint(1, 1, 1, "a") }),
        Op::CreateEndpoint(v1::Endpoint { ipv6: short.clone(), ..endpoint(1, 1, 1, "a") }),
        Op::CreateEndpoint(v1::Endpoint { container_id: "xyz".to_owned(), ..endpoint(1, 1, 1, "a") }),
        Op::PutToken(v1::JoinToken { id: id(1), secret_sha256: short, ..v1::JoinToken::default() }),
        Op::CreateNetwork(v1::Network { spec: None, ..network(2, "x", &[]) }),
    ];
    for op in cases {
        let failure = world.refuse(op.clone());
        assert_eq!(failure.kind, FailureKind::InvalidArgument, "{op:?}: {failure}");
    }
}
