//! This manager's hold on the replicated state: read it, change it, and know who leads.
//!
//! The one place of this crate that talks to `rcon-raft`. A change is decided by a pure function of the state that was read, and proposed
//! with the versions it relied on; where somebody else was faster, it is read and decided again, a bounded number of times.

use std::time::SystemTime;

use rcon_proto::v1;
use rcon_raft::{Consensus, Mailbox, MembershipView};
use rcon_state::{ObjectKey, State};
use rcon_types::{Failure, FailureKind, NodeId, Revision};
use tokio::sync::watch;

use crate::{
    limits::CONFLICT_RETRIES,
    random::{self, RandomError},
    transaction::{op, transaction, unchanged},
};

/// What is to be written, if what it relies on still holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Change {
    /// The operations, in order.
    pub ops: Vec<v1::op::Op>,
    /// Objects that must be as they were read.
    pub relies_on: Vec<ObjectKey>,
}

impl Change {
    /// A change that relies on nothing but what the state machine checks itself.
    #[must_use]
    pub fn new(ops: Vec<v1::op::Op>) -> Self {
        Self { ops, relies_on: Vec::new() }
    }

    /// The same, relying on an object too.
    #[must_use]
    pub fn relying_on(mut self, key: ObjectKey) -> Self {
        self.relies_on.push(key);
        self
    }
}

/// A clone is a handle on the same replica.
#[derive(Clone)]
pub struct Replica {
    consensus: Consensus,
}

impl Replica {
    /// This manager's replica.
    #[must_use]
    pub const fn new(consensus: Consensus) -> Self {
        Self { consensus }
    }

    /// Told of what interests a node. Subscribe first, then read.
    #[must_use]
    pub fn subscribe(&self, node: NodeId) -> Mailbox {
        self.consensus.subscribe(node)
    }

    /// The revision of [`Replica::state`], as it moves.
    #[must_use]
    pub fn revision(&self) -> watch::Receiver<Revision> {
        self.consensus.revision()
    }

    /// Whether this manager leads, as it changes.
    #[must_use]
    pub fn leads(&self) -> watch::Receiver<bool> {
        self.consensus.is_leader()
    }

    /// Who takes part in Raft.
    #[must_use]
    pub fn membership(&self) -> MembershipView {
        self.consensus.membership()
    }

    /// Raft itself, for changes of its membership.
    #[must_use]
    pub const fn consensus(&self) -> &Consensus {
        &self.consensus
    }

    /// What has been applied here, without asking anybody.
    #[must_use]
    pub fn state(&self) -> State {
        self.consensus.state()
    }

    /// The state with everything that was acknowledged before this call.
    ///
    /// # Errors
    /// Unavailable, without a quorum.
    pub async fn read(&self) -> Result<State, Failure> {
        Ok(self.consensus.read().await?)
    }

    /// Proposes operations that rely on what was read in `state`, and waits until they are applied here.
    ///
    /// # Errors
    /// What the state machine refuses, and what Raft cannot decide.
    pub async fn propose(&self, change: Change, state: &State) -> Result<v1::Applied, Failure> {
        let id = random::id().map_err(RandomError::failure)?;
        let mut txn = transaction(id, SystemTime::now(), change.ops.into_iter().map(op).collect());
        txn.preconditions = change.relies_on.into_iter().map(|key| unchanged(state, key)).collect();
        Ok(self.consensus.propose(txn).await?)
    }

    /// Reads, decides and proposes, again when something came in between. `decide` gives nothing where nothing is to be done.
    ///
    /// # Errors
    /// What `decide` refuses, what the state machine refuses, what Raft cannot decide, and a conflict that would not end.
    pub async fn change(&self, mut decide: impl FnMut(&State) -> Result<Option<Change>, Failure>) -> Result<Changed, Failure> {
        let mut last = None;
        for _ in 0..CONFLICT_RETRIES {
            let state = self.read().await?;
            let Some(change) = decide(&state)? else { return Ok(Changed { before: state, applied: None }) };
            match self.propose(change, &state).await {
                Err(failure) if failure.kind == FailureKind::Conflict => last = Some(failure),
                outcome => return outcome.map(|applied| Changed { before: state, applied: Some(applied) }),
            }
        }
        let failure = last.unwrap_or_else(|| Failure::new(FailureKind::Conflict, "others changed the same thing"));
        Err(failure.during("could not make the change: others keep changing the same thing").hint("try again"))
    }
}

/// What came of a change.
#[derive(Debug, Clone)]
pub struct Changed {
    /// The state in which it was decided.
    pub before: State,
    /// What was written; nothing where there was nothing to do.
    pub applied: Option<v1::Applied>,
}
