//! One loop makes this host's network what the assignments and the containers ask for: snapshot, plan, execute, report, wait.
//!
//! It wakes when the ledger or a container's networks change, when somebody asks, and now and then by itself. What does not work is
//! in the [`Pass`] it publishes; it is tried again with a growing pause.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use rcon_net::{Capabilities, HostNet, Problem, Report, TunnelTables, tunnel_client, tunnel_tables};
use rcon_netplan::NodeSettings;
use rcon_proto::v1::Assignments;
use rcon_types::{EndpointId, Failure, FailureKind, NetworkId, Revision};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{
    attachments::{Attachments, Table},
    desired::{Desired, desired},
    helpers::Helper,
    ledger::Ledger,
    limits,
    names::NameServer,
};

/// What the latest pass came to.
#[derive(Debug, Clone, Default)]
pub struct Pass {
    /// The assignments that the kernel follows.
    pub revision: Revision,
    /// Local endpoints that are in the kernel.
    pub endpoints: Arc<BTreeSet<EndpointId>>,
    /// What does not work, for networks or the whole host.
    pub problems: Arc<Vec<Problem>>,
    /// Whether the kernel is as wanted.
    pub applied: bool,
}

impl Pass {
    /// The problems of one network, those of the host included.
    pub fn problems_of(&self, network: NetworkId) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(move |problem| problem.network.is_none_or(|id| id == network))
    }
}

/// What a pass follows.
struct Watches {
    sets: watch::Receiver<Arc<Assignments>>,
    tables: watch::Receiver<Table>,
    reports: watch::Receiver<Report>,
}

/// What a pass reads and acts on.
pub struct Reconciler {
    /// The hands.
    pub net: HostNet,
    /// What they can do here.
    pub capabilities: Capabilities,
    /// What the cluster wants.
    pub ledger: Arc<Ledger>,
    /// What the containers hold.
    pub attachments: Arc<Attachments>,
    /// The encrypted datapath, started when first needed.
    pub tunnel: Arc<Helper>,
    /// The node's X25519 key.
    pub private_key_file: PathBuf,
    /// The containers' name server.
    pub names: Arc<NameServer>,
    /// Where passes are published.
    pub passes: watch::Sender<Pass>,
    /// Where the applied revision is published, for the session's beats.
    pub applied: watch::Sender<Revision>,
    /// Since when nothing here is encrypted.
    pub tunnel_idle_since: Option<Instant>,
}

