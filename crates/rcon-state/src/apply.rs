//! How a transaction becomes a new state.

mod cluster;
mod endpoint;
mod network;
mod node;
mod token;

use std::sync::Arc;

use rcon_proto::{Message, v1};
use rcon_types::{NetworkId, NodeId};

use crate::{
    ApplyError, Dirty, ObjectKey, State, TxnId,
    error::Refusal,
    index::EndpointIds,
    limits::{MAX_OPERATIONS, MAX_TXN_BYTES},
};

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What it wrote, one object an operation; or why it changed nothing.
    pub result: Result<v1::Applied, v1::Rejected>,
    /// Who is interested; empty where nothing changed.
    pub dirty: Dirty,
    /// Whether the transaction had been applied before, and this is the recorded outcome.
    pub repeated: bool,
}

/// Why a transaction does not go through.
enum Halt {
    /// The user's matter.
    Refused(Refusal),
    /// The node's.
    Stop(ApplyError),
}

impl<E: Into<Refusal>> From<E> for Halt {
    fn from(refusal: E) -> Self {
        Self::Refused(refusal.into())
    }
}

impl State {
    /// Applies the transaction of entry `index`: all of it, or nothing but the memory that it was there.
    ///
    /// # Errors
    /// When this binary cannot know what the entry does; the state is unchanged and the node has to stop.
    pub fn apply(&mut self, index: u64, txn: &v1::Txn) -> Result<Outcome, ApplyError> {
        self.check_order(index)?;
        if let Some(op) = txn.ops.iter().position(|op| op.op.is_none()) {
            return Err(ApplyError::UnknownOperation { index, op });
        }
        let Ok(id) = TxnId::from_slice(&txn.id) else {
            self.last_index = index;
            return Ok(Outcome::rejected(Refusal::invalid("a transaction's id has 16 bytes").at(-1)));
        };
        if let Some(recorded) = self.recent.get(id).map(Arc::clone) {
            self.last_index = index;
            return Ok(Outcome::recorded(&recorded));
        }
        let outcome = self.attempt(index, txn)?;
        self.last_index = index;
        let recorded = match &outcome.result {
            Ok(applied) => v1::txn_outcome::Outcome::Applied(applied.clone()),
            Err(rejected) => v1::txn_outcome::Outcome::Rejected(rejected.clone()),
        };
        self.recent.push(id, Arc::new(v1::TxnOutcome { outcome: Some(recorded) }));
        Ok(outcome)
    }

    /// Notes an entry that has no transaction (a new leader's blank one, a change of membership).
    ///
    /// # Errors
    /// When the entry is not after the last one.
    pub fn advance(&mut self, index: u64) -> Result<(), ApplyError> {
        self.check_order(index)?;
        self.last_index = index;
        Ok(())
    }

    /// What a transaction of this id came to, while it is remembered.
    #[must_use]
    pub fn recorded(&self, id: TxnId) -> Option<Arc<v1::TxnOutcome>> {
        self.recent.get(id).map(Arc::clone)
    }

    fn check_order(&self, index: u64) -> Result<(), ApplyError> {
        // Index 0 is the first of a log, and the state before it has revision 0 too.
        if index > self.last_index || (index == 0 && self.cluster.is_none()) {
            Ok(())
        } else {
            Err(ApplyError::OutOfOrder { index, last: self.last_index })
        }
    }

    fn attempt(&mut self, index: u64, txn: &v1::Txn) -> Result<Outcome, ApplyError> {
        if let Err(rejected) = check_limits(txn).map_err(|r| r.at(-1)).and_then(|()| self.check_preconditions(txn)) {
            return Ok(Outcome::rejected(rejected));
        }
        let mut transition = Transition { state: self.clone(), index, time_ms: txn.time_ms, initialised: false, dirty: Dirty::default() };
        let mut written = Vec::with_capacity(txn.ops.len());
        for (position, op) in txn.ops.iter().enumerate() {
            match transition.operation(op, position) {
                Ok(object) => written.push(v1::Written { object: Some(object) }),
                Err(Halt::Stop(error)) => return Err(error),
                Err(Halt::Refused(refusal)) => return Ok(Outcome::rejected(refusal.at(i32::try_from(position).unwrap_or(i32::MAX)))),
            }
        }
        *self = transition.state;
        Ok(Outcome { result: Ok(v1::Applied { index, written }), dirty: transition.dirty, repeated: false })
    }

