//! What `rcond tunnel` must know, as a pure function of what the cluster wants of this host.

use std::{collections::BTreeSet, net::SocketAddr, path::Path};

use rcon_netplan::{HostNetwork, OverlayNetwork, names};
use rcon_packet::control::{Network, Peer, PublicKey, Station, Tables};
use rcon_types::{NodeId, Revision};

/// The tunnel's tables for all encrypted networks of `desired`; `None` where there is none, or this node has no tunnel address.
///
/// A node whose key or tunnel address is not known yet is left out, and so is what lives on it: no frame goes there.
#[must_use]
pub fn tunnel_tables(desired: &HostNetwork, revision: Revision, private_key_file: &Path) -> Option<Tables> {
    let vtep = desired.node.vtep?;
    let encrypted: Vec<&OverlayNetwork> = desired.networks.values().filter(|network| network.encrypted).collect();
    if encrypted.is_empty() {
        return None;
    }
    let wanted: BTreeSet<NodeId> = encrypted.iter().flat_map(|network| network.remote_nodes()).collect();
    let peers: Vec<Peer> = wanted.into_iter().filter_map(|node| peer(desired, node)).collect();
    let known: BTreeSet<NodeId> = peers.iter().map(|peer| peer.node).collect();
    let networks = encrypted.into_iter().map(|wanted| network(wanted, &known)).collect();
    Some(Tables {
        revision,
        private_key_file: private_key_file.to_path_buf(),
        vtep,
        listen_port: desired.node.encrypted_port,
        peers,
        networks,
    })
}

fn peer(desired: &HostNetwork, node: NodeId) -> Option<Peer> {
    let host = desired.hosts.get(&node)?;
    let endpoint = host.data_address.map(|address| SocketAddr::new(address, desired.node.encrypted_port));
    Some(Peer { node, public_key: PublicKey(host.wireguard_public_key?), endpoint, vtep: host.vtep? })
}

fn network(wanted: &OverlayNetwork, known: &BTreeSet<NodeId>) -> Network {
    let remote = wanted.remote.values().filter(|endpoint| known.contains(&endpoint.node));
    let stations = remote.map(|endpoint| Station { mac: endpoint.mac, node: endpoint.node }).collect();
    let replicate_to = wanted.remote_nodes().intersection(known).copied().collect();
    Network { vni: wanted.vni, tap: names::tap(wanted.vni), mtu: wanted.mtu, stations, replicate_to }
}
