//! A container's networks: endpoints leased from the cluster, put into the kernel by the reconcile loop, given back at the end.
//!
//! A lease that was asked for and never written down, because the agent was killed in between, shows in the assignments as an endpoint
//! of this node that no container holds: [`Networking::tidy`] gives it back. What is interrupted on the way out is found there too.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use rcon_engine::{NetworkFiles, NetworkNamespace};
use rcon_net::HostNet;
use rcon_proto::{convert, v1};
use rcon_types::{ContainerId, ContainerName, EndpointId, Failure, FailureKind, NetworkId};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tracing::{debug, warn};

use crate::{
    attachments::{Attached, Attachments, ContainerNetworks, Requested},
    desired,
    ledger::Ledger,
    limits,
    link::ManagerLink,
    reconcile::{Pass, TunnelWish},
    requests,
    tunnel_watch::TunnelWatch,
    view,
};

/// What a container needs to start.
#[derive(Debug)]
pub struct SetUp {
    /// Its namespace, with its interfaces in it.
    pub namespace: NetworkNamespace,
    /// Its `/etc/hosts` and `/etc/resolv.conf`.
    pub files: NetworkFiles,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// Keeps tidying hands off until the container runs.
    pub starting: Starting,
}

/// A container between its networks and its process; dropped when it runs, or does not.
#[derive(Debug)]
pub struct Starting {
    container: ContainerId,
    all: Arc<Mutex<BTreeSet<ContainerId>>>,
}

impl Drop for Starting {
    fn drop(&mut self) {
        lock(&self.all).remove(&self.container);
    }
}

fn lock(all: &Mutex<BTreeSet<ContainerId>>) -> MutexGuard<'_, BTreeSet<ContainerId>> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A container that has joined one network.
#[derive(Debug)]
pub struct Joined {
    /// Its place there.
    pub endpoint: v1::EndpointView,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// What the networks of containers are made with.
pub struct NetworkingParts {
    /// The hands.
    pub net: HostNet,
    /// What the cluster wants.
    pub ledger: Arc<Ledger>,
    /// What the containers hold.
    pub attachments: Arc<Attachments>,
    /// What the reconcile loop came to.
    pub passes: watch::Receiver<Pass>,
    /// Who has shaken hands with whom.
    pub tunnel: TunnelWatch,
    /// Asks the reconcile loop for a tunnel.
    pub tunnel_wish: Arc<TunnelWish>,
}

/// The networks of this host's containers.
pub struct Networking {
    net: HostNet,
    pub(crate) ledger: Arc<Ledger>,
    attachments: Arc<Attachments>,
    pub(crate) passes: watch::Receiver<Pass>,
    pub(crate) tunnel: TunnelWatch,
    tunnel_wish: Arc<TunnelWish>,
    link: ArcSwapOption<ManagerLink>,
    starting: Arc<Mutex<BTreeSet<ContainerId>>>,
}

/// A container on its way into a network.
#[derive(Clone, Copy)]
struct Joining<'a> {
    container: ContainerId,
    name: &'a ContainerName,
    requested: &'a Requested,
    endpoint_id: EndpointId,
}

impl Networking {
    /// The networking of a host that is in no cluster yet.
    #[must_use]
    pub fn new(parts: NetworkingParts) -> Self {
        let NetworkingParts { net, ledger, attachments, passes, tunnel, tunnel_wish } = parts;
        Self { net, ledger, attachments, passes, tunnel, tunnel_wish, link: ArcSwapOption::empty(), starting: Arc::default() }
    }

    /// Says how the managers are reached from now on.
    pub fn set_link(&self, link: Option<Arc<ManagerLink>>) {
        self.link.store(link);
    }

    fn link(&self, network: &str) -> Result<Arc<ManagerLink>, Failure> {
        self.link.load_full().ok_or_else(|| {
            Failure::new(FailureKind::NotFound, format!("there is no network `{network}`"))
                .hint("networks between hosts need a cluster: `rconctl swarm init` or `rconctl swarm join`")
        })
    }

    /// What the user asked for, checked as far as this host can.
    ///
    /// # Errors
    /// See [`requests::parse`].
    pub fn parse(&self, wire: Vec<v1::NetworkAttachment>) -> Result<Vec<Requested>, Failure> {
        requests::parse(wire)
    }

