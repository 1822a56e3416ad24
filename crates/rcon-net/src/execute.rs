//! Steps carried out, in their order. What depends on a step that failed is left out; everything else goes on.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    os::fd::RawFd,
    path::Path,
    time::{Duration, Instant},
};

use nix::poll::poll;

use rcon_netplan::{
    Action, Namespace, Scope, Step, Wanted,
    kernel::{Link, LinkKind},
};
use rcon_types::ContainerId;

use crate::{
    NetError, conntrack, dns_redirect,
    firewall::Firewall,
    handle::Handle,
    message::{self, Elsewhere},
    namespace::{self, Purpose},
    reading,
    socket::Message,
    sysctl, tap,
};

/// How long to wait for interfaces to pass frames: older kernels may take up to a second to notice a carrier.
const CARRIER_DEADLINE: Duration = Duration::from_millis(1200);
/// Between looks at an interface that passes none yet.
const CARRIER_POLL_MS: u8 = 1;

/// Everything that steps are carried out with.
#[derive(Debug)]
pub(crate) struct Hands {
    pub(crate) host: Handle,
    pub(crate) overlay: Option<Handle>,
    pub(crate) containers: HashMap<ContainerId, Handle>,
    pub(crate) firewall: Firewall,
    /// Generation of the ruleset after our rule, by container.
    pub(crate) redirected: HashMap<ContainerId, u32>,
    /// Indexes of interfaces, as far as this pass asked for them.
    indexes: HashMap<(Namespace, String), u32>,
}

/// What came of a list of steps.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// How many were carried out.
    pub(crate) done: usize,
    /// The others that were tried, with whose problem each is.
    pub(crate) failed: Vec<(Scope, NetError)>,
}

impl Hands {
    /// Hands for the namespace of the calling thread.
    pub(crate) fn new() -> Result<Self, NetError> {
        Ok(Self {
            host: Handle::here()?,
            overlay: None,
            containers: HashMap::new(),
            firewall: Firewall::default(),
            redirected: HashMap::new(),
            indexes: HashMap::new(),
        })
    }

    /// The handle of a namespace that is open.
    pub(crate) fn handle(&mut self, namespace: Namespace) -> Option<&mut Handle> {
        match namespace {
            Namespace::Host => Some(&mut self.host),
            Namespace::Overlay => self.overlay.as_mut(),
            Namespace::Container(id) => self.containers.get_mut(&id),
        }
    }

    /// Carries all steps out.
    pub(crate) fn execute(&mut self, steps: &[Step], wanted: &Wanted, overlay_path: &Path) -> Outcome {
        self.indexes.clear();
        let mut outcome = Outcome::default();
        let mut broken: BTreeSet<Scope> = BTreeSet::new();
        let mut risen: BTreeSet<(Namespace, &str)> = BTreeSet::new();
        for step in steps {
            let encrypted =
                matches!(step.scope, Scope::Network(id) if wanted.encrypted.contains(&id)) && broken.contains(&Scope::Encrypted);
            if encrypted || broken.contains(&step.scope) || broken.contains(&Scope::Host) {
                continue;
            }
            tracing::debug!(%step, "network step");
            match self.carry_out(step, wanted, overlay_path) {
                Ok(()) => {
                    outcome.done += 1;
                    risen.extend(risen_links(step, wanted));
                }
                Err(error) => {
                    broken.insert(step.scope);
                    outcome.failed.push((step.scope, error));
                }
            }
        }
        self.await_frames(&risen);
        outcome
    }

    /// The kernel lets frames through an interface some time after its carrier came: only then is a container attached.
    fn await_frames(&mut self, links: &BTreeSet<(Namespace, &str)>) {
        let deadline = Instant::now() + CARRIER_DEADLINE;
        for (namespace, name) in links {
            let Some(handle) = self.handle(*namespace) else { continue };
            while reading::passes_frames(&mut handle.route, name).is_ok_and(|passes| !passes) && Instant::now() < deadline {
                let _ = poll(&mut [], CARRIER_POLL_MS);
            }
        }
    }

