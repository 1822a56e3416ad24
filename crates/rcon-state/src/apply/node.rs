//! Operations on nodes and their part in Raft.

use std::sync::Arc;

use rcon_proto::{convert, v1};
use rcon_types::NodeId;

use super::{Done, Transition, removed};
use crate::{ObjectKey, allocate::AddressSpace, error::Refusal, index::EndpointIds, limits::FIRST_RAFT_ID, validate};

impl Transition {
    pub(super) fn create_node(&mut self, node: &v1::Node) -> Done {
        let cluster = self.cluster()?;
        let id: NodeId = convert::id("node.id", &node.id)?;
        check_new(node)?;
        if self.state.nodes.contains_key(&id) {
            return Err(Refusal::already_exists(format!("node {id} exists already")).into());
        }
        if self.state.tombstones.contains_key(&id) {
            return Err(Refusal::already_exists(format!("node {id} was removed from the cluster"))
                .hint("join again, which gives a new id")
                .into());
        }
        if let Some(other) = self.state.node_by_public_key(&node.public_key_digest) {
            return Err(Refusal::already_exists(format!("node {other} has this TLS key already"))
                .hint("each node makes its own key")
                .into());
        }
        let pool = validate::prefix("vtep_pool", cluster.vtep_pool.as_ref())?;
        let space = AddressSpace { prefix: pool, range: pool, gateway: None };
        let vtep = match convert::ipv4("node.vtep_address", &node.vtep_address)? {
            Some(asked) if !space.is_usable(asked.into()) => {
                return Err(Refusal::invalid(format!("{asked} is not in the VTEP pool {pool}")).into());
            }
            Some(asked) if self.state.index.vteps.contains_key(&asked) => {
                return Err(Refusal::already_exists(format!("VTEP address {asked} is taken")).into());
            }
            Some(asked) => asked.into(),
            None => {
                let in_use = |address| matches!(address, std::net::IpAddr::V4(a) if self.state.index.vteps.contains_key(&a));
                let allocated = space.allocate(self.state.last_vtep.map(Into::into), in_use);
                allocated.ok_or_else(|| Refusal::exhausted(format!("all VTEP addresses of {pool} are taken")).hint("extend the pool"))?
            }
        };
        if let (std::net::IpAddr::V4(address), true) = (vtep, node.vtep_address.is_empty()) {
            self.state.last_vtep = Some(address);
        }
        Ok(self.write_node(id, v1::Node { vtep_address: convert::ip_bytes(vtep), ..node.clone() }))
    }

    pub(super) fn update_node_spec(&mut self, spec: &v1::Node) -> Done {
        let (id, node) = self.find_node(&spec.id)?;
        validate::role("role", spec.role)?;
        validate::availability(spec.availability)?;
        validate::labels("labels", &spec.labels)?;
        if !spec.control_address_override.is_empty() {
            validate::address("control_address_override", &spec.control_address_override)?;
        }
        if node.role() == v1::Role::Manager
            && spec.role() != v1::Role::Manager
            && self.state.nodes().filter(|(_, n)| n.role() == v1::Role::Manager).count() == 1
        {
            let refusal = Refusal::in_use(format!("node `{}` is the only manager", hostname(&node)));
            return Err(refusal.hint("promote another node first").into());
        }
        let node = v1::Node {
            role: spec.role,
            availability: spec.availability,
            labels: spec.labels.clone(),
            control_address_override: spec.control_address_override.clone(),
            ..node.as_ref().clone()
        };
        Ok(self.write_node(id, node))
    }

    pub(super) fn describe_node(&mut self, describe: &v1::DescribeNode) -> Done {
        let (id, node) = self.find_node(&describe.node_id)?;
        let description = describe.description.as_ref().ok_or_else(|| Refusal::invalid("field `description` is missing"))?;
        validate::description(description)?;
        Ok(self.write_node(id, v1::Node { description: Some(description.clone()), ..node.as_ref().clone() }))
    }

    pub(super) fn set_node_state(&mut self, set: &v1::SetNodeState) -> Done {
        let (id, node) = self.find_node(&set.node_id)?;
        validate::text("message", &set.message)?;
        if !matches!(set.state(), v1::NodeState::Ready | v1::NodeState::Down) {
            return Err(Refusal::invalid("a node's state is set to ready or down").into());
        }
        Ok(self.write_node(id, v1::Node { state: set.state, state_message: set.message.clone(), ..node.as_ref().clone() }))
    }

