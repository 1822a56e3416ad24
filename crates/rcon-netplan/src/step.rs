//! One change to the kernel, as a value. Each can be carried out twice without harm.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use rcon_types::{MacAddr, NetworkId};

use crate::kernel::{Link, Namespace, Port, Route};

/// Whose problem it is when a step fails; later steps of the same network are then skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// All networks'.
    Host,
    /// All encrypted networks'.
    Encrypted,
    /// One network's.
    Network(NetworkId),
}

/// A change, where it is to be made, and who is waiting for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Who suffers when it fails.
    pub scope: Scope,
    /// Where.
    pub namespace: Namespace,
    /// What.
    pub action: Action,
}

/// A change in one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make the namespace.
    CreateNamespace,
    /// Write a value below `/proc/sys`.
    SetSysctl {
        /// Path below `/proc/sys`.
        key: String,
        /// What to write.
        value: String,
    },
    /// Remove an interface; of a pair both ends go.
    DeleteLink {
        /// Its name.
        name: String,
    },
    /// Make an interface, down. Of a pair both ends are made.
    CreateLink {
        /// Its name.
        name: String,
        /// What it shall be; only kind, address and MTU matter here.
        link: Box<Link>,
        /// The other end of a pair.
        peer: Option<Box<Link>>,
    },
    /// Change its MTU.
    SetMtu {
        /// Its name.
        name: String,
        /// In bytes.
        mtu: u32,
    },
    /// Change its Ethernet address.
    SetMac {
        /// Its name.
        name: String,
        /// The new one.
        mac: MacAddr,
    },
    /// Make it a port, or correct how it behaves as one.
    SetPort {
        /// Its name.
        name: String,
        /// How it shall behave; forwarding entries come apart.
        port: Port,
    },
    /// Set it up or down.
    SetUp {
        /// Its name.
        name: String,
        /// Up, or down.
        up: bool,
    },
    /// Give it an address.
    AddAddress {
        /// Its name.
        name: String,
        /// With the length of the prefix.
        address: IpNet,
    },
    /// Take an address away.
    DeleteAddress {
        /// Its name.
        name: String,
        /// With the length of the prefix.
        address: IpNet,
    },
    /// Make or correct a permanent neighbour.
    SetNeighbour {
        /// On which interface.
        name: String,
        /// Whose.
        address: IpAddr,
        /// Where.
        mac: MacAddr,
    },
    /// Forget a neighbour.
    DeleteNeighbour {
        /// On which interface.
        name: String,
        /// Whose.
        address: IpAddr,
    },
    /// Say that a station lives behind a port of a bridge.
    AddStation {
        /// The port.
        name: String,
        /// The station.
        mac: MacAddr,
    },
    /// Take that back.
    DeleteStation {
        /// The port.
        name: String,
        /// The station.
        mac: MacAddr,
    },
    /// Say to which host a VXLAN device sends for a station.
    AddTunnelStation {
        /// The device.
        name: String,
        /// The station; all zeros: broadcast and multicast.
        mac: MacAddr,
        /// The host.
        host: IpAddr,
        /// The only interface that the packet may take, where there is only one.
        via: Option<&'static str>,
    },
    /// Take that back.
    DeleteTunnelStation {
        /// The device.
        name: String,
        /// The station; all zeros: broadcast and multicast.
        mac: MacAddr,
        /// The host.
        host: IpAddr,
    },
    /// Make a route.
    AddRoute(Route),
    /// Remove a route.
    DeleteRoute(Route),
    /// One transaction of nft's language for all tables of the namespace.
    Firewall {
        /// The script.
        script: String,
    },
    /// Redirect port 53 of the containers' resolver.
    RedirectDns,
    /// Delete the connections of addresses that are gone, here and in the host's namespace.
    ForgetFlows {
        /// The addresses.
        addresses: Vec<IpAddr>,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.namespace, self.action)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateNamespace => f.write_str("create the namespace"),
            Self::SetSysctl { key, value } => write!(f, "set {key} to {value}"),
            Self::DeleteLink { name } => write!(f, "delete {name}"),
            Self::CreateLink { name, link, .. } => {
                write!(f, "create {name} as {} with mtu {}", link.kind, link.mtu)?;
                link.mac.map_or(Ok(()), |mac| write!(f, " and address {mac}"))
            }
            Self::SetMtu { name, mtu } => write!(f, "set the mtu of {name} to {mtu}"),
            Self::SetMac { name, mac } => write!(f, "set the address of {name} to {mac}"),
            Self::SetPort { name, port } => {
                write!(f, "make {name} a port of {}", port.bridge)?;
                for (flag, word) in [(port.learning, " learning"), (port.flood, " flooded"), (port.suppresses_neighbours, " suppressing")] {
                    f.write_str(if flag { word } else { "" })?;
                }
                f.write_str(if port.locked { " locked" } else { "" })
            }
            Self::SetUp { name, up: true } => write!(f, "set {name} up"),
            Self::SetUp { name, up: false } => write!(f, "set {name} down"),
            Self::AddAddress { name, address } => write!(f, "add {address} to {name}"),
            Self::DeleteAddress { name, address } => write!(f, "take {address} from {name}"),
            Self::SetNeighbour { name, address, mac } => write!(f, "know {address} at {mac} on {name}"),
            Self::DeleteNeighbour { name, address } => write!(f, "forget {address} on {name}"),
            Self::AddStation { name, mac } => write!(f, "forward {mac} to {name}"),
            Self::DeleteStation { name, mac } => write!(f, "stop forwarding {mac} to {name}"),
            Self::AddTunnelStation { name, mac, host, via } => {
                write!(f, "send {mac} from {name} to {host}")?;
                via.map_or(Ok(()), |via| write!(f, " via {via}"))
            }
            Self::DeleteTunnelStation { name, mac, host } => write!(f, "stop sending {mac} from {name} to {host}"),
            Self::AddRoute(route) => write!(f, "add route {route}"),
            Self::DeleteRoute(route) => write!(f, "delete route {route}"),
            Self::Firewall { script } => write!(f, "load {} lines of firewall", script.lines().count()),
            Self::RedirectDns => f.write_str("redirect port 53 of the resolver"),
            Self::ForgetFlows { addresses } => {
                f.write_str("forget the connections of")?;
                addresses.iter().try_for_each(|address| write!(f, " {address}"))
            }
        }
    }
}