    /// Says before anything is made that a network is not there or takes no containers.
    ///
    /// # Errors
    /// When that is so, or no manager can be asked.
    pub async fn check(&self, networks: &[Requested]) -> Result<(), Failure> {
        for requested in networks {
            let asked = v1::FindNetworkRequest { network: requested.network.clone() };
            let link = self.link(&requested.network)?;
            let found =
                link.ask("for the network", asked, |mut manager, request| async move { manager.find_network(request).await }).await?;
            let spec = found.network.and_then(|network| network.spec).unwrap_or_default();
            if !spec.attachable {
                return Err(requests::not_attachable(&requested.network));
            }
        }
        Ok(())
    }

    /// Makes a container's namespace and joins its networks.
    ///
    /// # Errors
    /// When one of them cannot be joined; nothing is left then.
    pub async fn set_up(&self, container: ContainerId, name: &ContainerName, networks: &[Requested]) -> Result<SetUp, Failure> {
        if !lock(&self.starting).insert(container) {
            return Err(Failure::new(FailureKind::Conflict, format!("container `{name}` is being started already")));
        }
        let starting = Starting { container, all: self.starting.clone() };
        let path = self.net.create_container_namespace(container).await.map_err(|e| e.failure())?;
        let mut set_up = SetUp { namespace: NetworkNamespace { path }, files: NetworkFiles::default(), warnings: Vec::new(), starting };
        for requested in networks {
            match self.connect(container, name, requested).await {
                Ok(joined) => {
                    set_up.warnings.extend(joined.warnings);
                    set_up.files.hosts.extend(view::addresses(&joined.endpoint).map(|address| (address, vec![name.to_string()])));
                }
                Err(failure) => {
                    self.tear_down(container).await;
                    return Err(failure);
                }
            }
        }
        if !networks.is_empty() {
            set_up.files.nameservers = vec![IpAddr::V4(rcon_netplan::DNS_ADDRESS)];
            set_up.files.options = vec!["ndots:0".to_owned()];
        }
        Ok(set_up)
    }

    /// Joins one more network; its interface is in the container's namespace when this returns.
    ///
    /// # Errors
    /// When the network is not there, takes no containers, the name or address is taken, or this host cannot carry it.
    pub async fn connect(&self, container: ContainerId, name: &ContainerName, requested: &Requested) -> Result<Joined, Failure> {
        let link = self.link(&requested.network)?;
        let endpoint_id = EndpointId::from_bytes(random()?);
        let asked = v1::AttachRequest {
            network: requested.network.clone(),
            endpoint_id: convert::id_bytes(endpoint_id),
            container_id: container.to_string(),
            name: name.to_string(),
            aliases: requested.aliases.clone(),
            ipv4: requested.ipv4.map(|a| convert::ip_bytes(a.into())).unwrap_or_default(),
            ipv6: requested.ipv6.map(|a| convert::ip_bytes(a.into())).unwrap_or_default(),
        };
        self.refuse_twice(container, name, requested)?;
        self.listen_first(&link, &requested.network).await?;
        let leased = link.ask("for an address", asked, |mut manager, request| async move { manager.attach(request).await }).await;
        let leased =
            leased.map_err(|failure| failure.during(format!("could not attach container `{name}` to network `{}`", requested.network)))?;
        let kept = self.keep(Joining { container, name, requested, endpoint_id }, &leased);
        let outcome = match kept {
            Ok(attached) => self.applied(&attached).await.map(|warnings| (attached, warnings)),
            Err(failure) => Err(failure),
        };
        match outcome {
            Ok((attached, warnings)) => {
                Ok(Joined { endpoint: view::endpoint(&self.ledger.current(), name, &container, &attached), warnings })
            }
            Err(failure) => {
                self.drop_endpoints(container, |attached| attached.endpoint_id == endpoint_id).await;
                self.release(vec![endpoint_id]).await;
                Err(failure)
            }
        }
    }

    /// Has this host take encrypted packets before the cluster tells the others of an endpoint here.
    async fn listen_first(&self, link: &ManagerLink, network: &str) -> Result<(), Failure> {
        if self.passes.borrow().tunnel_listens {
            return Ok(());
        }
        let asked = v1::FindNetworkRequest { network: network.to_owned() };
        let found = link.ask("for the network", asked, |mut manager, request| async move { manager.find_network(request).await }).await?;
        if !found.network.and_then(|network| network.spec).unwrap_or_default().encrypted {
            return Ok(());
        }
        self.tunnel_wish.ask();
        let mut passes = self.passes.clone();
        let listens = timeout(limits::APPLY, passes.wait_for(|pass| pass.tunnel_listens)).await.is_ok();
        if listens {
            return Ok(());
        }
        let why = self.passes.borrow().problems.first().map(|problem| problem.failure.clone());
        let why = why.unwrap_or_else(|| Failure::new(FailureKind::DeadlineExceeded, "the encrypted datapath did not start in time"));
        Err(why.during(format!("network `{network}` is encrypted, and this host cannot encrypt")))
    }

