//! The running part of a manager: openraft on its log and state machine, started again by itself when its storage failed.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use openraft::{ServerState, SnapshotPolicy, async_runtime::watch::WatchReceiver as _, metrics::RaftMetrics};
use tokio::sync::{Mutex, watch};

use crate::{
    RaftError,
    context::Context,
    log::LogStore,
    machine::StateMachine,
    network::Links,
    options::Timing,
    peers,
    seal::Sealer,
    types::{ManagerNode, Raft, TypeConfig},
};

/// Waits between attempts to start a core again.
const RESTART_AFTER: [Duration; 5] =
    [Duration::from_millis(50), Duration::from_millis(200), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(3)];
/// How long a core may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// How long the log of a core that was stopped may stay locked.
const RELEASED_WITHIN: Duration = Duration::from_secs(3);
/// The most entries in one message.
const ENTRIES_A_MESSAGE: u64 = 512;
/// How long a follower may take for a snapshot, in milliseconds.
const SNAPSHOT_WITHIN_MS: u64 = 120_000;
/// What a follower that does not answer is left alone for.
const BACKOFF: &str = "50ms 100ms 200ms ...400ms";

/// A manager: its context, and its core while that runs.
pub(crate) struct Manager {
    pub(crate) context: Arc<Context>,
    core: ArcSwapOption<Raft>,
    pub(crate) leads: watch::Sender<bool>,
    closing: watch::Sender<bool>,
    /// Held while the membership changes: one change at a time.
    pub(crate) changing: Mutex<()>,
    /// Why there is no core, while there is none.
    down: ArcSwap<String>,
}

impl Manager {
    pub(crate) fn new(context: Arc<Context>) -> Arc<Self> {
        Arc::new(Self {
            context,
            core: ArcSwapOption::empty(),
            leads: watch::Sender::new(false),
            closing: watch::Sender::new(false),
            changing: Mutex::new(()),
            down: ArcSwap::from_pointee("it is starting".to_owned()),
        })
    }

    /// Opens log and state, and takes part. Returns when the log is replayed up to what was known as committed.
    pub(crate) async fn start(self: &Arc<Self>) -> Result<(), RaftError> {
        self.start_core().await?;
        tokio::spawn(Arc::clone(self).supervise());
        Ok(())
    }

    /// The running core, if it runs.
    pub(crate) fn raft(&self) -> Option<Arc<Raft>> {
        self.core.load_full()
    }

    /// Why the core does not run, while it does not.
    pub(crate) fn down(&self) -> Option<String> {
        self.core.load().is_none().then(|| self.down.load().to_string())
    }

    /// What openraft says of itself.
    pub(crate) fn metrics(&self) -> Option<RaftMetrics<TypeConfig>> {
        // A copy: the borrow would hold up the core.
        self.raft().map(|raft| raft.metrics().borrow_watched().clone())
    }

    /// The leader's Raft id, as far as this manager knows.
    pub(crate) fn leader(&self) -> Option<u64> {
        self.raft().and_then(|raft| raft.metrics().borrow_watched().current_leader)
    }

    /// All participants by Raft id, and which of them vote.
    pub(crate) fn participants(&self) -> (BTreeMap<u64, ManagerNode>, BTreeSet<u64>) {
        let Some(raft) = self.raft() else { return Default::default() };
        let metrics = raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        (membership.nodes().map(|(id, node)| (*id, node.clone())).collect(), membership.voter_ids().collect())
    }

    /// The names of the voters that do not answer, if too few answer for a quorum.
    pub(crate) fn missing_for_quorum(&self) -> Option<Vec<String>> {
        let (participants, voters) = self.participants();
        let silent: Vec<u64> = voters.iter().copied().filter(|id| !self.answers(*id)).collect();
        let answering = voters.len() - silent.len();
        if voters.is_empty() || answering > voters.len() / 2 {
            return None;
        }
        let name = |id: &u64| self.context.applied.with(|state| participants.get(id).map(|node| peers::name_of(state, node)));
        Some(silent.iter().filter_map(name).collect())
    }

    /// Whether a participant was heard lately.
    pub(crate) fn answers(&self, raft_id: u64) -> bool {
        let window = Duration::from_millis(self.context.options.timing.election_max_ms * 3 / 2);
        raft_id == self.context.me.raft_id || self.context.peers.heard_within(raft_id, window)
    }

    async fn start_core(&self) -> Result<(), RaftError> {
        let context = Arc::clone(&self.context);
        let opened = tokio::task::spawn_blocking(move || {
            let directory = &context.options.directory;
            let sealer = Sealer::open(&directory.join("seal.key"), context.me.node_id, false)?;
            let log = open_log(directory, &sealer, context.options.planted.acknowledge_before_fsync)?;
            let machine = StateMachine::open(directory, sealer, Arc::clone(&context.applied), context.options.timing)?;
            Ok::<_, RaftError>((log, machine))
        });
        let (log, machine) = opened.await.map_err(|e| RaftError::Stopped { why: e.to_string() })??;
        let config = Arc::new(config(&self.context.options.timing)?);
        let links = Links { context: Arc::clone(&self.context) };
        let raft = Raft::new(self.context.me.raft_id, config, links, log, machine).await;
        self.core.store(Some(Arc::new(raft.map_err(|e| RaftError::Stopped { why: e.to_string() })?)));
        Ok(())
    }

