//! The agent as one value: its parts, wired.

use std::{path::PathBuf, sync::Arc};

use rcon_engine::{Engine, EventKind};
use rcon_identity::IdentityStore;
use rcon_net::{Capabilities, HostNet};
use rcon_rpc::{
    Routes,
    v1::{
        containers_server::ContainersServer, host_networks_server::HostNetworksServer, images_server::ImagesServer,
        swarm_server::SwarmServer, system_server::SystemServer,
    },
};
use rcon_types::{ContainerId, Failure, FailureKind, Mtu, Revision};
use tokio::{
    sync::{broadcast::error::RecvError, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    api::{ContainersService, HostNetworksService, ImagesService, SwarmService, SystemService},
    attachments::Attachments,
    cluster_side::ClusterSide,
    file,
    helpers::Helper,
    host::Facts,
    ledger::Ledger,
    limits,
    membership::{Membership, Parts},
    names::NameServer,
    networking::{Networking, NetworkingParts},
    reconcile::{Pass, Reconciler, TunnelWish},
    tunnel_watch::TunnelWatch,
};

/// What an agent is made of.
pub struct AgentOptions {
    /// What survives a reboot.
    pub data_dir: PathBuf,
    /// What does not.
    pub run_dir: PathBuf,
    /// Containers and images; already open, so the data directory is this process's.
    pub engine: Engine,
    /// The hands of the host's network.
    pub net: HostNet,
    /// What they can do here.
    pub capabilities: Capabilities,
    /// What serves other nodes.
    pub side: Arc<dyn ClusterSide>,
    /// Keys and certificate.
    pub store: Arc<IdentityStore>,
    /// `1`, `2` or `hybrid`, for people.
    pub cgroup_version: String,
}

/// A running agent.
pub struct Agent {
    membership: Arc<Membership>,
    routes: Routes,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Agent {
    /// Starts the agent: repairs, resumes its place in the cluster, and reconciles from then on.
    ///
    /// # Errors
    /// When its files cannot be read, or it cannot serve where it must.
    pub async fn start(options: AgentOptions) -> Result<Self, Failure> {
        let AgentOptions { data_dir, run_dir, engine, net, capabilities, side, store, cgroup_version } = options;
        let internal =
            |what: &str, error: &dyn std::fmt::Display| Failure::new(FailureKind::Internal, error.to_string()).during(what.to_owned());
        let facts = Facts::read().map_err(|e| internal("could not ask the kernel for the host's name", &e))?;
        file::make_directory(&data_dir.join("agent")).map_err(|e| internal("could not make the agent's directory", &e))?;
        let ledger = Ledger::open(data_dir.join("agent/ledger")).map_err(|e| Failure::from_error(FailureKind::Internal, &e))?;
        let ledger = Arc::new(ledger);
        let attachments =
            Attachments::open(run_dir.join("endpoints")).map_err(|e| internal("could not read the containers' endpoints", &e))?;
        let attachments = Arc::new(attachments);
        let tunnel = Arc::new(tunnel_helper(&data_dir, &run_dir));
        let names = Arc::new(NameServer::new(&data_dir, &run_dir));
        let (passes, applied) = (watch::Sender::new(Pass::default()), watch::Sender::new(Revision(0)));
        let tunnel_wish = Arc::<TunnelWish>::default();
        let tunnel_watch = TunnelWatch::new(tunnel.clone());
        let networking = Arc::new(Networking::new(NetworkingParts {
            net: net.clone(),
            ledger: ledger.clone(),
            attachments: attachments.clone(),
            passes: passes.subscribe(),
            tunnel: tunnel_watch,
            tunnel_wish: tunnel_wish.clone(),
        }));
        let membership = Membership::new(Parts {
            data_dir: data_dir.clone(),
            store,
            ledger: ledger.clone(),
            networking: networking.clone(),
            side,
            applied: applied.subscribe(),
            net: net.clone(),
        });

        let stop = CancellationToken::new();
        let backend = capabilities.backend;
        let reconciler = Reconciler {
            net,
            capabilities,
            ledger: ledger.clone(),
            attachments,
            tunnel,
            private_key_file: data_dir.join("identity/wireguard.key"),
            names,
            passes: passes.clone(),
            applied,
            tunnel_wish,
            tunnel_needed: None,
        };
        let tasks = vec![
            tokio::spawn(ledger.clone().persist()),
            tokio::spawn(reconciler.run(stop.clone())),
            until(&stop, follow_containers(engine.clone(), networking.clone())),
            until(&stop, tidy(engine.clone(), networking.clone())),
        ];
        membership.resume().await?;
        let routes = Routes::new(SystemServer::new(SystemService {
            facts,
            data_dir,
            engine: engine.clone(),
            membership: membership.clone(),
            ledger,
            passes: passes.subscribe(),
            cgroup_version,
        }))
        .add_service(SwarmServer::new(SwarmService::new(membership.clone())))
        .add_service(ImagesServer::new(ImagesService::new(engine.clone())))
        .add_service(ContainersServer::new(ContainersService::new(engine, networking.clone())))
        .add_service(HostNetworksServer::new(HostNetworksService::new(networking, backend)));
        Ok(Self { membership, routes, stop, tasks })
    }

    /// What the agent serves on the local socket.
    #[must_use]
    pub fn routes(&self) -> Routes {
        self.routes.clone()
    }

    /// Tells the managers' addresses; nothing while this host is in no cluster.
    #[must_use]
    pub fn known_managers(&self) -> Box<dyn Fn() -> Option<Vec<String>> + Send + Sync> {
        let membership = self.membership.clone();
        Box::new(move || membership.view().map(|view| view.link.candidates().into_iter().map(|candidate| candidate.address).collect()))
    }

    /// Stops the agent; containers, networks, tunnel and names go on.
    pub async fn shut_down(self) {
        self.membership.shut_down().await;
        self.stop.cancel();
        for task in self.tasks {
            task.abort();
            // Cancelled, or panicked and logged.
            let _ = task.await;
        }
    }
}

fn until(stop: &CancellationToken, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    let stop = stop.clone();
    tokio::spawn(async move { stop.run_until_cancelled_owned(task).await.unwrap_or(()) })
}

fn tunnel_helper(data_dir: &std::path::Path, run_dir: &std::path::Path) -> Helper {
    let socket = run_dir.join("tunnel.sock");
    let text = |path: PathBuf| path.display().to_string();
    let arguments = vec![
        "--socket".to_owned(),
        text(socket.clone()),
        "--state".to_owned(),
        text(data_dir.join("tunnel/tables.json")),
        "--namespace".to_owned(),
        text(run_dir.join("netns").join(rcon_netplan::names::OVERLAY_NAMESPACE)),
    ];
    Helper::new("tunnel", arguments, socket, run_dir)
}

/// Takes down the networks of containers as they end.
async fn follow_containers(engine: Engine, networking: Arc<Networking>) {
    let mut events = engine.events();
    loop {
        match events.recv().await {
            Ok(event) if matches!(event.kind, EventKind::Exited(_) | EventKind::Removed) => networking.tear_down(event.id).await,
            Ok(_) => {}
            Err(RecvError::Lagged(missed)) => warn!(missed, "missed events of containers; the next tidying up finds what ended"),
            Err(RecvError::Closed) => return,
        }
    }
}

/// Now and then, and first of all after a start: what belongs to no living container goes.
async fn tidy(engine: Engine, networking: Arc<Networking>) {
    let alive = |container: &ContainerId| engine.inspect(*container).is_ok_and(|record| record.is_alive());
    networking.tidy(alive, limits::TIDY).await;
}

/// The MTU of the interface that has an address of this host.
pub(crate) async fn underlay_mtu(net: &HostNet, address: std::net::IpAddr) -> Result<Mtu, Failure> {
    match net.underlay(address).await.map_err(|e| e.failure())? {
        Some(underlay) => Ok(underlay.mtu),
        None => Err(Failure::new(FailureKind::FailedPrecondition, format!("no interface of this host has the address {address}"))
            .hint("bring the interface up again, or join again with another --data-path-addr")),
    }
}
