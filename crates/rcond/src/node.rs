//! The part of a node that other nodes speak to: 2377/tcp on every node, and a manager behind it where the node is one.
//!
//! Implements what the agent asks of the process around it ([`ClusterSide`]). One change at a time; a change that fails leaves
//! nothing serving, and the caller decides what that means.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use rcon_agent::{ClusterSide, Entry, Founded, LocalManager, NodeSettings};
use rcon_identity::{Identity, IdentityStore, Membership, RequestedKey};
use rcon_manager::{Founding, Manager, ManagerGate, initial_transaction};
use rcon_proto::{convert, v1};
use rcon_raft::{Consensus, Planted, RaftGate, RaftOptions, Timing};
use rcon_rpc::{Channel, Routes, tonic};
use rcon_types::{Failure, FailureKind, Role};
use tokio::{net::TcpListener, sync::Mutex, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::Config;

/// The node's server and manager.
pub struct Node {
    config: Config,
    store: Arc<IdentityStore>,
    running: Mutex<Option<Running>>,
    /// The way to the manager of this process, while there is one.
    manager: ArcSwapOption<Channel>,
}

/// What serves now.
struct Running {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    gates: Gates,
    identity: Arc<Identity>,
    manager: Option<Manager>,
}

/// What knocks on 2377/tcp meets: services that answer "not a manager" until somebody is behind them.
#[derive(Clone, Default)]
struct Gates {
    raft: RaftGate,
    manager: ManagerGate,
}

impl Gates {
    fn routes(&self) -> Routes {
        self.manager.routes(&self.raft)
    }
}

impl Node {
    /// A node that serves nobody yet.
    #[must_use]
    pub fn new(config: Config, store: Arc<IdentityStore>) -> Self {
        Self { config, store, running: Mutex::new(None), manager: ArcSwapOption::empty() }
    }

    fn raft_directory(&self) -> PathBuf {
        self.config.data_dir.join("raft")
    }

    fn raft_options(&self, identity: &Identity, settings: &NodeSettings) -> RaftOptions {
        let [heartbeat_ms, election_min_ms, election_max_ms] = self.config.raft_timing_ms;
        let mut options = RaftOptions::new(self.raft_directory(), identity.own().node_id, settings.advertised.to_string());
        options.timing = Timing { heartbeat_ms, election_min_ms, election_max_ms, ..Timing::default() };
        options.planted = planted_bug();
        options
    }

    /// Opens 2377/tcp with nobody behind it.
    async fn open(&self, identity: Arc<Identity>, listen: SocketAddr) -> Result<Running, Failure> {
        let listener = listen_at(listen).await?;
        let stop = CancellationToken::new();
        let gates = Gates::default();
        let server = rcon_rpc::serve(listener, identity.clone(), gates.routes(), stop.clone().cancelled_owned());
        let server = tokio::spawn(async move {
            if let Err(failure) = server.await {
                error!(%failure, "the server for other nodes ended");
            }
        });
        info!(%listen, "serving other nodes");
        Ok(Running { stop, tasks: vec![server], gates, identity, manager: None })
    }

    /// Puts a manager behind the gates, and lets this process reach it.
    fn lead(&self, running: &mut Running, consensus: Consensus) {
        let manager = Manager::new(consensus, running.identity.clone(), &running.gates.manager);
        let (channel, server) =
            rcon_rpc::in_process(running.identity.clone(), running.gates.routes(), running.stop.clone().cancelled_owned());
        running.tasks.push(tokio::spawn(async move {
            if let Err(failure) = server.await {
                error!(%failure, "the server for this process ended");
            }
        }));
        self.manager.store(Some(Arc::new(channel)));
        running.manager = Some(manager);
    }

    async fn end(&self, slot: &mut Option<Running>) {
        self.manager.store(None);
        let Some(running) = slot.take() else { return };
        if let Some(manager) = running.manager {
            manager.shutdown().await;
        }
        running.stop.cancel();
        for task in running.tasks {
            // A task that panicked has been logged.
            let _ = task.await;
        }
    }

    fn forget_raft(&self) -> Result<(), Failure> {
        let directory = self.raft_directory();
        match std::fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Failure::new(FailureKind::Internal, error.to_string()).during(format!("could not remove `{}`", directory.display())))
            }
            _ => Ok(()),
        }
    }

    fn founding(request: &v1::SwarmInitRequest, settings: &NodeSettings, description: v1::NodeDescription) -> Result<Founding, Failure> {
        let malformed = |e: convert::Malformed| Failure::from_error(FailureKind::InvalidArgument, &e);
        let mut founding = Founding::new(description, settings.advertised.to_string());
        founding.availability = convert::availability(request.availability);
        if !request.default_address_pools.is_empty() {
            let pools = request.default_address_pools.iter().map(|pool| convert::prefix("default-addr-pool", pool));
            founding.default_address_pools = pools.collect::<Result<_, _>>().map_err(malformed)?;
        }
        if let Some(pool) = &request.vtep_pool {
            founding.vtep_pool = convert::prefix("vtep-pool", pool).map_err(malformed)?;
        }
        let port = |wire: u32, name: &str| {
            u16::try_from(wire).map_err(|_| Failure::new(FailureKind::InvalidArgument, format!("{name}: {wire} is not a port")))
        };
        if request.data_path_port != 0 {
            founding.data_path_port = port(request.data_path_port, "data-path-port")?;
        }
        if request.encrypted_port != 0 {
            founding.encrypted_port = port(request.encrypted_port, "encrypted-port")?;
        }
        if request.subnet_length != 0 {
            founding.subnet_length = u8::try_from(request.subnet_length)
                .map_err(|_| Failure::new(FailureKind::InvalidArgument, "default-addr-pool-mask-length: longer than an address"))?;
        }
        if request.certificate_life_s != 0 {
            founding.certificate_life = Duration::from_secs(request.certificate_life_s);
        }
        Ok(founding)
    }
}

