//! The handle by which a manager proposes, reads and watches.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use rcon_identity::Identity;
use rcon_proto::{convert, v1};
use rcon_state::{State, limits::FIRST_RAFT_ID};
use rcon_types::{Failure, FailureKind, NodeId, Revision};
use tokio::sync::watch;

use crate::{
    Mailbox, MembershipView, ProposeError, RaftError, RaftGate, RaftOptions,
    applied::Applied,
    context::Context,
    disk::{Disk, sync_directory},
    log::LogStore,
    manager::Manager,
    manager_file::{self, ManagerIdentity},
    membership::LeaderRequest,
    peers::{self, Peers},
    propose::{PATIENCE, check, until},
    seal::Sealer,
    types::{ManagerNode, Proposal},
};

/// How long a new manager asks around until one takes it in.
const JOIN_WITHIN: Duration = Duration::from_secs(45);
/// How long it may take to catch up.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(120);
/// How long the first manager may take to elect itself.
const FIRST_ELECTION_WITHIN: Duration = Duration::from_secs(10);
/// How long a leader that stops waits for its successor.
const SUCCESSOR_WITHIN: Duration = Duration::from_millis(600);

/// A manager's part in Raft. Cheap to clone; all clones are the same manager.
#[derive(Clone)]
pub struct Consensus {
    manager: Arc<Manager>,
    gate: RaftGate,
}

impl std::fmt::Debug for Consensus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consensus").field("me", &self.manager.context.me).finish_non_exhaustive()
    }
}

impl Consensus {
    /// Makes the first manager of a new cluster: a single voter that has committed `init` (InitCluster, CreateNode and
    /// ReserveRaftId of this node, in one transaction).
    ///
    /// # Errors
    /// When the directory belongs to a cluster, cannot be written, or the state machine refuses `init`. Nothing is left then.
    pub async fn bootstrap(options: RaftOptions, identity: Arc<Identity>, gate: &RaftGate, init: v1::Txn) -> Result<Self, RaftError> {
        let proposal = Proposal(check(&init)?);
        let epoch = init.ops.iter().find_map(|op| match &op.op {
            Some(v1::op::Op::InitCluster(cluster)) => Some(cluster.epoch),
            _ => None,
        });
        let epoch = epoch.ok_or_else(|| RaftError::Options { why: "the first transaction does not create the cluster".to_owned() })?;
        let me = ManagerIdentity { node_id: options.node_id, cluster_id: identity.cluster_id(), raft_id: FIRST_RAFT_ID, epoch };
        check_options(&options, &identity)?;
        let directory = options.directory.clone();
        prepare(&directory, me.node_id)?;
        let consensus = Self::assemble(options, identity, gate, me);
        let outcome = consensus.initialize(proposal).await;
        if outcome.is_err() {
            consensus.shutdown().await;
            manager_file::clear(&directory)?;
        }
        outcome.map(|()| consensus)
    }

    async fn initialize(&self, init: Proposal) -> Result<(), RaftError> {
        let stopped = |e: &dyn std::error::Error| RaftError::Stopped { why: e.to_string() };
        self.manager.start().await?;
        let context = &self.manager.context;
        let raft = self.manager.raft().ok_or_else(|| RaftError::Stopped { why: "it did not start".to_owned() })?;
        let me = ManagerNode { node_id: context.me.node_id, address: context.options.address.clone() };
        raft.initialize(BTreeMap::from([(context.me.raft_id, me)])).await.map_err(|e| stopped(&e))?;
        until(FIRST_ELECTION_WITHIN, "the first election", || *self.manager.leads.borrow()).await?;
        let written = Box::pin(raft.client_write(init)).await.map_err(|e| stopped(&e))?;
        if let Some(Err(rejected)) = written.data.0 {
            return Err(RaftError::InitRejected(rejected));
        }
        let reserved = self.with_state(|state| state.node_by_raft_id(context.me.raft_id));
        if reserved != Some(context.me.node_id) {
            return Err(RaftError::Options { why: "the first transaction does not reserve this node's Raft id".to_owned() });
        }
        manager_file::write(&context.options.directory, context.me)
    }

    /// Makes this node one more manager: reserves a Raft id through one of `managers` (HOST:PORT), follows as a learner, and
    /// returns when it has caught up. The leader's loop decides when it votes ([`Consensus::set_voters`]).
    ///
    /// `gate` must already be served at `options.address`: the leader dials back.
    ///
    /// # Errors
    /// When the directory belongs to a cluster, or no manager takes the node in.
    pub async fn join(options: RaftOptions, identity: Arc<Identity>, gate: &RaftGate, managers: &[String]) -> Result<Self, RaftError> {
        check_options(&options, &identity)?;
        prepare(&options.directory, options.node_id)?;
        let joined = ask_to_join(&options, &identity, managers).await?;
        let me =
            ManagerIdentity { node_id: options.node_id, cluster_id: identity.cluster_id(), raft_id: joined.raft_id, epoch: joined.epoch };
        // From here on the id is used, and never given up for another: a crash goes on with `open`.
        manager_file::write(&options.directory, me)?;
        let consensus = Self::assemble(options, identity, gate, me);
        consensus.manager.start().await?;
        until(CATCH_UP_WITHIN, "catching up", || consensus.with_state(|state| state.node_by_raft_id(me.raft_id) == Some(me.node_id)))
            .await?;
        Ok(consensus)
    }

