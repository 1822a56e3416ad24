//! From what the kernel looks like to what it should look like: removals first, then what everything else rests on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::{
    firewall,
    kernel::{KernelState, Link, LinkKind, Namespace, NamespaceState, Port},
    step::{Action, Scope, Step},
    wanted::Wanted,
};

/// The steps that turn `observed` into `wanted`. None, where nothing differs.
///
/// Containers' namespaces are expected to exist; the one of the overlays is made where it is missing.
#[must_use]
pub fn plan(wanted: &Wanted, observed: &KernelState) -> Vec<Step> {
    let mut plan = Planner { wanted, observed, gone: BTreeSet::new(), forgotten: BTreeSet::new(), steps: Vec::new() };
    plan.remove();
    plan.prepare();
    plan.build();
    plan.finish();
    plan.steps
}

struct Planner<'a> {
    wanted: &'a Wanted,
    observed: &'a KernelState,
    /// Interfaces that the steps so far have removed.
    gone: BTreeSet<(Namespace, &'a str)>,
    /// Addresses that no bridge knows any more.
    forgotten: BTreeSet<IpAddr>,
    steps: Vec<Step>,
}

impl<'a> Planner<'a> {
    fn push(&mut self, scope: Scope, namespace: Namespace, action: Action) {
        self.steps.push(Step { scope, namespace, action });
    }

    fn push_all(&mut self, scope: Scope, namespace: Namespace, actions: impl IntoIterator<Item = Action>) {
        self.steps.extend(actions.into_iter().map(|action| Step { scope, namespace, action }));
    }

    fn scope(&self, namespace: Namespace, link: &str) -> Scope {
        self.wanted.owners.get(&(namespace, link.to_owned())).copied().unwrap_or(Scope::Host)
    }