    fn refuse_twice(&self, container: ContainerId, name: &ContainerName, requested: &Requested) -> Result<(), Failure> {
        let held = self.attachments.get(&container).map(|networks| networks.attached).unwrap_or_default();
        if held.len() >= limits::NETWORKS_A_CONTAINER {
            let most = limits::NETWORKS_A_CONTAINER;
            return Err(Failure::new(
                FailureKind::ResourceExhausted,
                format!("container `{name}` is on {most} networks, which is the most"),
            ));
        }
        if held.iter().any(|attached| attached.network_name == requested.network || attached.network_id.to_string() == requested.network) {
            return Err(already_there(name, requested));
        }
        Ok(())
    }

    /// Writes down what the container holds from now on.
    fn keep(&self, joining: Joining<'_>, leased: &v1::AttachResponse) -> Result<Attached, Failure> {
        let Joining { container, name, requested, endpoint_id } = joining;
        let malformed =
            |error: convert::Malformed| Failure::from_error(FailureKind::Internal, &error).during("the manager's answer makes no sense");
        let network = leased.network.clone().unwrap_or_default();
        let mut attached = Attached {
            network_id: convert::id::<rcon_types::id::NetworkKind>("network", &network.id).map_err(malformed)?,
            network_name: network.spec.unwrap_or_default().name,
            endpoint_id,
            interface: 0,
            request: requested.clone(),
        };
        let changed = self.attachments.change(container, |entry| {
            let networks = entry.get_or_insert_with(|| ContainerNetworks { name: name.clone(), attached: Vec::new() });
            if networks.attached.iter().any(|other| other.network_id == attached.network_id) {
                return Err(already_there(name, requested));
            }
            let taken: BTreeSet<u8> = networks.attached.iter().map(|attached| attached.interface).collect();
            attached.interface = (0..=u8::MAX).find(|number| !taken.contains(number)).unwrap_or(u8::MAX);
            networks.attached.push(attached.clone());
            Ok(())
        });
        changed.map_err(|error| {
            Failure::new(FailureKind::Internal, error.to_string()).during("could not write down the container's networks")
        })??;
        Ok(attached)
    }

    /// Waits until the endpoint is in the kernel; returns what keeps it from being useful all the same.
    async fn applied(&self, attached: &Attached) -> Result<Vec<String>, Failure> {
        let mut passes = self.passes.clone();
        let there = timeout(limits::APPLY, passes.wait_for(|pass| pass.endpoints.contains(&attached.endpoint_id))).await.is_ok();
        if !there {
            let pass = self.passes.borrow().clone();
            let why = pass.problems_of(attached.network_id).next().map(|problem| problem.failure.clone());
            let message = format!("network `{}` could not be set up on this host", attached.network_name);
            return Err(match why {
                Some(failure) => failure.during(message),
                None => {
                    Failure::new(FailureKind::DeadlineExceeded, message).hint("`rconctl info` shows whether a manager answers this node")
                }
            });
        }
        let pass = self.passes.borrow().clone();
        let mut warnings: Vec<String> = pass
            .problems_of(attached.network_id)
            .map(|problem| format!("network `{}`: {}", attached.network_name, problem.failure.to_string().replace('\n', ";")))
            .collect();
        let mute = self.tunnel.without_handshake(&self.ledger.current(), attached.network_id, limits::HANDSHAKE).await;
        if !mute.is_empty() {
            warnings.push(format!("network `{}`: no encrypted session yet with {}", attached.network_name, mute.join(", ")));
        }
        Ok(warnings)
    }

    /// Leaves one network; returns its name as the container knew it, or nothing where it was not on it.
    ///
    /// # Errors
    /// When that cannot be written down.
    pub async fn disconnect(&self, container: ContainerId, network: &str) -> Result<Option<String>, Failure> {
        let is_it = |attached: &Attached| {
            attached.network_name == network || attached.network_id.to_string() == network || attached.request.network == network
        };
        let Some(held) = self.attachments.get(&container) else { return Ok(None) };
        let Some(attached) = held.attached.iter().find(|attached| is_it(attached)).cloned() else { return Ok(None) };
        self.drop_endpoints(container, |other| other.endpoint_id == attached.endpoint_id).await;
        self.gone_from_kernel(&[attached.endpoint_id]).await;
        self.release(vec![attached.endpoint_id]).await;
        Ok(Some(attached.request.network))
    }

