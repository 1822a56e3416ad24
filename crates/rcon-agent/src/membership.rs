//! This host's place in a cluster: founding one, joining one, leaving it, and being there again after a restart.
//!
//! Whatever fails on the way in leaves the host outside, as it was; whatever is interrupted is finished or undone by the next try.

use std::{path::PathBuf, sync::Arc};

use rcon_identity::{CertificateChain, Identity, IdentityStore, JoinToken, RootBundle};
use rcon_net::HostNet;
use rcon_proto::{convert, v1};
use rcon_rpc::{status_to_failure, tonic::Request, v1::certificate_authority_client::CertificateAuthorityClient};
use rcon_types::{Failure, FailureKind, Revision, Role};
use tokio::{
    sync::{Mutex, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    address::{self, AddressError, Interfaces},
    agent::underlay_mtu,
    cluster_side::{ClusterSide, Entry},
    host::Facts,
    ledger::Ledger,
    limits,
    link::ManagerLink,
    networking::Networking,
    role,
    session::Session,
    settings::NodeSettings,
};

/// What a membership is made with.
pub struct Parts {
    /// Where identity and settings are kept.
    pub data_dir: PathBuf,
    /// The node's keys and certificate.
    pub store: Arc<IdentityStore>,
    /// The node's assignments.
    pub ledger: Arc<Ledger>,
    /// The containers' networks, told of the way to the managers.
    pub networking: Arc<Networking>,
    /// What serves other nodes.
    pub side: Arc<dyn ClusterSide>,
    /// The revision that the kernel follows.
    pub applied: watch::Receiver<Revision>,
    /// Knows the host's interfaces.
    pub net: HostNet,
}

/// This host's place in a cluster, or its being outside.
pub struct Membership {
    parts: Parts,
    active: Mutex<Option<Active>>,
    view: watch::Sender<Option<View>>,
}

/// A running membership.
struct Active {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

/// What others may know of a running membership.
#[derive(Clone)]
pub struct View {
    /// This node.
    pub identity: Arc<Identity>,
    /// Its addresses.
    pub settings: NodeSettings,
    /// Its way to the managers.
    pub link: Arc<ManagerLink>,
    /// Whether a manager said that this node is not a member.
    pub removed: watch::Receiver<bool>,
    /// Why this node does not serve the cluster, while it does not.
    pub trouble: watch::Receiver<Option<Failure>>,
}

fn refused(error: &AddressError) -> Failure {
    Failure::from_error(FailureKind::InvalidArgument, error).hint(error.hint())
}

impl Membership {
    /// The membership of a host; call [`Membership::resume`] next.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self { parts, active: Mutex::new(None), view: watch::Sender::new(None) })
    }

    /// The running membership.
    #[must_use]
    pub fn view(&self) -> Option<View> {
        self.view.borrow().clone()
    }

    /// Takes the place again that the host had before a restart.
    ///
    /// # Errors
    /// When its files make no sense, or it cannot serve where it must.
    pub async fn resume(self: &Arc<Self>) -> Result<(), Failure> {
        let mut active = self.active.lock().await;
        let Some(kept) = self.parts.store.load().map_err(Failure::from)? else { return Ok(()) };
        let settings = NodeSettings::load(&self.parts.data_dir)?.ok_or_else(|| {
            Failure::new(FailureKind::Internal, "this node has a certificate but not its addresses")
                .hint("`rconctl swarm leave --force`, then join again")
        })?;
        let identity = Arc::new(Identity::new(kept).map_err(Failure::from)?);
        let entry = if identity.role() == Role::Manager { Entry::Manager } else { Entry::Worker };
        // A busy port or a damaged log must not take the containers' agent down with it; the follower tries again.
        let unserved = match self.parts.side.serve(identity.clone(), &settings, entry.clone()).await {
            Ok(()) => None,
            Err(failure) => {
                error!(%failure, "this node does not serve the cluster");
                Some((entry, failure))
            }
        };
        *active = Some(self.start(identity, settings, unserved).await?);
        Ok(())
    }

    /// Makes a cluster with this host as its first manager.
    ///
    /// # Errors
    /// When the host is in one, the addresses cannot be, or the port is busy.
    pub async fn init(self: &Arc<Self>, request: v1::SwarmInitRequest) -> Result<v1::SwarmInitResponse, Failure> {
        let mut active = self.active.lock().await;
        self.require_outside(active.is_some())?;
        let settings = addresses(&request.advertise_addr, &request.listen_addr, &request.data_path_addr)?;
        let description = self.describe(&settings).await?;
        settings.store(&self.parts.data_dir)?;
        let founded = match self.parts.side.found(&request, &settings, description).await {
            Ok(founded) => founded,
            Err(failure) => {
                self.undo().await;
                return Err(failure.during("could not create the cluster"));
            }
        };
        let node = founded.identity.own().node_id;
        info!(%node, cluster = %founded.identity.own().cluster_id, "cluster created");
        *active = Some(self.start(founded.identity, settings.clone(), None).await?);
        Ok(v1::SwarmInitResponse {
            node_id: convert::id_bytes(node),
            worker_token: founded.worker_token,
            manager_address: settings.advertised.to_string(),
        })
    }

    /// Joins a cluster.
    ///
    /// # Errors
    /// When the host is in one, the token is not of that cluster or not valid, nobody answers, or the host cannot serve.
    pub async fn join(self: &Arc<Self>, request: v1::SwarmJoinRequest) -> Result<v1::SwarmJoinResponse, Failure> {
        let mut active = self.active.lock().await;
        self.require_outside(active.is_some())?;
        let token: JoinToken = request.token.parse().map_err(|e: rcon_identity::IdentityError| Failure::from(e))?;
        let mut settings = addresses(&request.advertise_addr, &request.listen_addr, &request.data_path_addr)?;
        settings.managers = request.manager_addresses.clone();
        port_is_free(&settings).await?;
        let joined = self.ask_to_join(&token, &request, &settings).await?;
        if !joined.manager_addresses.is_empty() {
            settings.managers = joined.manager_addresses.clone();
        }
        settings.store(&self.parts.data_dir)?;
        let entered = self.enter(&joined, &settings).await;
        match entered {
            Ok(running) => {
                *active = Some(running);
                self.first_set().await;
            }
            Err(failure) => {
                self.undo().await;
                let hint = failure
                    .hint
                    .clone()
                    .unwrap_or_else(|| "the node may be listed as down: `rconctl node rm --force` removes it".to_owned());
                return Err(failure.during("was accepted by the cluster, but could not take part in it").hint(hint));
            }
        }
        Ok(v1::SwarmJoinResponse { node_id: joined.node_id, role: joined.role })
    }

    /// Waits until a manager has told this node its first assignments, so that the next command finds a member; not for ever.
    async fn first_set(&self) {
        let mut sets = self.parts.ledger.watch();
        if timeout(limits::FIRST_SET, sets.wait_for(|set| set.node.is_some())).await.is_err() {
            warn!("no manager has opened a session with this node yet; it will go on trying");
        }
    }

    async fn enter(self: &Arc<Self>, joined: &v1::JoinResponse, settings: &NodeSettings) -> Result<Active, Failure> {
        let certificate = pem(&joined.certificate_pem, CertificateChain::from_pem)?;
        let roots = pem(&joined.root_certificates_pem, RootBundle::from_pem)?;
        self.parts.store.install(&certificate, &roots).map_err(Failure::from)?;
        let kept = self.parts.store.load().map_err(Failure::from)?;
        let kept = kept.ok_or_else(|| Failure::new(FailureKind::Internal, "the certificate is not on disk"))?;
        let identity = Arc::new(Identity::new(kept).map_err(Failure::from)?);
        let entry = match identity.role() {
            Role::Manager => Entry::NewManager { managers: settings.managers.clone() },
            Role::Worker => Entry::Worker,
        };
        self.parts.side.serve(identity.clone(), settings, entry).await?;
        info!(node = %identity.own().node_id, role = %identity.role(), "joined the cluster");
        self.start(identity, settings.clone(), None).await
    }

    async fn ask_to_join(
        &self,
        token: &JoinToken,
        request: &v1::SwarmJoinRequest,
        settings: &NodeSettings,
    ) -> Result<v1::JoinResponse, Failure> {
        let key = self.parts.store.node_key().map_err(Failure::from)?;
        let asked = v1::JoinRequest {
            token_secret: token.secret().as_bytes().to_vec().into(),
            csr: key.certificate_request().map_err(Failure::from)?.into(),
            description: Some(self.describe(settings).await?),
            availability: request.availability,
            request_id: key.request_id().to_vec().into(),
        };
        let mut last =
            Failure::new(FailureKind::InvalidArgument, "no manager to join was named").hint("rconctl swarm join --token TOKEN HOST:2377");
        for address in &settings.managers {
            let parsed =
                address.parse().map_err(|e: rcon_rpc::address::ParseAddressError| Failure::from_error(FailureKind::InvalidArgument, &e))?;
            let channel = rcon_rpc::connect_joining(&parsed, token).map_err(Failure::from)?;
            let mut asked = Request::new(asked.clone());
            asked.set_timeout(limits::MANAGER_CALL);
            match CertificateAuthorityClient::new(channel).join(asked).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => {
                    let failure = status_to_failure(status);
                    let kind = failure.kind;
                    last = failure.during(format!("could not join the cluster through `{address}`"));
                    if !matches!(kind, FailureKind::Unavailable | FailureKind::DeadlineExceeded) {
                        break;
                    }
                }
            }
        }
        Err(last)
    }

    /// Leaves the cluster.
    ///
    /// # Errors
    /// When the host is in none, or, without `force`, it is a manager, has containers on the cluster's networks, or no manager answers.
    pub async fn leave(self: &Arc<Self>, force: bool) -> Result<(), Failure> {
        let mut active = self.active.lock().await;
        let view = self.view();
        if view.is_none() && !(force && self.has_remains()) {
            return Err(Failure::new(FailureKind::FailedPrecondition, "this node is not part of a cluster"));
        }
        if let Some(view) = &view {
            if !force {
                self.may_leave(view)?;
            }
            let goodbye = self.say_goodbye(view, force).await;
            match goodbye {
                Err(failure) if !force => return Err(failure),
                Err(failure) => warn!(failure = %failure.message, "leaving without the cluster's consent"),
                Ok(()) => {}
            }
        }
        if let Some(running) = active.take() {
            running.end().await;
        }
        self.view.send_replace(None);
        self.undo().await;
        info!("left the cluster");
        Ok(())
    }

    fn may_leave(&self, view: &View) -> Result<(), Failure> {
        if view.identity.role() == Role::Manager {
            return Err(Failure::new(FailureKind::FailedPrecondition, "this node is a manager, and the cluster may need its vote")
                .hint("`rconctl node demote` it first, or `rconctl swarm leave --force`"));
        }
        let attached = self.parts.networking.attached_containers();
        if attached.is_empty() {
            return Ok(());
        }
        Err(Failure::new(FailureKind::FailedPrecondition, format!("containers are on the cluster's networks: {}", attached.join(", ")))
            .hint("stop or disconnect them, or `rconctl swarm leave --force`"))
    }

    async fn say_goodbye(&self, view: &View, force: bool) -> Result<(), Failure> {
        if view.identity.role() == Role::Manager {
            self.parts.side.resign().await?;
        }
        let asked = v1::LeaveRequest { force };
        view.link.ask("to let this node go", asked, |mut manager, request| async move { manager.leave(request).await }).await?;
        Ok(())
    }

    fn has_remains(&self) -> bool {
        !matches!(self.parts.store.load(), Ok(None)) || !matches!(NodeSettings::load(&self.parts.data_dir), Ok(None))
    }

    /// Brings the host outside again. Each part is tried even when another fails.
    async fn undo(&self) {
        self.parts.networking.set_link(None);
        if let Err(failure) = self.parts.side.stop(true).await {
            warn!(%failure, "could not clean up the manager's files");
        }
        if let Err(error) = self.parts.store.forget() {
            warn!(%error, "could not remove the identity");
        }
        for (what, outcome) in [("ledger", self.parts.ledger.clear()), ("settings", NodeSettings::remove(&self.parts.data_dir))] {
            if let Err(error) = outcome {
                warn!(%error, "could not remove the {what}");
            }
        }
    }

    /// Starts what a member runs: the session, and the follower of its certificate and role.
    async fn start(
        self: &Arc<Self>,
        identity: Arc<Identity>,
        settings: NodeSettings,
        unserved: Option<(Entry, Failure)>,
    ) -> Result<Active, Failure> {
        let parts = &self.parts;
        let stop = CancellationToken::new();
        let link = Arc::new(ManagerLink::new(identity.clone(), parts.ledger.clone(), parts.side.clone(), settings.managers.clone()));
        let description = watch::Sender::new(self.describe(&settings).await?);
        let removed = watch::Sender::new(false);
        let (entry, trouble) = unserved.unzip();
        let trouble = watch::Sender::new(trouble);
        let view = View { identity, settings, link: link.clone(), removed: removed.subscribe(), trouble: trouble.subscribe() };
        let session = Session {
            link: link.clone(),
            ledger: parts.ledger.clone(),
            applied: parts.applied.clone(),
            description: description.subscribe(),
            removed,
        };
        let follower = role::Follower {
            view: view.clone(),
            ledger: parts.ledger.clone(),
            store: parts.store.clone(),
            side: parts.side.clone(),
            unserved: entry,
            trouble,
        };
        let membership = self.clone();
        let settings = view.settings.clone();
        let watcher = async move {
            let changed = |now: &v1::NodeDescription| *description.borrow() != *now;
            let mut ticks = tokio::time::interval(limits::RESYNC);
            loop {
                ticks.tick().await;
                if let Ok(now) = membership.describe(&settings).await
                    && changed(&now)
                {
                    description.send_replace(now);
                }
            }
        };
        parts.networking.set_link(Some(link));
        self.view.send_replace(Some(view));
        let until = |stop: &CancellationToken, task: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
            let stop = stop.clone();
            tokio::spawn(async move { stop.run_until_cancelled(task).await.unwrap_or(()) })
        };
        let tasks = vec![tokio::spawn(session.run(stop.clone())), until(&stop, Box::pin(follower.run())), until(&stop, Box::pin(watcher))];
        Ok(Active { stop, tasks })
    }

    async fn describe(&self, settings: &NodeSettings) -> Result<v1::NodeDescription, Failure> {
        let facts = Facts::read()
            .map_err(|e| Failure::new(FailureKind::Internal, e.to_string()).during("could not ask the kernel for the host's name"))?;
        let mtu = underlay_mtu(&self.parts.net, settings.data_address).await?;
        let key = self.parts.store.wireguard_key().map_err(Failure::from)?;
        Ok(facts.describe(settings.advertised, settings.data_address, mtu, key.public_bytes()))
    }

    fn require_outside(&self, active: bool) -> Result<(), Failure> {
        if active || !matches!(self.parts.store.load(), Ok(None)) {
            return Err(Failure::new(FailureKind::FailedPrecondition, "this node is already part of a cluster")
                .hint("`rconctl swarm leave` first, to join another one"));
        }
        Ok(())
    }

    /// Ends what runs; the place in the cluster stays. For the end of the process.
    pub async fn shut_down(&self) {
        if let Some(running) = self.active.lock().await.take() {
            running.end().await;
        }
        if let Err(failure) = self.parts.side.stop(false).await {
            warn!(%failure, "the manager did not stop cleanly");
        }
    }
}