    /// The observed interface, where it is there, of the right kind, and not removed by a step before.
    fn kept(&self, namespace: Namespace, name: &str, wanted: &Link) -> Option<&'a Link> {
        let link = self.observed.namespaces.get(&namespace)?.links.get(name)?;
        (link.kind == wanted.kind && !self.gone.contains(&(namespace, name))).then_some(link)
    }

    /// What is not wanted any more goes before anything is made.
    fn remove(&mut self) {
        for (&namespace, observed) in &self.observed.namespaces {
            let empty = NamespaceState::default();
            let wanted = self.wanted.state.namespaces.get(&namespace).unwrap_or(&empty);
            self.remove_links(namespace, observed, wanted);
            self.remove_routes(namespace, observed, wanted);
            for (name, link) in &observed.links {
                if let Some(target) = wanted.links.get(name).filter(|target| self.kept(namespace, name, target).is_some()) {
                    self.remove_from_link(namespace, name, link, target);
                }
            }
        }
    }

    /// Interfaces of containers go with their other end, which is in the overlays' namespace.
    fn remove_links(&mut self, namespace: Namespace, observed: &'a NamespaceState, wanted: &NamespaceState) {
        if matches!(namespace, Namespace::Container(_)) {
            return;
        }
        for (name, link) in &observed.links {
            let fits = wanted.links.get(name).is_some_and(|target| target.kind == link.kind && self.peer_fits(namespace, name, target));
            if fits || self.gone.contains(&(namespace, name.as_str())) {
                continue;
            }
            self.push(self.scope(namespace, name), namespace, Action::DeleteLink { name: name.clone() });
            self.gone.insert((namespace, name));
            if let LinkKind::Veth { peer_namespace, peer } = &link.kind {
                self.gone.insert((*peer_namespace, peer));
            }
            self.forgotten.extend(link.neighbours.keys());
        }
    }

    /// Whether the other end of a pair is where it should be, under the name it should have.
    fn peer_fits(&self, namespace: Namespace, name: &str, wanted: &Link) -> bool {
        let LinkKind::Veth { peer_namespace, peer } = &wanted.kind else { return true };
        let there = self.observed.namespaces.get(peer_namespace).and_then(|state| state.links.get(peer));
        there.is_some_and(|link| link.kind == LinkKind::Veth { peer_namespace: namespace, peer: name.to_owned() })
    }

    fn remove_routes(&mut self, namespace: Namespace, observed: &NamespaceState, wanted: &NamespaceState) {
        for route in observed.routes.difference(&wanted.routes) {
            let ours = match namespace {
                Namespace::Host => false,
                Namespace::Overlay => true,
                Namespace::Container(_) => route.destination.prefix_len() == 0 && wanted.links.contains_key(&route.link),
            };
            if ours && !self.gone.contains(&(namespace, route.link.as_str())) {
                self.push(self.scope(namespace, &route.link), namespace, Action::DeleteRoute(route.clone()));
            }
        }
    }

    fn remove_from_link(&mut self, namespace: Namespace, name: &str, observed: &Link, wanted: &Link) {
        let scope = self.scope(namespace, name);
        let named = || name.to_owned();
        if !matches!(namespace, Namespace::Container(_)) {
            let stale = observed.addresses.difference(&wanted.addresses);
            self.push_all(scope, namespace, stale.map(|address| Action::DeleteAddress { name: named(), address: *address }));
        }
        let stale: Vec<IpAddr> = observed.neighbours.keys().filter(|address| !wanted.neighbours.contains_key(address)).copied().collect();
        self.push_all(scope, namespace, stale.iter().map(|address| Action::DeleteNeighbour { name: named(), address: *address }));
        self.forgotten.extend(stale);
        let stale = observed.tunnel_stations.difference(&wanted.tunnel_stations);
        self.push_all(scope, namespace, stale.map(|(mac, host)| Action::DeleteTunnelStation { name: named(), mac: *mac, host: *host }));
        if let (Some(there), Some(target)) = (&observed.port, &wanted.port) {
            let stale = there.stations.difference(&target.stations);
            self.push_all(scope, namespace, stale.map(|mac| Action::DeleteStation { name: named(), mac: *mac }));
        }
    }

    /// What must hold before any interface carries a packet: namespace, firewall, settings, and smaller MTUs.
    fn prepare(&mut self) {
        for (&namespace, wanted) in &self.wanted.state.namespaces {
            let observed = self.observed.namespaces.get(&namespace);
            if observed.is_none() && namespace == Namespace::Overlay {
                self.push(Scope::Host, namespace, Action::CreateNamespace);
            }
            let mut script = String::new();
            for (name, table) in &wanted.tables {
                script.push_str(&firewall::load_script(name, table, observed.and_then(|state| state.tables.get(name))));
            }
            if !script.is_empty() {
                self.push(Scope::Host, namespace, Action::Firewall { script });
            }
            let settings = sysctls(&wanted.sysctls, observed.map(|state| &state.sysctls));
            self.push_all(Scope::Host, namespace, settings);
        }
        self.change_mtus(|wanted, observed| wanted < observed, Order::ContainersFirst);
    }

    /// Running interfaces follow a network's MTU: containers first when it shrinks, last when it grows.
    fn change_mtus(&mut self, select: impl Fn(u32, u32) -> bool, order: Order) {
        let mut changes = Vec::new();
        for (&namespace, wanted) in &self.wanted.state.namespaces {
            for (name, link) in &wanted.links {
                if self.kept(namespace, name, link).is_some_and(|there| select(link.mtu, there.mtu)) {
                    changes.push((order.rank(namespace, link), namespace, name, link.mtu));
                }
            }
        }
        changes.sort();
        for (_, namespace, name, mtu) in changes {
            self.push(self.scope(namespace, name), namespace, Action::SetMtu { name: name.clone(), mtu });
        }
    }

    fn build(&mut self) {
        let mut links: Vec<(u8, Namespace, &'a String, &'a Link)> = Vec::new();
        for (&namespace, state) in &self.wanted.state.namespaces {
            links.extend(state.links.iter().map(|(name, link)| (Order::ContainersLast.rank(namespace, link), namespace, name, link)));
        }
        links.sort_by_key(|(rank, namespace, name, _)| (*rank, *namespace, *name));
        for &(_, namespace, name, link) in &links {
            self.create(namespace, name, link);
        }
        // The container's end first: the bridge then finds the carrier on when its own end goes up, and forwards at once.
        links.sort_by_key(|(rank, namespace, name, _)| {
            (*rank / 3, !matches!(namespace, Namespace::Container(_)) && *rank >= 3, *rank, *namespace, *name)
        });
        for &(_, namespace, name, link) in &links {
            self.configure(namespace, name, link);
        }
        self.change_mtus(|wanted, observed| wanted > observed, Order::ContainersLast);
    }

    /// Pairs are made from the end that is in the overlays' namespace.
    fn create(&mut self, namespace: Namespace, name: &str, link: &Link) {
        if namespace != Namespace::Overlay || self.kept(namespace, name, link).is_some() {
            return;
        }
        let peer = match &link.kind {
            LinkKind::Veth { peer_namespace, peer } => self
                .wanted
                .state
                .namespaces
                .get(peer_namespace)
                .and_then(|state| state.links.get(peer))
                .map(|peer| Box::new(peer.newborn())),
            _ => None,
        };
        let create = Action::CreateLink { name: name.to_owned(), link: Box::new(link.newborn()), peer };
        self.push(self.scope(namespace, name), namespace, create);
    }

    fn configure(&mut self, namespace: Namespace, name: &str, wanted: &Link) {
        let scope = self.scope(namespace, name);
        let named = || name.to_owned();
        let newborn = wanted.newborn();
        let kept = self.kept(namespace, name, wanted);
        let there = kept.unwrap_or(&newborn);
        self.push_all(scope, namespace, sysctls(&wanted.sysctls, kept.map(|link| &link.sysctls)));
        if let Some(mac) = wanted.mac.filter(|_| wanted.mac != there.mac) {
            self.push(scope, namespace, Action::SetMac { name: named(), mac });
        }
        if let Some(port) = &wanted.port {
            self.configure_port(namespace, name, port, there.port.as_ref());
        }
        let missing = wanted.addresses.difference(&there.addresses);
        self.push_all(scope, namespace, missing.map(|address| Action::AddAddress { name: named(), address: *address }));
        let missing = wanted.tunnel_stations.difference(&there.tunnel_stations);
        self.push_all(
            scope,
            namespace,
            missing.map(|(mac, host)| Action::AddTunnelStation { name: named(), mac: *mac, host: *host, via: wanted.lower() }),
        );
        let missing = wanted.neighbours.iter().filter(|(address, mac)| there.neighbours.get(address) != Some(mac));
        self.push_all(scope, namespace, missing.map(|(address, mac)| Action::SetNeighbour { name: named(), address: *address, mac: *mac }));
        if wanted.up != there.up {
            self.push(scope, namespace, Action::SetUp { name: named(), up: wanted.up });
        }
    }

    fn configure_port(&mut self, namespace: Namespace, name: &str, wanted: &Port, there: Option<&Port>) {
        let scope = self.scope(namespace, name);
        let none = BTreeSet::new();
        let same_bridge = there.filter(|port| port.bridge == wanted.bridge && !self.gone.contains(&(namespace, port.bridge.as_str())));
        let behaves = same_bridge
            .is_some_and(|port| Port { stations: BTreeSet::new(), ..port.clone() } == Port { stations: BTreeSet::new(), ..wanted.clone() });
        if !behaves {
            self.push(
                scope,
                namespace,
                Action::SetPort { name: name.to_owned(), port: Port { stations: BTreeSet::new(), ..wanted.clone() } },
            );
        }
        let known = same_bridge.map_or(&none, |port| &port.stations);
        let missing = wanted.stations.difference(known);
        self.push_all(scope, namespace, missing.map(|mac| Action::AddStation { name: name.to_owned(), mac: *mac }));
    }

    /// What rests on interfaces that are up, and what was needed until now.
    fn finish(&mut self) {
        let empty = NamespaceState::default();
        for (&namespace, wanted) in &self.wanted.state.namespaces {
            let observed = self.observed.namespaces.get(&namespace).unwrap_or(&empty);
            for route in &wanted.routes {
                let lost = self.gone.contains(&(namespace, route.link.as_str()));
                let foreign = observed.routes.iter().any(|there| {
                    matches!(namespace, Namespace::Container(_))
                        && there.destination == route.destination
                        && !wanted.links.contains_key(&there.link)
                        && !self.gone.contains(&(namespace, there.link.as_str()))
                });
                if (lost || !observed.routes.contains(route)) && !foreign {
                    self.push(self.scope(namespace, &route.link), namespace, Action::AddRoute(route.clone()));
                }
            }
            if wanted.redirects_dns && !observed.redirects_dns {
                self.push(Scope::Host, namespace, Action::RedirectDns);
            }
        }
        for (&namespace, observed) in &self.observed.namespaces {
            let wanted = self.wanted.state.namespaces.get(&namespace).unwrap_or(&empty);
            let script: String = observed
                .tables
                .keys()
                .filter(|name| !wanted.tables.contains_key(*name))
                .map(|name| firewall::remove_script(name))
                .collect();
            if !script.is_empty() {
                self.push(Scope::Host, namespace, Action::Firewall { script });
            }
        }
        if !self.forgotten.is_empty() {
            let addresses = std::mem::take(&mut self.forgotten).into_iter().collect();
            self.push(Scope::Host, Namespace::Overlay, Action::ForgetFlows { addresses });
        }
    }
}

