//! One loop makes this host's network what the assignments and the containers ask for: snapshot, plan, execute, report, wait.
//!
//! It wakes when the ledger or a container's networks change, when somebody asks, and now and then by itself. What does not work is
//! in the [`Pass`] it publishes; it is tried again with a growing pause.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rcon_net::{Capabilities, HostNet, Problem, Report, TunnelTables, tunnel_client, tunnel_tables};
use rcon_netplan::{EncryptedBackend, NodeSettings};
use rcon_proto::v1::Assignments;
use rcon_types::{EndpointId, Failure, FailureKind, NetworkId, Revision};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
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
    /// Whether this host takes encrypted packets, so that a peer may begin a handshake.
    pub tunnel_listens: bool,
}

/// A way to say that the tunnel will be needed in a moment.
#[derive(Debug, Default)]
pub struct TunnelWish {
    asked: AtomicBool,
    wake: Notify,
}

impl TunnelWish {
    /// Asks for a pass that has the tunnel listen.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    fn take(&self) -> bool {
        self.asked.swap(false, Ordering::Relaxed)
    }
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

/// Waits until the hands have noticed damage that they could not mend by themselves.
async fn not_applied(reports: &mut watch::Receiver<Report>) {
    while reports.changed().await.is_ok() {
        if !reports.borrow_and_update().applied {
            return;
        }
    }
    std::future::pending().await
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
    /// Asked for by a container that is about to join an encrypted network.
    pub tunnel_wish: Arc<TunnelWish>,
    /// When the tunnel was last needed.
    pub tunnel_needed: Option<Instant>,
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
            // The pass's own report is no news: taken for such, it would wake the loop for ever.
            watches.reports.mark_unchanged();
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
        let mut due = std::pin::pin!(sleep(wait));
        loop {
            tokio::select! {
                () = stop.cancelled() => return false,
                changed = sets.changed() => return changed.is_ok(),
                changed = tables.changed() => return changed.is_ok(),
                () = self.tunnel_wish.wake.notified() => return true,
                () = not_applied(reports) => return true,
                () = &mut due => return true,
                () = sleep(limits::HELPER_LOOK) => if self.helper_is_gone().await { return true },
            }
        }
    }

    /// Whether a helper process that should run does not answer: killed, or crashed.
    async fn helper_is_gone(&self) -> bool {
        let tunnels = self.capabilities.backend == EncryptedBackend::Userspace && self.passes.borrow().tunnel_listens;
        (tunnels && !self.tunnel.answers().await) || self.names.is_gone().await
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
        let mut tunnel_listens = wanted.node.backend == EncryptedBackend::Kernel;
        if !tunnel_listens {
            match self.tell_tunnel(tables, revision, &wanted.node).await {
                Ok(listens) => tunnel_listens = listens,
                Err(failure) => {
                    (whole, kernel) = (false, false);
                    problems.push(Problem { network: None, failure });
                }
            }
        }
        if let Err(failure) = self.names.publish(set, table, &self.net).await {
            whole = false;
            problems.push(Problem { network: None, failure });
        }
        let pass = Pass { revision, endpoints: Arc::new(wanted_endpoints), problems: Arc::new(problems), applied: kernel, tunnel_listens };
        self.publish(pass);
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

    /// Brings the tunnel up to its tables; whether it listens now.
    ///
    /// Without encrypted networks it holds its port for a while with empty tables: containers often come back, and a peer that begins a
    /// handshake before this host is ready must not be told by ICMP that nobody is there.
    async fn tell_tunnel(&mut self, tables: Option<TunnelTables>, revision: Revision, node: &NodeSettings) -> Result<bool, Failure> {
        if tables.is_some() || self.tunnel_wish.take() {
            self.tunnel_needed = Some(Instant::now());
        }
        let empty = node.vtep.map(|vtep| TunnelTables {
            revision,
            private_key_file: self.private_key_file.clone(),
            vtep,
            listen_port: node.encrypted_port,
            peers: Vec::new(),
            networks: Vec::new(),
        });
        let needed = self.tunnel_needed.is_some_and(|at| at.elapsed() < limits::TUNNEL_IDLE);
        let Some(tables) = tables.or(empty).filter(|_| needed) else {
            self.stop_tunnel().await?;
            return Ok(false);
        };
        let mut stream = self.tunnel.connect().await?;
        tunnel_client::set_tables(&mut stream, tables).await.map(|_| true).map_err(|e| e.failure())
    }

    /// Ends a tunnel that nobody needs, and waits until its port is free again.
    async fn stop_tunnel(&self) -> Result<(), Failure> {
        let Ok(mut stream) = tokio::net::UnixStream::connect(self.tunnel.socket()).await else { return Ok(()) };
        tunnel_client::stop(&mut stream).await.map_err(|e| e.failure())?;
        let gone = async {
            while self.tunnel.answers().await {
                sleep(limits::RECONNECT.0).await;
            }
        };
        timeout(limits::MANAGER_ATTEMPT, gone).await.map_err(|_| Failure::new(FailureKind::Internal, "the tunnel did not end when told to"))
    }

    fn publish(&self, mut pass: Pass) {
        let (known, before) = {
            let last = self.passes.borrow();
            (last.problems.clone(), last.endpoints.clone())
        };
        for problem in pass.problems.iter().filter(|problem| !known.contains(problem)) {
            warn!(network = ?problem.network, failure = %problem.failure, "this host's network is not as it should be");
        }
        debug!(revision = %pass.revision, applied = pass.applied, problems = pass.problems.len(), "network pass");
        if !pass.applied {
            pass.endpoints = before;
        }
        let (applied, revision) = (pass.applied, pass.revision);
        self.passes.send_replace(pass);
        if applied {
            self.applied.send_if_modified(|known| std::mem::replace(known, revision) != revision);
        }
    }
}
