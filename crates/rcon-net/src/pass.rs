//! One pass: what is wanted, against what is there or believed to be there, carried out.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::{Path, PathBuf},
};

use rcon_netplan::{Action, EncryptedBackend, HostFacts, HostNetwork, KernelState, Namespace, Scope, Wanted, kernel::NamespaceState, plan};
use rcon_packet::control::Tables;
use rcon_types::{ContainerId, Failure, FailureKind, NetworkId, Revision};

use crate::{
    NetError, Options, Problem, Report, WireguardPeer,
    execute::{Hands, Outcome},
    firewall,
    foreign::ForeignFirewall,
    handle::Handle,
    host_net::overlay_namespace,
    namespace, observe, tunnel_tables, wireguard,
};

/// The network as this process holds it between passes.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) hands: Hands,
    directory: PathBuf,
    options: Options,
    /// What the kernel's WireGuard was told last.
    peers: Option<Tables>,
    foreign: ForeignFirewall,
    /// What the kernel looks like if nobody else touched it; `None` after a failure.
    belief: Option<Belief>,
    passes: u64,
    /// Counts the namespaces of all overlays that were opened: whoever listens to the last one must listen anew.
    pub(crate) overlays_opened: u64,
}

#[derive(Debug)]
struct Belief {
    facts: HostFacts,
    state: KernelState,
}

impl Network {
    /// Of the calling thread's namespace.
    pub(crate) fn new(directory: &Path, options: Options) -> Result<Self, NetError> {
        Ok(Self {
            hands: Hands::new()?,
            directory: directory.to_path_buf(),
            options,
            peers: None,
            foreign: ForeignFirewall::default(),
            belief: None,
            passes: 0,
            overlays_opened: 0,
        })
    }

    /// Makes the kernel what `desired` says. What is believed to be there is not looked at, unless `full` or a step failed.
    pub(crate) fn pass(&mut self, desired: &HostNetwork, full: bool) -> Result<Report, NetError> {
        if full {
            self.belief = None;
        }
        self.passes += 1;
        let (mut report, trusting) = self.attempt(desired)?;
        if !report.applied && trusting {
            let steps = report.steps;
            report = self.attempt(desired)?.0;
            report.steps += steps;
        }
        Ok(report)
    }

    /// Drops what holds a container's namespace open.
    pub(crate) fn forget(&mut self, container: ContainerId) {
        self.hands.containers.remove(&container);
        self.hands.redirected.remove(&container);
        if let Some(belief) = &mut self.belief {
            belief.state.namespaces.remove(&Namespace::Container(container));
        }
    }

    /// Removes everything of ours.
    pub(crate) fn destroy(&mut self) -> Result<(), NetError> {
        let report = self.pass(&HostNetwork::default(), true)?;
        self.hands.overlay = None;
        self.hands.containers.clear();
        self.belief = None;
        namespace::remove(&overlay_namespace(&self.directory))?;
        match report.problems.into_iter().next() {
            Some(problem) => Err(NetError::Remains { failure: problem.failure }),
            None => Ok(()),
        }
    }

    /// One attempt, and whether it trusted a belief.
    fn attempt(&mut self, desired: &HostNetwork) -> Result<(Report, bool), NetError> {
        let mut problems = Vec::new();
        self.open_overlay()?;
        let desired = self.open_containers(desired, &mut problems);
        let trusting = self.belief.is_some();
        let facts = match &self.belief {
            Some(belief) => belief.facts.clone(),
            None => observe::facts(&mut self.hands.host)?,
        };
        let wanted = Wanted::of(&desired, &facts);
        let observed = self.observe(&wanted)?;
        let steps = plan(&wanted, &observed);
        let mut outcome = self.hands.execute(&steps, &wanted, &overlay_namespace(&self.directory));
        if let Err(error) = self.push_peers(&desired, trusting) {
            outcome.failed.push((Scope::Encrypted, error));
        }
        let applied = outcome.failed.is_empty();
        if steps.iter().any(|step| step.action == Action::CreateNamespace) {
            self.overlays_opened += 1;
        }
        let encrypted = wanted.encrypted;
        self.belief = applied.then_some(Belief { facts, state: wanted.state });
        let steps = outcome.done;
        add_failures(outcome, &encrypted, &mut problems);
        add_gaps(&desired, &mut problems);
        if !trusting {
            self.foreign.look(&mut self.hands.host, &desired);
        }
        problems.extend(self.foreign.problems(&desired));
        Ok((Report { pass: self.passes, steps, applied, problems }, trusting))
    }