    /// Starts a manager again from its directory. Returns as soon as its own log is replayed up to what it knew as committed.
    ///
    /// # Errors
    /// When the directory belongs to no cluster or another one, or its log or snapshot is damaged.
    pub async fn open(options: RaftOptions, identity: Arc<Identity>, gate: &RaftGate) -> Result<Self, RaftError> {
        check_options(&options, &identity)?;
        let directory = &options.directory;
        let me = manager_file::read(directory)?.ok_or_else(|| RaftError::NotMember { path: directory.clone() })?;
        let foreign = |what| RaftError::Foreign { path: directory.clone(), what };
        if me.cluster_id != identity.cluster_id() {
            return Err(foreign("cluster"));
        }
        if me.node_id != options.node_id {
            return Err(foreign("node"));
        }
        let consensus = Self::assemble(options, identity, gate, me);
        match consensus.manager.start().await {
            Ok(()) => Ok(consensus),
            Err(error) => {
                gate.open_for(None);
                Err(error)
            }
        }
    }

    /// Whether a directory is that of a manager, so that [`Consensus::open`] is the way to start.
    #[must_use]
    pub fn exists(directory: &Path) -> bool {
        manager_file::path(directory).exists()
    }

    fn assemble(options: RaftOptions, identity: Arc<Identity>, gate: &RaftGate, me: ManagerIdentity) -> Self {
        let applied = Applied::new();
        let peers = Peers::new(identity, Arc::clone(&applied));
        let disk = Disk::open(&options.directory, options.disk);
        let context = Context { me, options, applied, peers, disk, believes_to_lead: AtomicBool::new(false), voters: Default::default() };
        let manager = Manager::new(Arc::new(context));
        gate.open_for(Some(Arc::clone(&manager)));
        Self { manager, gate: gate.clone() }
    }

    /// Applies a transaction, on whichever manager this is: the leader decides, and when this returns, the state here has it too.
    /// Retried under the same transaction id while the leadership moves, for 5 s; takes effect at most once.
    ///
    /// # Errors
    /// See [`ProposeError`]; when too few managers answer, within 2 s.
    pub async fn propose(&self, txn: v1::Txn) -> Result<v1::Applied, ProposeError> {
        self.manager.propose(&txn).await
    }

    /// The state, at least as new as any write that was acknowledged anywhere before this call.
    ///
    /// # Errors
    /// When no quorum confirms it; within 2 s when too few managers answer.
    pub async fn read(&self) -> Result<State, RaftError> {
        if self.manager.context.options.planted.read_without_quorum {
            return Ok(self.state());
        }
        let index = self.manager.read_index().await?;
        let reached = tokio::time::timeout(PATIENCE, self.manager.context.applied.reached(index)).await;
        reached.map_err(|_| RaftError::Deadline { what: "applying what the leader has", seconds: PATIENCE.as_secs() })?;
        Ok(self.state())
    }

    /// The state as far as it is applied here, in O(1), without asking anybody.
    #[must_use]
    pub fn state(&self) -> State {
        self.manager.context.applied.state()
    }