    /// Takes down all networks of a container that has ended. Never fails: what is left is found by [`Networking::tidy`].
    pub async fn tear_down(&self, container: ContainerId) {
        let held = self.attachments.get(&container).map(|networks| networks.attached).unwrap_or_default();
        if let Err(error) = self.net.delete_container_namespace(container).await {
            warn!(%container, %error, "could not remove the network namespace; will try again");
        }
        if held.is_empty() {
            return;
        }
        let ids = held.iter().map(|attached| attached.endpoint_id).collect();
        self.drop_endpoints(container, |_| true).await;
        self.release(ids).await;
    }

    async fn drop_endpoints(&self, container: ContainerId, which: impl Fn(&Attached) -> bool) {
        let changed = self.attachments.change(container, |entry| {
            if let Some(networks) = entry {
                networks.attached.retain(|attached| !which(attached));
                if networks.attached.is_empty() {
                    *entry = None;
                }
            }
        });
        if let Err(error) = changed {
            warn!(%container, %error, "could not write down that a container left its networks");
        }
    }

    async fn gone_from_kernel(&self, endpoints: &[EndpointId]) {
        let mut passes = self.passes.clone();
        let gone = passes.wait_for(|pass| endpoints.iter().all(|endpoint| !pass.endpoints.contains(endpoint)));
        if timeout(limits::APPLY, gone).await.is_err() {
            warn!(?endpoints, "the kernel still has endpoints that were left");
        }
    }

    /// Gives leases back; a failure is no matter, the leases are orphans from now on.
    async fn release(&self, endpoints: Vec<EndpointId>) {
        let Some(link) = self.link.load_full() else { return };
        let asked = v1::DetachRequest { endpoint_ids: endpoints.iter().map(|id| convert::id_bytes(*id)).collect() };
        let answer = link.ask("to take addresses back", asked, |mut manager, request| async move { manager.detach(request).await }).await;
        if let Err(failure) = answer {
            debug!(failure = %failure.message, "leases stay until a manager answers");
        }
    }

    /// Gives back leases that no container has held for a while, and takes down what belongs to no living container.
    pub async fn tidy(&self, alive: impl Fn(&ContainerId) -> bool, interval: Duration) {
        let mut suspects: BTreeSet<EndpointId> = BTreeSet::new();
        let mut since = Instant::now();
        loop {
            for container in self.known_containers().into_iter().filter(|id| !alive(id)) {
                if !lock(&self.starting).contains(&container) {
                    self.tear_down(container).await;
                }
            }
            let now: BTreeSet<EndpointId> = desired::orphans(&self.ledger.current(), &self.attachments.table()).into_iter().collect();
            if now.is_empty() || !now.is_subset(&suspects) {
                (suspects, since) = (now, Instant::now());
            } else if since.elapsed() >= limits::LEASE_GRACE {
                self.release(now.into_iter().collect()).await;
            }
            tokio::time::sleep(interval).await;
        }
    }

    /// Containers that have a namespace or hold an endpoint.
    fn known_containers(&self) -> BTreeSet<ContainerId> {
        let mut known: BTreeSet<ContainerId> = self.attachments.table().keys().copied().collect();
        let directory = self.net.overlay_namespace();
        let entries = directory.parent().and_then(|path| std::fs::read_dir(path).ok()).into_iter().flatten().flatten();
        known.extend(entries.filter_map(|entry| entry.file_name().to_str()?.parse::<ContainerId>().ok()));
        known
    }

    /// The places of a container on its networks.
    #[must_use]
    pub fn endpoints(&self, container: ContainerId) -> Vec<v1::EndpointView> {
        let Some(networks) = self.attachments.get(&container) else { return Vec::new() };
        let set = self.ledger.current();
        networks.attached.iter().map(|attached| view::endpoint(&set, &networks.name, &container, attached)).collect()
    }

    /// The names of containers that hold an endpoint.
    #[must_use]
    pub fn attached_containers(&self) -> Vec<String> {
        self.attachments.table().values().map(|networks| networks.name.to_string()).collect()
    }

    /// What is wrong with a network on this host.
    #[must_use]
    pub fn problems(&self, network: NetworkId) -> Vec<Failure> {
        self.passes.borrow().problems_of(network).map(|problem| problem.failure.clone()).collect()
    }
}

fn already_there(name: &ContainerName, requested: &Requested) -> Failure {
    Failure::new(FailureKind::AlreadyExists, format!("container `{name}` is already on network `{}`", requested.network))
}

fn random() -> Result<[u8; 16], Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::new(FailureKind::Internal, error.to_string()).during("could not get random bytes"))?;
    Ok(bytes)
}