    /// Tells the kernel's WireGuard its peers, where it is the backend: when they changed, or when nothing is trusted.
    fn push_peers(&mut self, desired: &HostNetwork, trusting: bool) -> Result<(), NetError> {
        let kernel = desired.node.backend == EncryptedBackend::Kernel;
        let tables = tunnel_tables(desired, Revision(0), &self.options.private_key_file).filter(|_| kernel);
        if trusting && self.peers == tables {
            return Ok(());
        }
        if let (Some(tables), Some(overlay)) = (&tables, &self.hands.overlay) {
            wireguard::configure(overlay, tables)?;
        }
        self.peers = tables;
        Ok(())
    }

    /// What the kernel's WireGuard knows of its peers; none, where it is not the backend.
    pub(crate) fn wireguard_peers(&self) -> Result<Vec<WireguardPeer>, NetError> {
        match (&self.peers, &self.hands.overlay) {
            (Some(_), Some(overlay)) => wireguard::peers(overlay),
            _ => Ok(Vec::new()),
        }
    }

    /// The namespace of all overlays, where it exists; made anew by somebody else, it is another one.
    fn open_overlay(&mut self) -> Result<(), NetError> {
        let path = overlay_namespace(&self.directory);
        if self.hands.overlay.as_ref().is_some_and(|handle| handle.is(&path)) {
            return Ok(());
        }
        if self.hands.overlay.take().is_some() {
            self.belief = None;
        }
        self.hands.firewall.forget(Namespace::Overlay);
        if namespace::exists(&path) {
            self.hands.overlay = Some(Handle::open(&path)?);
            self.overlays_opened += 1;
        }
        Ok(())
    }

    /// Opens the namespaces of containers; those that are not there are a problem of their networks, and left out.
    fn open_containers(&mut self, desired: &HostNetwork, problems: &mut Vec<Problem>) -> HostNetwork {
        let wanted = desired.containers();
        let stale: Vec<ContainerId> = self.hands.containers.keys().filter(|id| !wanted.contains(id)).copied().collect();
        stale.into_iter().for_each(|id| self.forget(id));
        let mut missing: HashMap<ContainerId, Failure> = HashMap::new();
        for id in wanted {
            let path = self.directory.join(id.to_string());
            if self.hands.containers.get(&id).is_some_and(|handle| handle.is(&path)) {
                continue;
            }
            self.forget(id);
            let opened = if namespace::exists(&path) { Handle::open(&path).map_err(|error| error.failure()) } else { Err(no_namespace()) };
            match opened {
                Ok(handle) => {
                    self.hands.containers.insert(id, handle);
                }
                Err(failure) => {
                    missing.insert(id, failure);
                }
            }
        }
        for (network, spec) in &desired.networks {
            let lost = spec.local.values().filter_map(|endpoint| Some((endpoint.container, missing.get(&endpoint.container)?)));
            problems.extend(lost.map(|(id, failure)| Problem {
                network: Some(*network),
                failure: failure.clone().during(format!("could not connect container {}", id.short())),
            }));
        }
        desired.clone().only_containers(|id| !missing.contains_key(&id))
    }

    /// What is there: looked at, or believed where that is allowed and known.
    fn observe(&mut self, wanted: &Wanted) -> Result<KernelState, NetError> {
        let mut believed = self.belief.take().map(|belief| belief.state).unwrap_or_default();
        let ids: Vec<ContainerId> = self.hands.containers.keys().copied().collect();
        let everything = believed.namespaces.is_empty();
        let mut unknown = HashSet::new();
        if everything {
            unknown.extend([Namespace::Host, Namespace::Overlay]);
        }
        unknown.extend(ids.into_iter().map(Namespace::Container).filter(|id| !believed.namespaces.contains_key(id)));
        if unknown.is_empty() {
            return Ok(believed);
        }
        // The other end of each pair is in the overlays' namespace.
        let mut seen = BTreeMap::new();
        for namespace in unknown.iter().copied().chain([Namespace::Overlay]) {
            if let Some(handle) = self.hands.handle(namespace) {
                seen.entry(namespace).or_insert(observe::look(handle, namespace)?);
            }
        }
        let handles = self.handles();
        let mut looked = observe::state(&seen, wanted, &handles)?;
        looked.namespaces.retain(|namespace, _| unknown.contains(namespace));
        for (namespace, state) in &mut looked.namespaces {
            self.observe_rules(*namespace, state, wanted)?;
        }
        believed.namespaces.extend(looked.namespaces);
        Ok(believed)
    }