    /// Follows the core, and starts it again when its storage failed, until the manager is closed or halted.
    async fn supervise(self: Arc<Self>) {
        let mut closing = self.closing.subscribe();
        let mut halted = self.context.applied.halted();
        loop {
            tokio::select! {
                _ = closing.wait_for(|closing| *closing) => break,
                _ = halted.wait_for(Option::is_some) => break,
                why = self.follow_core() => {
                    tracing::error!(%why, "consensus has failed on this manager and is started again");
                    self.down.store(Arc::new(why));
                    self.context.disk.drop_ballast();
                }
            }
            self.stop_core().await;
            if !self.restart_core(&mut closing).await {
                break;
            }
            self.context.disk.look_again();
            self.context.disk.restore_ballast();
        }
        self.stop_core().await;
    }

    /// Returns with the reason when the core has failed.
    async fn follow_core(&self) -> String {
        let Some(raft) = self.raft() else { return "it did not start".to_owned() };
        let mut watched = raft.metrics();
        loop {
            let (failed, leads, participants, voters) = {
                let metrics = watched.borrow_watched();
                let membership = metrics.membership_config.membership();
                let participants: BTreeSet<u64> = membership.nodes().map(|(id, _)| *id).collect();
                let voters: BTreeSet<u64> = membership.voter_ids().collect();
                (metrics.running_state.as_ref().err().map(ToString::to_string), leads(&metrics), participants, voters)
            };
            if let Some(why) = failed {
                return why;
            }
            self.context.believes_to_lead.store(leads, Ordering::Relaxed);
            let changed = self.leads.send_if_modified(|known| std::mem::replace(known, leads) != leads);
            if changed {
                tracing::info!(leads, raft_id = self.context.me.raft_id, "leadership changed");
            }
            if **self.context.voters.load() != voters {
                self.context.voters.store(Arc::new(voters));
            }
            if !participants.is_empty() {
                self.context.peers.keep(|id| participants.contains(&id));
            }
            if watched.changed().await.is_err() {
                return "it is gone".to_owned();
            }
        }
    }

    async fn restart_core(&self, closing: &mut watch::Receiver<bool>) -> bool {
        for attempt in 0.. {
            let wait = RESTART_AFTER[RESTART_AFTER.len().min(attempt + 1) - 1];
            tokio::select! {
                _ = closing.wait_for(|closing| *closing) => return false,
                () = tokio::time::sleep(wait) => {}
            }
            match self.start_core().await {
                Ok(()) => return true,
                Err(error @ (RaftError::Damaged { .. } | RaftError::LogTooShort { .. })) => {
                    self.context.applied.halt(error);
                    return false;
                }
                Err(error) => {
                    tracing::error!(error = %error.failure(), "consensus could not be started again on this manager");
                    self.down.store(Arc::new(error.failure().to_string()));
                }
            }
        }
        false
    }

    async fn stop_core(&self) {
        self.leads.send_replace(false);
        self.context.believes_to_lead.store(false, Ordering::Relaxed);
        if let Some(raft) = self.core.swap(None)
            && tokio::time::timeout(STOP_WITHIN, raft.shutdown()).await.is_err()
        {
            tracing::error!("consensus does not stop");
        }
    }

    /// Stops for good.
    pub(crate) async fn close(&self) {
        self.closing.send_replace(true);
        self.stop_core().await;
    }
}

/// Opens the log; waits a moment for a core that was stopped just now to let go of it. Blocks.
fn open_log(directory: &Path, sealer: &Sealer, acknowledge_early: bool) -> Result<LogStore, RaftError> {
    let since = Instant::now();
    loop {
        match LogStore::open(directory, sealer.clone(), acknowledge_early) {
            Err(RaftError::Io { source, .. }) if source.kind() == io::ErrorKind::WouldBlock && since.elapsed() < RELEASED_WITHIN => {
                std::thread::park_timeout(Duration::from_millis(20));
            }
            opened => return opened,
        }
    }
}

/// Whether the core leads and has applied what was committed before its term.
fn leads(metrics: &RaftMetrics<TypeConfig>) -> bool {
    metrics.state == ServerState::Leader && metrics.last_applied.as_ref().is_some_and(|id| id.leader_id == metrics.vote.leader_id)
}

fn config(timing: &Timing) -> Result<openraft::Config, RaftError> {
    let config = openraft::Config {
        cluster_name: "rcon".to_owned(),
        heartbeat_interval: timing.heartbeat_ms,
        election_timeout_min: timing.election_min_ms,
        election_timeout_max: timing.election_max_ms,
        enable_pre_vote: Some(true),
        max_payload_entries: ENTRIES_A_MESSAGE,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(timing.snapshot_every),
        max_in_snapshot_log_to_keep: timing.entries_kept,
        replication_lag_threshold: timing.snapshot_every.saturating_mul(2),
        install_snapshot_timeout: SNAPSHOT_WITHIN_MS,
        backoff: BACKOFF.to_owned(),
        ..openraft::Config::default()
    };
    config.validate().map_err(|e| RaftError::Options { why: e.to_string() })
}
