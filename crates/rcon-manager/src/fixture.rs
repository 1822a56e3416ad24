//! States for tests, made of real transactions.

use std::time::{Duration, SystemTime};

use rcon_identity::{NodeKey, RequestedKey};
use rcon_proto::{convert, v1};
use rcon_state::State;
use rcon_types::{EndpointId, NetworkId, NodeId, Role};

use crate::{
    initial::{Founded, Founding, initial_transaction},
    random,
    transaction::{op, transaction},
};

/// A state, and the transactions that have led to it.
pub struct Fixture {
    pub state: State,
    pub founded: Founded,
}

/// A fixed moment.
pub fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

pub fn requested_key() -> RequestedKey {
    RequestedKey::from_request(&NodeKey::generate().unwrap().certificate_request().unwrap()).unwrap()
}

/// What host `h<number>` says of itself.
pub fn description(number: u8) -> v1::NodeDescription {
    v1::NodeDescription {
        hostname: format!("h{number}"),
        feature_level: 1,
        data_address: vec![192, 168, 0, number].into(),
        underlay_mtu: 1500,
        wireguard_public_key: vec![number; 32].into(),
        control_address: format!("192.168.0.{number}:2377"),
        ..Default::default()
    }
}

impl Fixture {
    /// A cluster with its first manager, h1.
    pub fn new() -> Self {
        let founding = Founding::new(description(1), "192.168.0.1:2377".to_owned());
        let founded = initial_transaction(&founding, &requested_key(), now()).unwrap();
        let mut state = State::new();
        state.apply(1, &founded.txn).unwrap().result.unwrap();
        Self { state, founded }
    }

    /// Applies operations; a refusal fails the test.
    pub fn apply(&mut self, ops: Vec<v1::op::Op>) -> v1::Applied {
        let txn = transaction(random::id().unwrap(), now(), ops.into_iter().map(op).collect());
        self.state.apply(self.state.revision().0 + 1, &txn).unwrap().result.unwrap()
    }

    /// Host `h<number>` as a member that has beaten.
    pub fn add_node(&mut self, number: u8, role: Role) -> NodeId {
        let id = NodeId::from_bytes([number; 16]);
        self.apply(vec![v1::op::Op::CreateNode(v1::Node {
            id: convert::id_bytes(id),
            role: v1::Role::from(role).into(),
            state: v1::NodeState::Ready.into(),
            description: Some(description(number)),
            public_key_digest: vec![number; 32].into(),
            ..Default::default()
        })]);
        id
    }

    /// A manager that takes part in Raft.
    pub fn add_manager(&mut self, number: u8) -> NodeId {
        let id = self.add_node(number, Role::Manager);
        let address = format!("192.168.0.{number}:2377");
        self.apply(vec![v1::op::Op::ReserveRaftId(v1::ReserveRaftId { node_id: convert::id_bytes(id), address })]);
        id
    }

    pub fn add_network(&mut self, name: &str, encrypted: bool) -> NetworkId {
        let id: NetworkId = random::id().unwrap();
        let spec =
            v1::NetworkSpec { name: name.to_owned(), driver: "overlay".to_owned(), encrypted, attachable: true, ..Default::default() };
        self.apply(vec![v1::op::Op::CreateNetwork(v1::Network { id: convert::id_bytes(id), spec: Some(spec), ..Default::default() })]);
        id
    }

    pub fn add_endpoint(&mut self, node: NodeId, network: NetworkId, name: &str) -> EndpointId {
        let id: EndpointId = random::id().unwrap();
        self.apply(vec![v1::op::Op::CreateEndpoint(v1::Endpoint {
            id: convert::id_bytes(id),
            network_id: convert::id_bytes(network),
            node_id: convert::id_bytes(node),
            container_id: "a".repeat(64),
            name: name.to_owned(),
            ..Default::default()
        })]);
        id
    }

    pub fn set_role(&mut self, id: NodeId, role: Role) {
        let node = self.state.node(id).unwrap().clone();
        self.apply(vec![v1::op::Op::UpdateNodeSpec(v1::Node { role: v1::Role::from(role).into(), ..node })]);
    }

    pub fn set_state(&mut self, id: NodeId, state: v1::NodeState) {
        let set = v1::SetNodeState { node_id: convert::id_bytes(id), state: state.into(), message: String::new() };
        self.apply(vec![v1::op::Op::SetNodeState(set)]);
    }
}