    fn carry_out(&mut self, step: &Step, wanted: &Wanted, overlay_path: &Path) -> Result<(), NetError> {
        let failed = |source| NetError::Step { step: format!("{} ({})", step.action, step.namespace), source };
        match &step.action {
            Action::CreateNamespace => {
                namespace::create(overlay_path, Purpose::Overlay)?;
                self.overlay = Some(Handle::open(overlay_path)?);
                self.firewall.forget(Namespace::Overlay);
                Ok(())
            }
            Action::Firewall { script } => {
                let target = wanted.state.namespaces.get(&step.namespace).cloned().unwrap_or_default();
                let handle = match step.namespace {
                    Namespace::Overlay => self.overlay.as_mut().ok_or_else(|| failed(not_there()))?,
                    _ => &mut self.host,
                };
                self.firewall.load(step.namespace, handle, script, &target)
            }
            Action::SetSysctl { key, value } => {
                self.open(step.namespace).and_then(|handle| handle.run(|| sysctl::write_if_present(key, value))).map_err(failed)
            }
            Action::CreateLink { name, link, peer } => self.create_link(step.namespace, name, link, peer.as_deref()).map_err(failed),
            Action::RedirectDns => self.redirect_dns(step.namespace).map_err(failed),
            Action::ForgetFlows { addresses } => self.forget_flows(&addresses.iter().copied().collect()).map_err(failed),
            action => self.send(step.namespace, action).map_err(failed),
        }
    }

    fn open(&mut self, namespace: Namespace) -> io::Result<&mut Handle> {
        self.handle(namespace).ok_or_else(not_there)
    }

    fn index(&mut self, namespace: Namespace, name: &str) -> io::Result<u32> {
        let key = (namespace, name.to_owned());
        if let Some(index) = self.indexes.get(&key) {
            return Ok(*index);
        }
        let index = reading::index_of(&mut self.open(namespace)?.route, name)?;
        self.indexes.insert(key, index);
        Ok(index)
    }

    /// A VXLAN device of a plain network and WireGuard are asked for in the host's namespace, where their sockets stay, and
    /// are born inside by the same message: nothing is ever left over in the host.
    fn create_link(&mut self, namespace: Namespace, name: &str, link: &Link, peer: Option<&Link>) -> io::Result<()> {
        self.indexes.retain(|(_, known), _| known != name && !matches!(&link.kind, LinkKind::Veth { peer, .. } if peer == known));
        if link.kind == LinkKind::Tap {
            self.open(namespace)?.run(|| tap::create(name))?;
            let index = self.index(namespace, name)?;
            return self.open(namespace)?.route.execute(message::set_mtu(index, link.mtu));
        }
        let peer = match (&link.kind, peer) {
            (LinkKind::Veth { peer_namespace, .. }, Some(peer)) => Some((peer, self.open(*peer_namespace)?.descriptor())),
            _ => None,
        };
        let lower = link.lower().map(|name| self.index(namespace, name)).transpose()?;
        let outside = matches!(link.kind, LinkKind::Wireguard | LinkKind::Vxlan { socket_in_host: true, .. });
        let target: Option<RawFd> = if outside { Some(self.open(namespace)?.descriptor()) } else { None };
        let request = message::create_link(name, link, &Elsewhere { namespace: target, peer, lower });
        let request = request.ok_or_else(|| io::Error::from_raw_os_error(libc::EOPNOTSUPP))?;
        self.open(if outside { Namespace::Host } else { namespace })?.route.execute(request)
    }