    fn handles(&self) -> HashMap<Namespace, &Handle> {
        let containers = self.hands.containers.iter().map(|(id, handle)| (Namespace::Container(*id), handle));
        let overlay = self.hands.overlay.iter().map(|handle| (Namespace::Overlay, handle));
        containers.chain(overlay).chain([(Namespace::Host, &self.hands.host)]).collect()
    }

    fn observe_rules(&mut self, namespace: Namespace, state: &mut NamespaceState, wanted: &Wanted) -> Result<(), NetError> {
        let none = NamespaceState::default();
        let target = wanted.state.namespaces.get(&namespace).unwrap_or(&none);
        let hands = &mut self.hands;
        match namespace {
            Namespace::Host => state.tables = hands.firewall.observe(namespace, &mut hands.host, target)?,
            Namespace::Overlay => {
                if let Some(handle) = &mut hands.overlay {
                    state.tables = hands.firewall.observe(namespace, handle, target)?;
                }
            }
            Namespace::Container(id) => {
                let now = hands.containers.get_mut(&id).and_then(|handle| firewall::generation(&mut handle.netfilter).ok());
                state.redirects_dns = now.is_some() && hands.redirected.get(&id).copied() == now;
            }
        }
        Ok(())
    }
}

fn no_namespace() -> Failure {
    Failure::new(FailureKind::FailedPrecondition, "the container has no network namespace")
}

fn add_failures(outcome: Outcome, encrypted: &BTreeSet<NetworkId>, problems: &mut Vec<Problem>) {
    for (scope, error) in outcome.failed {
        let failure = error.failure();
        match scope {
            Scope::Host => problems.push(Problem { network: None, failure }),
            Scope::Network(id) => problems.push(Problem { network: Some(id), failure }),
            Scope::Encrypted => problems.extend(encrypted.iter().map(|id| Problem { network: Some(*id), failure: failure.clone() })),
        }
    }
}

/// What is wanted and cannot be, because an address is not known.
fn add_gaps(desired: &HostNetwork, problems: &mut Vec<Problem>) {
    for (id, network) in &desired.networks {
        let mut add = |message: String| {
            problems.push(Problem { network: Some(*id), failure: Failure::new(FailureKind::FailedPrecondition, message) });
        };
        let nowhere = if network.encrypted { desired.node.vtep.is_none() } else { desired.node.data_address.is_none() };
        if nowhere && !network.remote.is_empty() {
            add("this node has no address for the network yet: other hosts are not reached".into());
        }
        for node in network.remote_nodes() {
            let host = desired.hosts.get(&node);
            let known = host.is_some_and(|host| if network.encrypted { host.vtep.is_some() } else { host.data_address.is_some() });
            if !known {
                let name = host.map_or_else(|| node.short(), |host| host.name.clone());
                add(format!("no address of node {name} is known yet: its containers are not reached"));
            }
            let own = desired.node.data_address;
            let theirs = host.and_then(|host| host.data_address);
            if let (false, Some(own), Some(theirs)) = (network.encrypted, own, theirs)
                && own.is_ipv4() != theirs.is_ipv4()
            {
                add(format!(
                    "node at {theirs} and this one at {own} have addresses of different families: a plain overlay cannot join them"
                ));
            }
        }
        let unkeyed = network
            .remote_nodes()
            .into_iter()
            .filter_map(|node| desired.hosts.get(&node))
            .filter(|host| host.wireguard_public_key.is_none());
        if network.encrypted && desired.node.backend == EncryptedBackend::Userspace {
            unkeyed.for_each(|host| add(format!("no key of node {} is known yet: its containers are not reached", host.name)));
        }
    }
}
