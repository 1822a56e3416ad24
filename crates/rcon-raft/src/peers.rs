//! The other managers: where they are, the connections to them, and when they were last heard.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rcon_identity::Identity;
use rcon_rpc::{Address, Channel, tonic::Status, v1::raft_client::RaftClient};
use rcon_state::State;
use rcon_types::{Failure, FailureKind, NodeId};

use crate::{applied::Applied, types::ManagerNode};

/// Connections to the other managers, kept for as long as the process lives.
pub(crate) struct Peers {
    identity: Arc<Identity>,
    applied: Arc<Applied>,
    peers: Mutex<BTreeMap<u64, Arc<Peer>>>,
    /// When each manager last answered or called.
    heard: Mutex<BTreeMap<u64, Instant>>,
}

/// One other manager.
pub(crate) struct Peer {
    pub(crate) raft_id: u64,
    node: ManagerNode,
    lines: Mutex<Option<Lines>>,
}

/// Two connections, so that a bulk of entries or a snapshot never delays a heartbeat.
#[derive(Clone)]
struct Lines {
    address: String,
    prompt: Channel,
    bulk: Channel,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a node's 2377/tcp is: what people set, what the node says, where it was when it became a manager.
pub(crate) fn address_of(state: &State, node: &ManagerNode) -> String {
    let known = state.node(node.node_id);
    let described = known.and_then(|n| n.description.as_ref()).map_or("", |d| d.control_address.as_str());
    let set = known.map_or("", |n| n.control_address_override.as_str());
    let joined = known.and_then(|n| n.manager.as_ref()).map_or("", |m| m.address.as_str());
    [set, described, joined, node.address.as_str()].into_iter().find(|address| !address.is_empty()).unwrap_or_default().to_owned()
}

/// The host name of a manager, or its address where it has none yet.
pub(crate) fn name_of(state: &State, node: &ManagerNode) -> String {
    let hostname = state.node(node.node_id).and_then(|n| n.description.as_ref()).map(|d| d.hostname.clone());
    hostname.filter(|name| !name.is_empty()).unwrap_or_else(|| address_of(state, node))
}

impl Peers {
    pub(crate) fn new(identity: Arc<Identity>, applied: Arc<Applied>) -> Arc<Self> {
        Arc::new(Self { identity, applied, peers: Mutex::default(), heard: Mutex::default() })
    }

    /// The manager of a Raft id.
    pub(crate) fn peer(&self, raft_id: u64, node: &ManagerNode) -> Arc<Peer> {
        let mut peers = lock(&self.peers);
        let fresh = || Arc::new(Peer { raft_id, node: node.clone(), lines: Mutex::new(None) });
        let peer = peers.entry(raft_id).or_insert_with(fresh);
        if peer.node != *node {
            *peer = fresh();
        }
        Arc::clone(peer)
    }

    /// For votes, heartbeats, proposals: what must not wait behind entries.
    pub(crate) fn prompt(&self, peer: &Peer) -> Result<RaftClient<Channel>, Failure> {
        self.lines(peer).map(|lines| RaftClient::new(lines.prompt))
    }

    /// For entries and snapshots.
    pub(crate) fn bulk(&self, peer: &Peer) -> Result<RaftClient<Channel>, Failure> {
        self.lines(peer).map(|lines| RaftClient::new(lines.bulk))
    }

    /// A connection of its own to a node that is no participant yet.
    pub(crate) fn dial(&self, address: &str, expected: Option<NodeId>) -> Result<RaftClient<Channel>, Failure> {
        Ok(RaftClient::new(connect(&self.identity, address, expected)?))
    }

    fn lines(&self, peer: &Peer) -> Result<Lines, Failure> {
        let address = self.applied.with(|state| address_of(state, &peer.node));
        let mut lines = lock(&peer.lines);
        if let Some(lines) = lines.as_ref().filter(|lines| lines.address == address) {
            return Ok(lines.clone());
        }
        let expected = Some(peer.node.node_id);
        let prompt = connect(&self.identity, &address, expected)?;
        let bulk = connect(&self.identity, &address, expected)?;
        Ok(lines.insert(Lines { address, prompt, bulk }).clone())
    }

    /// Notes that a manager lives.
    pub(crate) fn hear(&self, raft_id: u64) {
        lock(&self.heard).insert(raft_id, Instant::now());
    }

    /// Whether a manager was heard within this time.
    pub(crate) fn heard_within(&self, raft_id: u64, time: Duration) -> bool {
        lock(&self.heard).get(&raft_id).is_some_and(|heard| heard.elapsed() <= time)
    }

    /// Forgets the managers that do not take part any more.
    pub(crate) fn keep(&self, takes_part: impl Fn(u64) -> bool) {
        lock(&self.peers).retain(|raft_id, _| takes_part(*raft_id));
        lock(&self.heard).retain(|raft_id, _| takes_part(*raft_id));
    }
}

fn connect(identity: &Arc<Identity>, address: &str, expected: Option<NodeId>) -> Result<Channel, Failure> {
    let parsed: Address = address.parse().map_err(|e| Failure::from_error(FailureKind::InvalidArgument, &e))?;
    rcon_rpc::connect(&parsed, identity, expected).map_err(Failure::from)
}

/// What a status means.
pub(crate) fn failure(status: Status) -> Failure {
    rcon_rpc::status_to_failure(status)
}