impl Reconciler {
    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut watches = Watches { sets: self.ledger.watch(), tables: self.attachments.watch(), reports: self.net.watch() };
        let mut pause = limits::PASS_RETRY.0;
        loop {
            let set = watches.sets.borrow_and_update().clone();
            let table = watches.tables.borrow_and_update().clone();
            let whole = self.pass(&set, &table).await;
            let wait = if whole {
                pause = limits::PASS_RETRY.0;
                limits::RESYNC
            } else {
                pause = (pause * 2).min(limits::PASS_RETRY.1);
                pause
            };
            if !self.woken(&mut watches, wait, &stop).await {
                return;
            }
        }
    }

    /// Waits for the next reason to look; `false` at the end.
    async fn woken(&self, watches: &mut Watches, wait: Duration, stop: &CancellationToken) -> bool {
        let Watches { sets, tables, reports } = watches;
        tokio::select! {
            () = stop.cancelled() => false,
            changed = sets.changed() => changed.is_ok(),
            changed = tables.changed() => changed.is_ok(),
            () = sleep(wait) => true,
            Ok(()) = reports.changed() => {
                // Damage that the hands have mended, or could not: said on, no pass of ours is needed for it.
                let report = reports.borrow_and_update().clone();
                self.passes.send_modify(|pass| pass.applied = report.applied);
                true
            }
        }
    }

    /// One pass; whether everything is as wanted.
    async fn pass(&mut self, set: &Assignments, table: &Table) -> bool {
        let Desired { network: wanted, malformed } = desired(set, table, self.capabilities.backend);
        let mut problems: Vec<Problem> = malformed
            .into_iter()
            .map(|(name, error)| Problem {
                network: None,
                failure: Failure::from_error(FailureKind::Internal, &error).during(format!("assignment of `{name}`")),
            })
            .collect();
        let wanted_endpoints: BTreeSet<EndpointId> = wanted.networks.values().flat_map(|network| network.local.keys().copied()).collect();
        let revision = Revision(set.revision);
        let tables = tunnel_tables(&wanted, revision, &self.private_key_file);
        self.obstacles(&wanted, &mut problems);

        let mut whole = true;
        let mut kernel = false;
        match self.net.apply(wanted.clone()).await {
            Ok(report) => {
                kernel = report.applied;
                whole &= report.applied;
                problems.extend(report.problems);
            }
            Err(error) => {
                whole = false;
                problems.push(Problem { network: None, failure: error.failure() });
            }
        }
        if wanted.node.backend == rcon_netplan::EncryptedBackend::Userspace
            && let Err(failure) = self.tell_tunnel(tables, revision, &wanted.node).await
        {
            whole = false;
            kernel = false;
            problems.push(Problem { network: None, failure });
        }
        if let Err(failure) = self.names.publish(set, table, &self.net).await {
            whole = false;
            problems.push(Problem { network: None, failure });
        }
        self.publish(revision, wanted_endpoints, problems, kernel);
        whole
    }

    /// Networks whose kind this kernel cannot carry.
    fn obstacles(&self, wanted: &rcon_netplan::HostNetwork, problems: &mut Vec<Problem>) {
        for (id, network) in &wanted.networks {
            for missing in self.capabilities.obstacles(network.encrypted) {
                problems.push(Problem { network: Some(*id), failure: missing.failure.clone() });
            }
        }
    }

    /// Nothing encrypted here any more: a running tunnel lets go of everything, and ends when that stays so.
    async fn idle_tunnel(&mut self, revision: Revision, node: &NodeSettings) -> Result<(), Failure> {
        let Ok(mut stream) = tokio::net::UnixStream::connect(self.tunnel.socket()).await else { return Ok(()) };
        let (first, since) = (self.tunnel_idle_since.is_none(), *self.tunnel_idle_since.get_or_insert_with(Instant::now));
        if since.elapsed() >= limits::TUNNEL_IDLE || node.vtep.is_none() {
            return tunnel_client::stop(&mut stream).await.map_err(|e| e.failure());
        }
        let (true, Some(vtep)) = (first, node.vtep) else { return Ok(()) };
        let private_key_file = self.private_key_file.clone();
        let empty = TunnelTables { revision, private_key_file, vtep, listen_port: node.encrypted_port, peers: vec![], networks: vec![] };
        tunnel_client::set_tables(&mut stream, empty).await.map(drop).map_err(|e| e.failure())
    }

    async fn tell_tunnel(&mut self, tables: Option<TunnelTables>, revision: Revision, node: &NodeSettings) -> Result<(), Failure> {
        let Some(tables) = tables else { return self.idle_tunnel(revision, node).await };
        self.tunnel_idle_since = None;
        let mut stream = self.tunnel.connect().await?;
        tunnel_client::set_tables(&mut stream, tables).await.map(|_| ()).map_err(|e| e.failure())
    }

    fn publish(&self, revision: Revision, endpoints: BTreeSet<EndpointId>, problems: Vec<Problem>, applied: bool) {
        let known = self.passes.borrow().problems.clone();
        for problem in problems.iter().filter(|problem| !known.contains(problem)) {
            warn!(network = ?problem.network, failure = %problem.failure, "this host's network is not as it should be");
        }
        debug!(%revision, applied, problems = problems.len(), "network pass");
        let endpoints = if applied { Arc::new(endpoints) } else { self.passes.borrow().endpoints.clone() };
        self.passes.send_replace(Pass { revision, endpoints, problems: Arc::new(problems), applied });
        if applied {
            self.applied.send_if_modified(|known| std::mem::replace(known, revision) != revision);
        }
    }
}
