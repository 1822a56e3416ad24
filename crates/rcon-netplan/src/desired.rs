//! What the cluster wants of this host's network: the value that the agent makes out of its assignments and its containers.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
};

use ipnet::{IpNet, Ipv4Net};
use rcon_types::{ContainerId, EndpointId, MacAddr, Mtu, NetworkId, NodeId, Vni};

use crate::constants::{DEFAULT_DATA_PORT, DEFAULT_ENCRYPTED_PORT};

/// Everything this host should have of the cluster's networks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostNetwork {
    /// What holds for the host as a whole.
    pub node: NodeSettings,
    /// Networks on which this host has an endpoint.
    pub networks: BTreeMap<NetworkId, OverlayNetwork>,
    /// Every other node that a remote endpoint names.
    pub hosts: BTreeMap<NodeId, RemoteHost>,
}

/// What holds for the host as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSettings {
    /// Where other nodes send overlay packets; an address of this host. Without it plain networks reach no other host.
    pub data_address: Option<IpAddr>,
    /// UDP port of plain overlays.
    pub data_port: u16,
    /// UDP port of encrypted overlays.
    pub encrypted_port: u16,
    /// This node's address inside the tunnels. Without it encrypted networks reach no other host.
    pub vtep: Option<Ipv4Addr>,
    /// The pool that all tunnel addresses come from.
    pub vtep_pool: Ipv4Net,
    /// Who encrypts.
    pub backend: EncryptedBackend,
}

/// Who encrypts on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EncryptedBackend {
    /// The kernel's WireGuard device with a VXLAN device on it.
    Kernel,
    /// `rcond tunnel`, which serves a TAP for each network.
    #[default]
    Userspace,
}

/// One overlay network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlayNetwork {
    /// Its name, for messages only.
    pub name: String,
    /// Its number on the wire.
    pub vni: Vni,
    /// Whether its frames may only travel sealed.
    pub encrypted: bool,
    /// Whether it has no gateway and no way out.
    pub internal: bool,
    /// Of containers, ports and bridge.
    pub mtu: Mtu,
    /// At most one of each family.
    pub subnets: Vec<OverlaySubnet>,
    /// Endpoints on this host.
    pub local: BTreeMap<EndpointId, LocalEndpoint>,
    /// Endpoints on other hosts.
    pub remote: BTreeMap<EndpointId, RemoteEndpoint>,
}

/// A prefix of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverlaySubnet {
    /// The prefix.
    pub prefix: IpNet,
    /// The address that is on every host's bridge; absent on internal networks.
    pub gateway: Option<IpAddr>,
}

/// An attachment of a container of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalEndpoint {
    /// Whose; its namespace is the file of this name below `<run-dir>/netns/`.
    pub container: ContainerId,
    /// The name inside the container, e.g. `eth0`.
    pub interface: String,
    /// Its addresses; each lies in a subnet of the network.
    pub addresses: Vec<IpAddr>,
    /// Its Ethernet address.
    pub mac: MacAddr,
    /// Whether the container's default route leads here.
    pub default_route: bool,
}

/// An attachment of a container of another host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteEndpoint {
    /// The host it lives on; a key of [`HostNetwork::hosts`].
    pub node: NodeId,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its Ethernet address.
    pub mac: MacAddr,
}

/// Another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteHost {
    /// Its name, for messages only.
    pub name: String,
    /// Where it takes overlay packets; absent while unknown.
    pub data_address: Option<IpAddr>,
    /// Its address inside the tunnels; absent while unknown.
    pub vtep: Option<Ipv4Addr>,
    /// Its X25519 public key; absent while unknown.
    pub wireguard_public_key: Option<[u8; 32]>,
}

impl Default for NodeSettings {
    fn default() -> Self {
        Self {
            data_address: None,
            data_port: DEFAULT_DATA_PORT,
            encrypted_port: DEFAULT_ENCRYPTED_PORT,
            vtep: None,
            vtep_pool: Ipv4Net::new_assert(Ipv4Addr::new(100, 96, 0, 0), 12),
            backend: EncryptedBackend::default(),
        }
    }
}

impl HostNetwork {
    /// The network and the endpoint that give `container` its default route.
    #[must_use]
    pub fn default_route_of(&self, container: ContainerId) -> Option<(&OverlayNetwork, &LocalEndpoint)> {
        let of = move |endpoint: &&LocalEndpoint| endpoint.container == container && endpoint.default_route;
        self.networks.values().find_map(|network| network.local.values().find(of).map(|endpoint| (network, endpoint)))
    }

    /// The containers of this host that have an endpoint.
    #[must_use]
    pub fn containers(&self) -> BTreeSet<ContainerId> {
        self.networks.values().flat_map(|network| network.local.values().map(|endpoint| endpoint.container)).collect()
    }

    /// Without the endpoints of containers that `keep` refuses.
    #[must_use]
    pub fn only_containers(mut self, keep: impl Fn(ContainerId) -> bool) -> Self {
        for network in self.networks.values_mut() {
            network.local.retain(|_, endpoint| keep(endpoint.container));
        }
        self
    }

    /// Whether any network of this host is encrypted.
    #[must_use]
    pub fn has_encrypted(&self) -> bool {
        self.networks.values().any(|network| network.encrypted)
    }

    /// The addresses of nodes that share a plain network with this one: the only ones whose plain VXLAN is taken.
    #[must_use]
    pub fn plain_senders(&self) -> BTreeSet<IpAddr> {
        let plain = self.networks.values().filter(|network| !network.encrypted);
        plain.flat_map(OverlayNetwork::remote_nodes).filter_map(|node| self.hosts.get(&node)?.data_address).collect()
    }
}

impl OverlayNetwork {
    /// The other nodes that have an endpoint here.
    #[must_use]
    pub fn remote_nodes(&self) -> BTreeSet<NodeId> {
        self.remote.values().map(|endpoint| endpoint.node).collect()
    }

    /// The length of the prefix that `address` lies in.
    #[must_use]
    pub fn prefix_length(&self, address: IpAddr) -> Option<u8> {
        self.subnets.iter().find(|subnet| subnet.prefix.contains(&address)).map(|subnet| subnet.prefix.prefix_len())
    }

    /// Whether containers can leave the network here.
    #[must_use]
    pub fn has_egress(&self) -> bool {
        !self.internal && self.subnets.iter().any(|subnet| subnet.gateway.is_some())
    }

    /// Whether there is an IPv6 prefix.
    #[must_use]
    pub fn has_ipv6(&self) -> bool {
        self.subnets.iter().any(|subnet| subnet.prefix.addr().is_ipv6())
    }
}