/// The deliberate bug that the environment asks for, with which tests prove that they would find it.
fn planted_bug() -> Planted {
    let bug = std::env::var("RCON_PLANTED_BUG").unwrap_or_default();
    if !bug.is_empty() {
        error!(bug, "a bug is planted in this daemon (RCON_PLANTED_BUG): it loses data or reads stale");
    }
    Planted { acknowledge_before_fsync: bug == "acknowledge-before-fsync", read_without_quorum: bug == "read-without-quorum" }
}

/// Binds 2377/tcp, with an error that says what to do about a busy port.
async fn listen_at(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::new(FailureKind::FailedPrecondition, error.to_string())
            .during(format!("could not listen on {address}"))
            .hint("another process may have the port (`ss -ltnp`); choose one with --listen-addr")
    })
}

impl LocalManager for Node {
    fn channel(&self) -> Option<Channel> {
        self.manager.load().as_deref().cloned()
    }
}

#[tonic::async_trait]
impl ClusterSide for Node {
    async fn found(
        &self,
        request: &v1::SwarmInitRequest,
        settings: &NodeSettings,
        description: v1::NodeDescription,
    ) -> Result<Founded, Failure> {
        let mut slot = self.running.lock().await;
        self.end(&mut slot).await;
        // What an interrupted founding left.
        self.forget_raft()?;
        let key = self.store.node_key()?;
        let proven = RequestedKey::from_request(&key.certificate_request()?)?;
        let founding = Self::founding(request, settings, description)?;
        let founded = initial_transaction(&founding, &proven, std::time::SystemTime::now())?;
        let membership = Membership { key, certificate: founded.certificate.clone(), roots: founded.roots.clone() };
        let identity = Arc::new(Identity::new(membership)?);
        let mut running = self.open(identity.clone(), settings.listen).await?;
        let options = self.raft_options(&identity, settings);
        let begun = Consensus::bootstrap(options, identity.clone(), &running.gates.raft, founded.txn).await;
        let begun = begun.map_err(Failure::from).and_then(|consensus| {
            // From here on the cluster exists: a restart finds both, or neither.
            self.store.install(&founded.certificate, &founded.roots)?;
            Ok(consensus)
        });
        match begun {
            Ok(consensus) => self.lead(&mut running, consensus),
            Err(failure) => {
                self.end(&mut Some(running)).await;
                return Err(failure);
            }
        }
        *slot = Some(running);
        Ok(Founded { identity, worker_token: founded.worker_token.reveal() })
    }

    async fn serve(&self, identity: Arc<Identity>, settings: &NodeSettings, entry: Entry) -> Result<(), Failure> {
        let mut slot = self.running.lock().await;
        self.end(&mut slot).await;
        let mut running = self.open(identity.clone(), settings.listen).await?;
        let options = self.raft_options(&identity, settings);
        let exists = Consensus::exists(&self.raft_directory());
        let consensus = match entry {
            Entry::Worker => {
                *slot = Some(running);
                // A manager that was demoted while it was down, or a moment ago.
                return self.forget_raft();
            }
            Entry::Manager | Entry::NewManager { .. } if exists => Consensus::open(options, identity, &running.gates.raft).await,
            Entry::NewManager { managers } => Consensus::join(options, identity, &running.gates.raft, &managers).await,
            Entry::Manager => {
                self.end(&mut Some(running)).await;
                return Err(Failure::new(FailureKind::FailedPrecondition, "this node is a manager, but its Raft log is gone").hint(
                    "remove the node on another manager (`rconctl node rm --force`), `rconctl swarm leave --force` here, and join again",
                ));
            }
        };
        match consensus {
            Ok(consensus) => self.lead(&mut running, consensus),
            Err(error) => {
                self.end(&mut Some(running)).await;
                return Err(error.into());
            }
        }
        *slot = Some(running);
        Ok(())
    }

    async fn resign(&self) -> Result<(), Failure> {
        let slot = self.running.lock().await;
        let Some(Running { manager: Some(manager), identity, .. }) = slot.as_ref() else { return Ok(()) };
        if identity.role() != Role::Manager {
            warn!("a worker has a manager running");
        }
        manager.consensus().remove_manager(identity.own().node_id).await.map_err(Failure::from)
    }

    async fn stop(&self, forget: bool) -> Result<(), Failure> {
        let mut slot = self.running.lock().await;
        self.end(&mut slot).await;
        if forget { self.forget_raft() } else { Ok(()) }
    }
}