    fn send(&mut self, namespace: Namespace, action: &Action) -> io::Result<()> {
        let (messages, harmless) = match self.messages(namespace, action) {
            // Gone with its interface.
            Err(error) if removes(action) && is_any(&error, &[libc::ENODEV]) => return Ok(()),
            other => other?,
        };
        for result in self.open(namespace)?.route.batch(&messages)? {
            match result {
                Err(error) if is_any(&error, harmless) => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// The messages of a step, and the errors that mean that it was carried out before.
    fn messages(&mut self, namespace: Namespace, action: &Action) -> io::Result<(Vec<Message>, &'static [i32])> {
        const GONE: &[i32] = &[libc::ENODEV, libc::ENOENT, libc::ESRCH, libc::EADDRNOTAVAIL];
        const THERE: &[i32] = &[libc::EEXIST];
        let mut index = |name: &str| self.index(namespace, name);
        Ok(match action {
            Action::DeleteLink { name } => (vec![message::delete_link(name)], GONE),
            Action::SetMtu { name, mtu } => (vec![message::set_mtu(index(name)?, *mtu)], &[]),
            Action::SetMac { name, mac } => (vec![message::set_mac(index(name)?, *mac)], &[]),
            Action::SetUp { name, up } => (vec![message::set_up(index(name)?, *up)], &[]),
            Action::SetPort { name, port } => (message::set_port(index(name)?, index(&port.bridge)?, port).to_vec(), &[]),
            Action::AddAddress { name, address } => (vec![message::add_address(index(name)?, *address)], THERE),
            Action::DeleteAddress { name, address } => (vec![message::delete_address(index(name)?, *address)], GONE),
            Action::SetNeighbour { name, address, mac } => (vec![message::set_neighbour(index(name)?, *address, *mac)], &[]),
            Action::DeleteNeighbour { name, address } => (vec![message::delete_neighbour(index(name)?, *address)], GONE),
            Action::AddStation { name, mac } => (vec![message::add_station(index(name)?, *mac)], THERE),
            Action::DeleteStation { name, mac } => (vec![message::delete_station(index(name)?, *mac)], GONE),
            Action::AddTunnelStation { name, mac, host, via } => {
                let via = via.map(&mut index).transpose()?;
                (vec![message::add_tunnel_station(index(name)?, *mac, *host, via)], THERE)
            }
            Action::DeleteTunnelStation { name, mac, host } => (vec![message::delete_tunnel_station(index(name)?, *mac, *host)], GONE),
            Action::AddRoute(route) => (vec![message::add_route(index(&route.link)?, route)], THERE),
            Action::DeleteRoute(route) => (vec![message::delete_route(index(&route.link)?, route)], GONE),
            _ => return Err(io::Error::from_raw_os_error(libc::EINVAL)),
        })
    }

    fn redirect_dns(&mut self, namespace: Namespace) -> io::Result<()> {
        let Namespace::Container(id) = namespace else { return Err(io::Error::from_raw_os_error(libc::EINVAL)) };
        let generation = dns_redirect::install(&mut self.open(namespace)?.netfilter)?;
        self.redirected.insert(id, generation);
        Ok(())
    }

    /// Inside by address; in the host by what the masquerade made of it.
    fn forget_flows(&mut self, addresses: &BTreeSet<std::net::IpAddr>) -> io::Result<()> {
        let Some(overlay) = self.overlay.as_mut() else { return Ok(()) };
        let concerned = |tuple: &conntrack::Tuple| addresses.contains(&tuple.source) || addresses.contains(&tuple.destination);
        let replies = conntrack::delete(&mut overlay.netfilter, |original, reply| concerned(original) || concerned(reply))?;
        if replies.is_empty() {
            return Ok(());
        }
        conntrack::delete(&mut self.host.netfilter, |original, _| {
            replies.iter().any(|reply| {
                let mut ports = reply.ports.clone();
                ports.rotate_left(reply.ports.len() / 2);
                let same_ports = original.ports == ports || original.ports.len() != 4;
                (original.source, original.destination, original.protocol) == (reply.destination, reply.source, reply.protocol)
                    && same_ports
            })
        })
        .map(|_| ())
    }
}

/// What passes frames soon after this step: an interface that it set up, and the bridge that this is a port of. A TAP does
/// so only once the tunnel reads it.
fn risen_links<'a>(step: &Step, wanted: &'a Wanted) -> Vec<(Namespace, &'a str)> {
    let Action::SetUp { name, up: true } = &step.action else { return Vec::new() };
    let links = wanted.state.namespaces.get(&step.namespace).map(|state| &state.links);
    match links.and_then(|links| links.get_key_value(name)) {
        Some((name, link)) if matches!(link.kind, LinkKind::Veth { .. } | LinkKind::Vxlan { .. }) => {
            let bridge = link.port.as_ref().map(|port| port.bridge.as_str());
            [Some(name.as_str()), bridge].into_iter().flatten().map(|name| (step.namespace, name)).collect()
        }
        _ => Vec::new(),
    }
}

fn removes(action: &Action) -> bool {
    matches!(
        action,
        Action::DeleteAddress { .. }
            | Action::DeleteNeighbour { .. }
            | Action::DeleteStation { .. }
            | Action::DeleteTunnelStation { .. }
            | Action::DeleteRoute(_)
    )
}

fn is_any(error: &io::Error, codes: &[i32]) -> bool {
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

fn not_there() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the namespace is not there")
}