/// In which order the interfaces of one network are treated.
#[derive(Clone, Copy)]
enum Order {
    ContainersFirst,
    ContainersLast,
}

impl Order {
    fn rank(self, namespace: Namespace, link: &Link) -> u8 {
        let rank = match (&link.kind, namespace) {
            (LinkKind::Wireguard, _) => 0,
            (LinkKind::Bridge, _) => 1,
            (LinkKind::Vxlan { .. } | LinkKind::Tap | LinkKind::Foreign, _) => 2,
            (LinkKind::Veth { .. }, Namespace::Overlay | Namespace::Host) => 3,
            (LinkKind::Veth { .. }, Namespace::Container(_)) => 4,
        };
        match self {
            Self::ContainersLast => rank,
            Self::ContainersFirst => 4 - rank,
        }
    }
}

/// Settings to write. One that was looked for and is not there does not exist in this kernel.
fn sysctls(wanted: &BTreeMap<String, String>, observed: Option<&BTreeMap<String, String>>) -> Vec<Action> {
    let differs = |key: &String, value: &String| observed.is_none_or(|there| there.get(key).is_some_and(|now| now != value));
    let mut differing: Vec<(&String, &String)> = wanted.iter().filter(|(key, value)| differs(key, value)).collect();
    // Turning forwarding on throws away what interfaces learned from routers, unless they are told to keep listening before.
    differing.sort_by_key(|(key, _)| !key.ends_with("/accept_ra"));
    differing.into_iter().map(|(key, value)| Action::SetSysctl { key: key.clone(), value: value.clone() }).collect()
}