    fn with_state<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        self.manager.context.applied.with(look)
    }

    /// Told of every change that interests `node`. Subscribe first, then read the state.
    #[must_use]
    pub fn subscribe(&self, node: NodeId) -> Mailbox {
        self.manager.context.applied.mailboxes.subscribe(node)
    }

    /// The revision of [`Consensus::state`], as it moves.
    #[must_use]
    pub fn revision(&self) -> watch::Receiver<Revision> {
        self.manager.context.applied.revision()
    }

    /// Whether this manager leads, and has applied everything of the terms before.
    #[must_use]
    pub fn is_leader(&self) -> watch::Receiver<bool> {
        self.manager.leads.subscribe()
    }

    /// The leader, as far as this manager knows.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        let leader = self.manager.leader()?;
        self.manager.participants().0.get(&leader).map(|node| node.node_id)
    }

    /// This manager's own Raft id.
    #[must_use]
    pub fn raft_id(&self) -> u64 {
        self.manager.context.me.raft_id
    }

    /// The epoch of the cluster that this manager is of.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.manager.context.me.epoch
    }

    /// Who takes part.
    #[must_use]
    pub fn membership(&self) -> MembershipView {
        self.manager.membership()
    }

    /// Host names or addresses of the voters that do not answer, when too few answer for a quorum.
    #[must_use]
    pub fn missing_for_quorum(&self) -> Option<Vec<String>> {
        self.manager.missing_for_quorum()
    }

    /// Hands the leadership to a voter, from whichever manager this is called.
    ///
    /// # Errors
    /// When the node is no voter or does not take over in time.
    pub async fn transfer_leader(&self, to: NodeId) -> Result<(), RaftError> {
        self.manager.on_leader(LeaderRequest::HandOver { node_id: to }).await?;
        until(PATIENCE, "hearing of the new leader", || self.leader() == Some(to)).await
    }

    /// On the leader: exactly these Raft ids vote from now on; voters that are left out become learners.
    ///
    /// # Errors
    /// When this is not the leader, one of them does not take part, or the voters that answer would be no quorum.
    pub async fn set_voters(&self, raft_ids: BTreeSet<u64>) -> Result<(), RaftError> {
        self.manager.set_voters(raft_ids).await
    }

    /// On the leader: takes a learner out of Raft. No error where it is out already.
    ///
    /// # Errors
    /// When this is not the leader, or it votes.
    pub async fn remove_learner(&self, raft_id: u64) -> Result<(), RaftError> {
        self.manager.remove_learner(raft_id).await
    }

    /// Takes a node out of Raft, from whichever manager this is called: its vote, its place, its mark in the state.
    ///
    /// # Errors
    /// When that would lose the quorum.
    pub async fn remove_manager(&self, node: NodeId) -> Result<(), RaftError> {
        self.manager.on_leader(LeaderRequest::Leave { node_id: node }).await.map(|_| ())
    }

    /// Why consensus has stopped for good on this manager, once it has. It is not started again by itself.
    #[must_use]
    pub fn stopped(&self) -> watch::Receiver<Option<Arc<RaftError>>> {
        self.manager.context.applied.halted()
    }

    /// Stops taking part and closes the log; a leader hands over first. Afterwards [`RaftGate`] says that this node is no manager.
    pub async fn shutdown(&self) {
        if *self.manager.leads.borrow() {
            let view = self.membership();
            if let Some(heir) = view.participants.iter().find(|p| p.votes && p.reachable && p.caught_up && !p.leads) {
                drop(tokio::time::timeout(SUCCESSOR_WITHIN, self.manager.hand_over_to(heir.raft_id)).await);
            }
        }
        self.gate.open_for(None);
        self.manager.close().await;
    }

    /// Stops as a power-off would, without handing anything over; what is on disk stays. For tests.
    #[doc(hidden)]
    pub async fn abandon(&self) {
        self.gate.open_for(None);
        self.manager.close().await;
    }
}

/// Makes the directory of a manager that is none yet.
fn prepare(directory: &Path, node_id: NodeId) -> Result<(), RaftError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let failed = |source| RaftError::Io { what: "create", path: directory.to_owned(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    // Its name in the directory above, too: a manager whose Raft directory a power-off takes away is none any more.
    sync_directory(directory)?;
    if Consensus::exists(directory) {
        return Err(RaftError::AlreadyMember { path: directory.to_owned() });
    }
    manager_file::clear(directory)?;
    Sealer::open(&directory.join("seal.key"), node_id, true)?;
    LogStore::create(directory)
}

fn check_options(options: &RaftOptions, identity: &Identity) -> Result<(), RaftError> {
    let refuse = |why: String| Err(RaftError::Options { why });
    if options.node_id != identity.node_id() {
        return refuse(format!("node {} has the identity of node {}", options.node_id, identity.node_id()));
    }
    if options.planted.any() && std::env::var_os("RCON_PLANTED_BUG").is_none() {
        return refuse("a bug is planted, which is for tests only; they set RCON_PLANTED_BUG".to_owned());
    }
    Ok(())
}

/// Asks one manager after the other until one takes this node in.
async fn ask_to_join(
    options: &RaftOptions,
    identity: &Arc<Identity>,
    managers: &[String],
) -> Result<v1::JoinMembershipResponse, RaftError> {
    let dialer = Peers::new(Arc::clone(identity), Applied::new());
    let since = Instant::now();
    let mut last = Failure::new(FailureKind::InvalidArgument, "no manager's address is given");
    while !managers.is_empty() && since.elapsed() < JOIN_WITHIN {
        for address in managers {
            let mut client = match dialer.dial(address, None) {
                Ok(client) => client,
                Err(failure) => {
                    last = failure;
                    continue;
                }
            };
            let message = v1::JoinMembershipRequest { node_id: convert::id_bytes(options.node_id), address: options.address.clone() };
            let left = JOIN_WITHIN.saturating_sub(since.elapsed());
            last = match tokio::time::timeout(left, client.join_membership(message)).await {
                Ok(Ok(joined)) => return Ok(joined.into_inner()),
                Ok(Err(status)) => peers::failure(status),
                Err(_) => Failure::new(FailureKind::DeadlineExceeded, format!("manager {address} does not answer")),
            };
        }
        let worth_it = matches!(last.kind, FailureKind::Unavailable | FailureKind::DeadlineExceeded | FailureKind::FailedPrecondition);
        if !worth_it {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Err(RaftError::JoinRefused { source: last })
}
