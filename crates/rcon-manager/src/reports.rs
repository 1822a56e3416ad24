//! Reports of sessions from the managers to the leader: the service on the leader, the task that reports, and who asks for all of them.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use rcon_proto::v1;
use rcon_rpc::{
    tonic::{Request, Response, Status},
    v1::session_reports_server::SessionReports,
};
use rcon_types::{Failure, FailureKind, NodeId};
use tokio::time::{sleep, timeout};

use crate::{
    authorise::table,
    limits::{BEAT, ISOLATION, PEER_DEADLINE, REPORT_PAUSE},
    liveness::core::Heard,
    peer_client::{digest, heard},
    shared::{ManagerGate, Shared, lock, reply},
};

/// The leader's side.
#[derive(Clone)]
pub struct ReportService {
    gate: ManagerGate,
}

impl ReportService {
    /// The service behind a gate.
    #[must_use]
    pub const fn new(gate: ManagerGate) -> Self {
        Self { gate }
    }
}

#[rcon_rpc::tonic::async_trait]
impl SessionReports for ReportService {
    async fn report(&self, request: Request<v1::SessionReport>) -> Result<Response<v1::SessionReportReply>, Status> {
        let at = self.gate.admit(&table::REPORT_SESSIONS, &request).await?;
        let taken = at.caller.node().and_then(|by| {
            let sessions: Vec<Heard> = request.get_ref().sessions.iter().filter_map(heard).collect();
            if take(&at.shared, by, sessions) { Ok(v1::SessionReportReply {}) } else { Err(not_leading()) }
        });
        reply(taken)
    }

    async fn collect(&self, request: Request<v1::CollectSessionsRequest>) -> Result<Response<v1::CollectSessionsResponse>, Status> {
        let at = self.gate.admit(&table::COLLECT_SESSIONS, &request).await?;
        let sessions = own_table(&at.shared).map(|all| v1::CollectSessionsResponse { sessions: all.values().map(digest).collect() });
        reply(sessions.ok_or_else(not_leading))
    }
}

fn not_leading() -> Failure {
    Failure::new(FailureKind::Unavailable, "this manager does not lead").hint("the caller finds the leader by itself")
}

/// Takes a report into the leader's table; false where this manager does not lead.
fn take(shared: &Shared, by: NodeId, sessions: Vec<Heard>) -> bool {
    let now = shared.sessions.now();
    let taken = lock(&shared.liveness).as_mut().map(|table| table.report(by, sessions, now)).is_some();
    if taken {
        shared.liveness_changed.notify_one();
    }
    taken
}

fn own_table(shared: &Shared) -> Option<BTreeMap<NodeId, Heard>> {
    let now = shared.sessions.now();
    lock(&shared.liveness).as_ref().map(|table| table.heard(now).map(|h| (h.node, h)).collect())
}

/// What is known of all sessions, wherever they are served; of its own alone where the leader does not answer.
pub async fn heard_everywhere(shared: &Shared) -> BTreeMap<NodeId, Heard> {
    let own = || shared.sessions.heard().into_iter().map(|h| (h.node, h));
    if let Some(mut all) = own_table(shared) {
        all.extend(own());
        return all;
    }
    let Some(leader) = shared.replica.consensus().leader() else { return own().collect() };
    let mut all = shared.peers.collect(leader, &shared.replica.state()).await.unwrap_or_else(|failure| {
        tracing::debug!(%failure, "the leader did not say which nodes are heard");
        BTreeMap::new()
    });
    all.extend(own());
    all
}

/// Reports for ever: each second, and soon after a session began or ended. A manager that cannot reach a leader gives its sessions up after
/// a while, so that its nodes find one that can, and are not taken for dead.
pub async fn report_loop(shared: Arc<Shared>) {
    let mut last_success = Instant::now();
    loop {
        match report_once(&shared).await {
            Ok(()) => last_success = Instant::now(),
            Err(failure) if last_success.elapsed() >= ISOLATION => {
                tracing::warn!(%failure, "no leader hears this manager: its nodes are sent to another");
                shared.sessions.end_all();
                last_success = Instant::now();
            }
            Err(failure) => tracing::debug!(%failure, "the sessions could not be reported to the leader"),
        }
        let pause = BEAT.saturating_sub(REPORT_PAUSE);
        sleep(REPORT_PAUSE).await;
        // Whichever comes first; a timeout is the usual one.
        let _ = timeout(pause, shared.sessions.changed()).await;
    }
}

async fn report_once(shared: &Shared) -> Result<(), Failure> {
    let own = shared.identity.node_id();
    let heard = shared.sessions.heard();
    if *shared.replica.leads().borrow() && take(shared, own, heard.clone()) {
        return Ok(());
    }
    let leader = shared.replica.consensus().leader().filter(|leader| *leader != own);
    let leader = leader.ok_or_else(|| Failure::new(FailureKind::Unavailable, "the managers have no leader"))?;
    let state = shared.replica.state();
    let report = shared.peers.report(leader, &state, &heard);
    timeout(PEER_DEADLINE + Duration::from_millis(100), report)
        .await
        .unwrap_or_else(|_| Err(Failure::new(FailureKind::DeadlineExceeded, "the leader does not answer")))
}