    pub(super) fn reserve_raft_id(&mut self, reserve: &v1::ReserveRaftId) -> Done {
        let (id, node) = self.find_node(&reserve.node_id)?;
        validate::address("address", &reserve.address)?;
        if node.role() != v1::Role::Manager {
            return Err(Refusal::invalid(format!("node `{}` is a worker", hostname(&node))).hint("promote it first").into());
        }
        let raft_id = if self.initialised { FIRST_RAFT_ID } else { self.index };
        if self.state.node_by_raft_id(raft_id).is_some_and(|other| other != id) {
            return Err(Refusal::conflict("one Raft id can be reserved in a transaction").into());
        }
        let manager = Some(v1::ManagerStatus { raft_id, address: reserve.address.clone() });
        Ok(self.write_node(id, v1::Node { manager, ..node.as_ref().clone() }))
    }

    pub(super) fn clear_manager(&mut self, id: &[u8]) -> Done {
        let (id, node) = self.find_node(id)?;
        Ok(self.write_node(id, v1::Node { manager: None, ..node.as_ref().clone() }))
    }

    pub(super) fn remove_node(&mut self, id: &[u8]) -> Done {
        let cluster = self.cluster()?;
        let (id, node) = self.find_node(id)?;
        if node.manager.is_some() {
            let refusal = Refusal::in_use(format!("node `{}` still takes part in Raft", hostname(&node)));
            return Err(refusal.hint("demote it first").into());
        }
        self.interest_neighbours(id);
        let endpoints: Vec<EndpointIds> = self.state.endpoints_of_node(id).filter_map(|(_, e)| EndpointIds::of(e).ok()).collect();
        for ids in endpoints {
            self.drop_endpoint(ids);
        }
        let mtu = self.state.smallest_underlay_mtu();
        self.state.nodes.remove(&id);
        self.state.index.remove_node(id, &node);
        self.dirty.everyone |= self.state.smallest_underlay_mtu() != mtu;
        self.dirty.keys.insert(ObjectKey::Node(id));
        let now = self.time_ms;
        let expired: Vec<NodeId> = self.state.tombstones.iter().filter(|(_, until)| **until < now).map(|(id, _)| *id).collect();
        for id in expired {
            self.state.tombstones.remove(&id);
        }
        self.state.tombstones.insert(id, now.saturating_add(cluster.certificate_life_s.saturating_mul(1_000)));
        Ok(removed(ObjectKey::Node(id)))
    }

    fn find_node(&self, id: &[u8]) -> Result<(NodeId, Arc<v1::Node>), Refusal> {
        let id: NodeId = convert::id("node_id", id)?;
        let node = self.state.nodes.get(&id).ok_or_else(|| Refusal::not_found(format!("there is no node {id}")))?;
        Ok((id, Arc::clone(node)))
    }

    /// The only way in which a node is written.
    fn write_node(&mut self, id: NodeId, node: v1::Node) -> v1::written::Object {
        let node = v1::Node { version: self.index, ..node };
        let mtu = self.state.smallest_underlay_mtu();
        let old = self.state.nodes.insert(id, Arc::new(node.clone()));
        if let Some(old) = &old {
            self.state.index.remove_node(id, old);
        }
        self.state.index.insert_node(id, &node);
        self.dirty.everyone |= self.state.smallest_underlay_mtu() != mtu || as_manager(old.as_deref()) != as_manager(Some(&node));
        self.dirty.keys.insert(ObjectKey::Node(id));
        self.interest_neighbours(id);
        v1::written::Object::Node(node)
    }
}

/// What every node has to know of a manager.
fn as_manager(node: Option<&v1::Node>) -> Option<(&v1::ManagerStatus, &str, &str)> {
    let node = node?;
    let address = node.description.as_ref().map_or("", |d| d.control_address.as_str());
    node.manager.as_ref().map(|manager| (manager, address, node.control_address_override.as_str()))
}

fn hostname(node: &v1::Node) -> &str {
    node.description.as_ref().map_or("", |d| d.hostname.as_str())
}

fn check_new(node: &v1::Node) -> Result<(), Refusal> {
    validate::role("role", node.role)?;
    validate::availability(node.availability)?;
    validate::labels("labels", &node.labels)?;
    validate::text("state_message", &node.state_message)?;
    validate::bytes("public_key_digest", &node.public_key_digest, 32)?;
    validate::description(node.description.as_ref().ok_or_else(|| Refusal::invalid("field `description` is missing"))?)?;
    if !node.control_address_override.is_empty() {
        validate::address("control_address_override", &node.control_address_override)?;
    }
    if node.manager.is_some() {
        return Err(Refusal::invalid("a node takes part in Raft by reserving a Raft id, not by being created"));
    }
    v1::NodeState::try_from(node.state).map(|_| ()).map_err(|_| Refusal::invalid("field `state` has no known value"))
}
