//! The handle by which a manager proposes, reads and watches.

use std::{collections::BTreeSet, sync::Arc};

use rcon_identity::Identity;
use rcon_proto::v1;
use rcon_state::State;
use rcon_types::{NodeId, Revision};
use tokio::sync::watch;

use crate::{Mailbox, MembershipView, ProposeError, RaftError, RaftGate, RaftOptions, mailbox::Mailboxes};

/// A manager's part in Raft. Cheap to clone; all clones are the same manager.
#[derive(Clone)]
pub struct Consensus {
    inner: Arc<Inner>,
}

struct Inner {
    mailboxes: Mailboxes,
    revision: watch::Sender<Revision>,
    leads: watch::Sender<bool>,
}

fn unimplemented(what: &str) -> RaftError {
    RaftError::Stopped { why: format!("{what} is not implemented yet") }
}

impl Consensus {
    /// Makes the first manager of a new cluster: a single voter that has committed `init` (InitCluster, CreateNode and ReserveRaftId of this node).
    ///
    /// # Errors
    /// When the directory belongs to a cluster, cannot be written, or the state machine refuses `init`. Nothing is left then.
    pub async fn bootstrap(_options: RaftOptions, _identity: Arc<Identity>, _gate: &RaftGate, _init: v1::Txn) -> Result<Self, RaftError> {
        Err(unimplemented("bootstrap"))
    }

    /// Makes this node one more manager: reserves a Raft id through one of `managers` (HOST:PORT), follows as a learner, and
    /// returns when it has caught up. The leader's loop decides when it votes ([`Consensus::set_voters`]).
    ///
    /// `gate` must already be served at `options.address`: the leader dials back.
    ///
    /// # Errors
    /// When the directory belongs to a cluster, or no manager takes the node in.
    pub async fn join(_options: RaftOptions, _identity: Arc<Identity>, _gate: &RaftGate, _managers: &[String]) -> Result<Self, RaftError> {
        Err(unimplemented("join"))
    }

    /// Starts a manager again from its directory. Returns as soon as its own log is replayed up to what it knew as committed.
    ///
    /// # Errors
    /// When the directory belongs to no cluster or another one, or its log or snapshot is damaged.
    pub async fn open(_options: RaftOptions, _identity: Arc<Identity>, _gate: &RaftGate) -> Result<Self, RaftError> {
        Err(unimplemented("open"))
    }

    /// Whether a directory belongs to a manager of a cluster, so that [`Consensus::open`] is the way to start.
    #[must_use]
    pub fn exists(directory: &std::path::Path) -> bool {
        directory.join("manager").exists()
    }

    /// Applies a transaction, on whichever manager this is: the leader decides, and when this returns, the state here has it too.
    /// Retried under the same transaction id while the leadership moves, for 5 s; takes effect at most once.
    ///
    /// # Errors
    /// See [`ProposeError`]; when too few managers answer, within 2 s.
    pub async fn propose(&self, _txn: v1::Txn) -> Result<v1::Applied, ProposeError> {
        Err(ProposeError::Stopped { why: "propose is not implemented yet".to_owned() })
    }

    /// The state, at least as new as any write that was acknowledged anywhere before this call.
    ///
    /// # Errors
    /// When no quorum confirms it; within 2 s when too few managers answer.
    pub async fn read(&self) -> Result<State, RaftError> {
        Err(unimplemented("read"))
    }

    /// The state as far as it is applied here, in O(1), without asking anybody.
    #[must_use]
    pub fn state(&self) -> State {
        State::new()
    }

    /// Told of every change that interests `node`. Subscribe first, then read the state.
    #[must_use]
    pub fn subscribe(&self, node: NodeId) -> Mailbox {
        self.inner.mailboxes.subscribe(node)
    }

    /// The revision of [`Consensus::state`], as it moves.
    #[must_use]
    pub fn revision(&self) -> watch::Receiver<Revision> {
        self.inner.revision.subscribe()
    }

    /// Whether this manager leads, and has applied everything of the terms before.
    #[must_use]
    pub fn is_leader(&self) -> watch::Receiver<bool> {
        self.inner.leads.subscribe()
    }

    /// The leader, as far as this manager knows.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.membership().leader()
    }

    /// Who takes part.
    #[must_use]
    pub fn membership(&self) -> MembershipView {
        MembershipView::default()
    }

    /// Hands the leadership to a voter, from whichever manager this is called.
    ///
    /// # Errors
    /// When the node is no voter or does not take over in time.
    pub async fn transfer_leader(&self, _to: NodeId) -> Result<(), RaftError> {
        Err(unimplemented("transfer_leader"))
    }

    /// On the leader: exactly these Raft ids vote from now on; voters that are left out become learners.
    ///
    /// # Errors
    /// When this is not the leader, a change is going on, one of them does not take part, or the voters that answer would be no quorum.
    pub async fn set_voters(&self, _raft_ids: BTreeSet<u64>) -> Result<(), RaftError> {
        Err(unimplemented("set_voters"))
    }

    /// On the leader: takes a learner out of Raft.
    ///
    /// # Errors
    /// When this is not the leader, a change is going on, or it votes.
    pub async fn remove_learner(&self, _raft_id: u64) -> Result<(), RaftError> {
        Err(unimplemented("remove_learner"))
    }

    /// Takes a node out of Raft, from whichever manager this is called: its vote, its place, its mark in the state.
    ///
    /// # Errors
    /// When that would lose the quorum.
    pub async fn remove_manager(&self, _node: NodeId) -> Result<(), RaftError> {
        Err(unimplemented("remove_manager"))
    }

    /// Why consensus has stopped for good on this manager, once it has.
    #[must_use]
    pub fn stopped(&self) -> Option<Arc<RaftError>> {
        None
    }

    /// Stops taking part and closes the log.
    pub async fn shutdown(&self) {}
}