    fn check_preconditions(&self, txn: &v1::Txn) -> Result<(), v1::Rejected> {
        for precondition in &txn.preconditions {
            let key = ObjectKey::from_wire(precondition.key.as_ref()).map_err(|e| Refusal::from(e).at(-1))?;
            let version = self.version(key);
            if version != precondition.version {
                let message = match (precondition.version, version) {
                    (0, _) => format!("{key} exists already"),
                    (_, 0) => format!("{key} does not exist any more"),
                    (expected, found) => format!("{key} was changed in between (version {found}, expected {expected})"),
                };
                return Err(Refusal::conflict(message).hint("read it again and retry").at(-1));
            }
        }
        Ok(())
    }
}

fn check_limits(txn: &v1::Txn) -> Result<(), Refusal> {
    if txn.ops.len() > MAX_OPERATIONS || txn.preconditions.len() > MAX_OPERATIONS {
        return Err(Refusal::invalid(format!("a transaction has at most {MAX_OPERATIONS} operations")));
    }
    if txn.encoded_len() > MAX_TXN_BYTES {
        return Err(Refusal::invalid(format!("a transaction has at most {MAX_TXN_BYTES} bytes")));
    }
    Ok(())
}

impl Outcome {
    fn rejected(rejected: v1::Rejected) -> Self {
        Self { result: Err(rejected), dirty: Dirty::default(), repeated: false }
    }

    fn recorded(outcome: &v1::TxnOutcome) -> Self {
        let result = match &outcome.outcome {
            Some(v1::txn_outcome::Outcome::Applied(applied)) => Ok(applied.clone()),
            Some(v1::txn_outcome::Outcome::Rejected(rejected)) => Err(rejected.clone()),
            None => Err(Refusal::invalid("the transaction's recorded outcome is empty").at(-1)),
        };
        Self { result, dirty: Dirty::default(), repeated: true }
    }
}

/// A state in the making; dropped when any of its operations is refused.
struct Transition {
    state: State,
    index: u64,
    time_ms: u64,
    /// Whether this transaction creates the cluster.
    initialised: bool,
    dirty: Dirty,
}

type Done = Result<v1::written::Object, Halt>;

impl Transition {
    fn operation(&mut self, op: &v1::Op, position: usize) -> Done {
        use v1::op::Op;
        match op.op.as_ref() {
            None => Err(Halt::Stop(ApplyError::UnknownOperation { index: self.index, op: position })),
            Some(Op::InitCluster(cluster)) => self.init_cluster(cluster),
            Some(Op::PutCluster(cluster)) => self.put_cluster(cluster),
            Some(Op::CreateNode(node)) => self.create_node(node),
            Some(Op::UpdateNodeSpec(node)) => self.update_node_spec(node),
            Some(Op::DescribeNode(describe)) => self.describe_node(describe),
            Some(Op::SetNodeState(set)) => self.set_node_state(set),
            Some(Op::ReserveRaftId(reserve)) => self.reserve_raft_id(reserve),
            Some(Op::ClearManager(id)) => self.clear_manager(id),
            Some(Op::RemoveNode(id)) => self.remove_node(id),
            Some(Op::CreateNetwork(network)) => self.create_network(network),
            Some(Op::RemoveNetwork(id)) => self.remove_network(id),
            Some(Op::CreateEndpoint(endpoint)) => self.create_endpoint(endpoint),
            Some(Op::RemoveEndpoint(id)) => self.remove_endpoint(id),
            Some(Op::PutToken(token)) => self.put_token(token),
            Some(Op::RemoveToken(id)) => self.remove_token(id),
            Some(Op::UseToken(id)) => self.use_token(id),
        }
    }

    /// The cluster object; most operations make no sense before it is there.
    fn cluster(&self) -> Result<Arc<v1::Cluster>, Refusal> {
        self.state.cluster.clone().ok_or_else(|| Refusal::not_found("the cluster is not initialised"))
    }

    fn interest_network(&mut self, network: NetworkId) {
        self.dirty.nodes.extend(self.state.index.nodes_of_network(network));
    }

    fn interest_neighbours(&mut self, node: NodeId) {
        self.dirty.nodes.extend(self.state.neighbours(node));
    }

    /// The only way in which an endpoint goes.
    fn drop_endpoint(&mut self, ids: EndpointIds) {
        self.interest_network(ids.network);
        if let Some(endpoint) = self.state.endpoints.remove(&ids.endpoint) {
            self.state.index.remove_endpoint(ids, &endpoint);
            self.dirty.keys.insert(ObjectKey::Endpoint(ids.endpoint));
        }
    }
}

fn removed(key: ObjectKey) -> v1::written::Object {
    v1::written::Object::Removed(key.to_wire())
}