impl Active {
    async fn end(self) {
        self.stop.cancel();
        for task in self.tasks {
            // A task that panicked has been logged.
            let _ = task.await;
        }
    }
}

/// The node's addresses from what was typed.
fn addresses(advertise: &str, listen: &str, data_path: &str) -> Result<NodeSettings, Failure> {
    let interfaces: Interfaces = address::interfaces()
        .map_err(|e| Failure::new(FailureKind::Internal, e.to_string()).during("could not list the host's interfaces"))?;
    let advertised = address::advertised(advertise, &interfaces).map_err(|e| refused(&e))?;
    let listen = address::listening(listen, advertised).map_err(|e| refused(&e))?;
    let data_address = match data_path {
        "" => advertised.ip(),
        text => address::advertised(text, &interfaces).map_err(|e| refused(&e))?.ip(),
    };
    if !interfaces.values().flatten().any(|address| *address == data_address) && !data_address.is_loopback() {
        return Err(Failure::new(FailureKind::InvalidArgument, format!("this host does not have the address {data_address}"))
            .hint("packets between containers need an address of this host: give --data-path-addr"));
    }
    Ok(NodeSettings { advertised, listen, data_address, managers: Vec::new() })
}

/// Says early, before the cluster is asked, that the port cannot be had.
async fn port_is_free(settings: &NodeSettings) -> Result<(), Failure> {
    let bound = tokio::net::TcpListener::bind(settings.listen).await;
    bound.map(drop).map_err(|error| {
        Failure::new(FailureKind::FailedPrecondition, error.to_string())
            .during(format!("could not listen on {}", settings.listen))
            .hint("another process may have the port (`ss -ltnp`); choose one with --listen-addr")
    })
}

fn pem<T>(bytes: &[u8], parse: impl Fn(&str) -> Result<T, rcon_identity::IdentityError>) -> Result<T, Failure> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| Failure::new(FailureKind::Internal, "the manager answered with a malformed certificate"))?;
    parse(text).map_err(Failure::from)
}
