//! The kernel's view of a host's networks, as one value: what is observed and what is wanted have the same words.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use ipnet::IpNet;
use rcon_types::{ContainerId, MacAddr, Vni};

use crate::names::WIREGUARD;

/// One of the network namespaces that rcon looks after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Namespace {
    /// The one `rcond` runs in. Almost nothing in it is ours.
    Host,
    /// `rcon-overlay`. Everything in it is ours.
    Overlay,
    /// A container's. What its processes add to it is theirs.
    Container(ContainerId),
}

/// All namespaces that are there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KernelState {
    /// What is in each; one that is missing here does not exist.
    pub namespaces: BTreeMap<Namespace, NamespaceState>,
}

/// What is in a namespace. Of the host's and of containers' only what concerns us is ever in here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NamespaceState {
    /// Values below `/proc/sys`. A setting that the kernel does not have is absent when observed, and left alone.
    pub sysctls: BTreeMap<String, String>,
    /// Interfaces by name.
    pub links: BTreeMap<String, Link>,
    /// Routes of the main table, without those that the kernel makes for addresses.
    pub routes: BTreeSet<Route>,
    /// Firewall tables by family and name, e.g. `inet rcon`.
    pub tables: BTreeMap<&'static str, Table>,
    /// Whether port 53 of the containers' resolver is redirected to where `rcond dns` listens.
    pub redirects_dns: bool,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// What it is, which cannot be changed: another kind means a new interface.
    pub kind: LinkKind,
    /// Its Ethernet address; `None`: whatever the kernel chose.
    pub mac: Option<MacAddr>,
    /// In bytes, without the Ethernet header.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// The bridge it is a port of, and how it behaves as one.
    pub port: Option<Port>,
    /// Values below `/proc/sys` that belong to this interface.
    pub sysctls: BTreeMap<String, String>,
    /// Addresses with the length of their prefixes. Link-local IPv6 addresses of the kernel's own making are left out.
    pub addresses: BTreeSet<IpNet>,
    /// Permanent neighbours.
    pub neighbours: BTreeMap<IpAddr, MacAddr>,
    /// Where a VXLAN device sends: hosts by Ethernet address, those of the all-zero one for broadcast and multicast.
    pub tunnel_stations: BTreeSet<(MacAddr, IpAddr)>,
}

/// What an interface is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkKind {
    /// A bridge that floods multicast (no snooping) and speaks no spanning tree.
    Bridge,
    /// A VXLAN device without learning.
    Vxlan {
        /// Its network.
        vni: Vni,
        /// The source of its packets.
        local: IpAddr,
        /// UDP port, here and there.
        port: u16,
        /// Whether its socket is in the host's namespace (plain), or in the one it lives in (encrypted).
        socket_in_host: bool,
    },
    /// A TAP with several queues and `vnet_hdr`, persistent.
    Tap,
    /// The kernel's WireGuard, its socket in the host's namespace.
    Wireguard,
    /// One end of a pair.
    Veth {
        /// Where the other end is.
        peer_namespace: Namespace,
        /// How it is called there.
        peer: String,
    },
    /// Something that rcon never makes.
    Foreign,
}

/// How an interface behaves as a port of a bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The bridge.
    pub bridge: String,
    /// Learns addresses of senders. Never wanted.
    pub learning: bool,
    /// Gets unicast for unknown addresses. Never wanted.
    pub flood: bool,
    /// Queries that the bridge can answer itself are not sent here.
    pub suppresses_neighbours: bool,
    /// Takes frames only from senders in [`Port::stations`].
    pub locked: bool,
    /// Static forwarding entries: the addresses that live behind this port.
    pub stations: BTreeSet<MacAddr>,
}

/// A route of the main table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Where to; length 0 is the default route.
    pub destination: IpNet,
    /// Through whom; `None`: directly.
    pub gateway: Option<IpAddr>,
    /// Through which interface.
    pub link: String,
}

/// A firewall table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// Chains, rules and the declarations of sets in nft's language. Observed as empty when it is not what was loaded.
    pub structure: String,
    /// Elements of its sets.
    pub sets: BTreeMap<&'static str, BTreeSet<String>>,
}

impl KernelState {
    /// What is in `namespace`, to be filled in.
    pub fn namespace_mut(&mut self, namespace: Namespace) -> &mut NamespaceState {
        self.namespaces.entry(namespace).or_default()
    }
}

impl Link {
    /// An interface as it is right after its creation.
    #[must_use]
    pub fn new(kind: LinkKind, mtu: u32) -> Self {
        Self {
            kind,
            mac: None,
            mtu,
            up: false,
            port: None,
            sysctls: BTreeMap::new(),
            addresses: BTreeSet::new(),
            neighbours: BTreeMap::new(),
            tunnel_stations: BTreeSet::new(),
        }
    }

    /// The only interface that packets of a VXLAN device may leave by: WireGuard, where its frames must be sealed. Neither a
    /// missing route nor a missing firewall can then let one out in the clear, and with WireGuard the device goes as well.
    #[must_use]
    pub fn lower(&self) -> Option<&'static str> {
        matches!(self.kind, LinkKind::Vxlan { socket_in_host: false, .. }).then_some(WIREGUARD)
    }

    /// The same right after its creation: kind, address and MTU are given at birth, the rest follows.
    #[must_use]
    pub fn newborn(&self) -> Self {
        Self { mac: self.mac, ..Self::new(self.kind.clone(), self.mtu) }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Overlay => f.write_str("overlay"),
            Self::Container(id) => f.write_str(&id.short()),
        }
    }
}

impl fmt::Display for LinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bridge => f.write_str("bridge"),
            Self::Vxlan { vni, local, port, socket_in_host } => {
                write!(f, "vxlan id {vni} local {local} port {port}")?;
                f.write_str(if *socket_in_host { " on the host" } else { " inside" })
            }
            Self::Tap => f.write_str("tap"),
            Self::Wireguard => f.write_str("wireguard"),
            Self::Veth { peer_namespace, peer } => write!(f, "veth to {peer_namespace}/{peer}"),
            Self::Foreign => f.write_str("foreign"),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.destination)?;
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        write!(f, " dev {}", self.link)
    }
}
