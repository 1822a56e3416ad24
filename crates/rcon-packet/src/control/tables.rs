//! All that the tunnel must know: who its peers are, and which stations live behind them.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
};

use rcon_types::{Failure, FailureKind, MacAddr, Mtu, NodeId, Revision, Vni};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::PublicKey;

/// Most peers in one set of tables.
pub const MAX_PEERS: usize = 4096;
/// Most networks in one set of tables.
pub const MAX_NETWORKS: usize = 1024;
/// Most stations of one network.
pub const MAX_STATIONS: usize = 65_536;
/// Longest name of an interface (`IFNAMSIZ` in `include/uapi/linux/if.h`, without the zero).
pub const MAX_TAP_NAME_BYTES: usize = 15;
/// What a network's MTU may be: what IPv4 demands of a host (RFC 791 §3.2) up to what fits into one UDP datagram.
pub const MTU_RANGE: RangeInclusive<u32> = 576..=65_000;

/// The whole configuration of the tunnel, replaced as one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tables {
    /// The state of the cluster that these follow from.
    pub revision: Revision,
    /// The file with this node's X25519 private key: 32 raw bytes, 64 hexadecimal digits, or base64 as `wg genkey` writes it.
    pub private_key_file: PathBuf,
    /// This node's address inside the tunnels.
    pub vtep: Ipv4Addr,
    /// The UDP port to listen on, on every address of the host.
    pub listen_port: u16,
    /// The nodes that share an encrypted network with this one.
    pub peers: Vec<Peer>,
    /// The encrypted networks of this node.
    pub networks: Vec<Network>,
}

/// Another node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Which.
    pub node: NodeId,
    /// Its public key.
    pub public_key: PublicKey,
    /// Where it listens; absent where only the peer can call us. It is followed when it moves and proves itself.
    pub endpoint: Option<SocketAddr>,
    /// Its address inside the tunnels, and the only one that its packets may have.
    pub vtep: Ipv4Addr,
}

/// One encrypted network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Its number on the wire.
    pub vni: Vni,
    /// The interface in the overlay namespace; attached to when it is there, made (persistent, multi-queue) when not.
    pub tap: String,
    /// Largest IP packet that its containers may send.
    pub mtu: Mtu,
    /// The stations on other nodes. The list serves both directions: a frame to a station goes to its node, and a frame from
    /// that node is taken only when it comes from one of its stations.
    pub stations: Vec<Station>,
    /// The nodes that get a copy of each broadcast and multicast frame.
    pub replicate_to: Vec<NodeId>,
}

/// An endpoint of a network on another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Station {
    /// Its Ethernet address, never a group.
    pub mac: MacAddr,
    /// The node it lives on.
    pub node: NodeId,
}

/// Why tables cannot be put in force.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TablesError {
    /// More of something than the limits at the top of this module.
    #[error("{count} {what}, where at most {limit} are taken")]
    TooMany {
        /// Peers, networks or stations.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Two entries share what must be unique.
    #[error("{what} {which} appears twice")]
    Duplicate {
        /// What kind of thing.
        what: &'static str,
        /// Which one.
        which: String,
    },
    /// A network refers to a node that is no peer.
    #[error("network {vni} names node {node}, which is not among the peers")]
    UnknownNode {
        /// The network.
        vni: Vni,
        /// The node.
        node: NodeId,
    },
    /// The name cannot be that of an interface.
    #[error("`{name}` cannot be the name of an interface")]
    TapName {
        /// The name.
        name: String,
    },
    /// Outside [`MTU_RANGE`].
    #[error("network {vni} has an MTU of {mtu}, which is not between {} and {}", MTU_RANGE.start(), MTU_RANGE.end())]
    Mtu {
        /// The network.
        vni: Vni,
        /// Its MTU.
        mtu: Mtu,
    },
    /// A station with a group address.
    #[error("network {vni} has the group address {mac} as a station")]
    GroupStation {
        /// The network.
        vni: Vni,
        /// The address.
        mac: MacAddr,
    },
    /// Port 0 cannot be told to the peers.
    #[error("the port to listen on is 0")]
    NoPort,
    /// The key's path must not depend on the working directory.
    #[error("the path of the private key is not absolute")]
    RelativeKeyPath,
}

impl TablesError {
    /// As it crosses the socket.
    #[must_use]
    pub fn failure(&self) -> Failure {
        Failure::from_error(FailureKind::InvalidArgument, self).during("refused the tunnel's tables")
    }
}

/// Tables that were checked: every node that a network names is a peer, everything unique is, and no limit is passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidTables(Tables);

impl ValidTables {
    /// The tables.
    #[must_use]
    pub const fn get(&self) -> &Tables {
        &self.0
    }
}

impl TryFrom<Tables> for ValidTables {
    type Error = TablesError;

    fn try_from(tables: Tables) -> Result<Self, TablesError> {
        if tables.listen_port == 0 {
            return Err(TablesError::NoPort);
        }
        if !tables.private_key_file.is_absolute() {
            return Err(TablesError::RelativeKeyPath);
        }
        limit("peers", tables.peers.len(), MAX_PEERS)?;
        limit("networks", tables.networks.len(), MAX_NETWORKS)?;
        unique("node", tables.peers.iter().map(|p| p.node))?;
        unique("public key", tables.peers.iter().map(|p| p.public_key))?;
        unique("tunnel address", tables.peers.iter().map(|p| p.vtep).chain([tables.vtep]))?;
        unique("network", tables.networks.iter().map(|n| n.vni))?;
        unique("interface", tables.networks.iter().map(|n| n.tap.as_str()))?;
        let nodes: BTreeSet<NodeId> = tables.peers.iter().map(|p| p.node).collect();
        for network in &tables.networks {
            check_network(network, &nodes)?;
        }
        Ok(Self(tables))
    }
}

fn check_network(network: &Network, nodes: &BTreeSet<NodeId>) -> Result<(), TablesError> {
    let vni = network.vni;
    let name = network.tap.as_bytes();
    let allowed = |b: &u8| b.is_ascii_graphic() && !matches!(b, b'/' | b':' | b'%');
    if name.is_empty() || name.len() > MAX_TAP_NAME_BYTES || !name.iter().all(allowed) || matches!(name, b"." | b"..") {
        return Err(TablesError::TapName { name: network.tap.chars().take(32).collect() });
    }
    if !MTU_RANGE.contains(&network.mtu.0) {
        return Err(TablesError::Mtu { vni, mtu: network.mtu });
    }
    limit("stations", network.stations.len(), MAX_STATIONS)?;
    unique("station", network.stations.iter().map(|s| s.mac))?;
    unique("replica", network.replicate_to.iter().copied())?;
    if let Some(station) = network.stations.iter().find(|s| s.mac.is_multicast()) {
        return Err(TablesError::GroupStation { vni, mac: station.mac });
    }
    let mut named = network.stations.iter().map(|s| s.node).chain(network.replicate_to.iter().copied());
    match named.find(|node| !nodes.contains(node)) {
        Some(node) => Err(TablesError::UnknownNode { vni, node }),
        None => Ok(()),
    }
}

fn limit(what: &'static str, count: usize, limit: usize) -> Result<(), TablesError> {
    if count <= limit { Ok(()) } else { Err(TablesError::TooMany { what, count, limit }) }
}

fn unique<T: Ord + std::fmt::Display>(what: &'static str, items: impl Iterator<Item = T>) -> Result<(), TablesError> {
    let mut seen = BTreeSet::new();
    for item in items {
        if let Some(which) = seen.replace(item) {
            return Err(TablesError::Duplicate { what, which: which.to_string() });
        }
    }
    Ok(())
}
