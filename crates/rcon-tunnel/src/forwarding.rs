//! The tables in the form that packets need: who is where, by every key that a packet has. Immutable, and replaced as one.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use boringtun::noise::rate_limiter::RateLimiter;
use rcon_packet::control::{self, NetworkStatus, PublicKey, ValidTables};
use rcon_types::{MacAddr, Mtu, NodeId, Vni};

use crate::{identity::Identity, limits::HANDSHAKES_PER_SECOND, peer::Peer, tap::Tap};

/// Where a session's index keeps the peer's.
const SESSION_BITS: u32 = 8;

/// The tables in force.
#[derive(Debug)]
pub(crate) struct Forwarding {
    pub(crate) tables: ValidTables,
    pub(crate) identity: Arc<Identity>,
    pub(crate) limiter: Limiter,
    pub(crate) peers: Vec<Arc<Peer>>,
    pub(crate) networks: Vec<Network>,
    by_index: HashMap<u32, usize>,
    by_key: HashMap<PublicKey, usize>,
    by_vni: HashMap<Vni, usize>,
}

/// One network; peers are indexes into [`Forwarding::peers`].
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) vni: Vni,
    pub(crate) mtu: Mtu,
    pub(crate) tap: Arc<Tap>,
    stations: HashMap<MacAddr, usize>,
    pub(crate) replicate_to: Vec<usize>,
}

impl Network {
    /// The peer that a station lives on.
    pub(crate) fn station(&self, mac: MacAddr) -> Option<usize> {
        self.stations.get(&mac).copied()
    }
}

/// Boringtun's rate limiter for handshakes, one for all peers.
#[derive(Clone)]
pub(crate) struct Limiter(pub(crate) Arc<RateLimiter>);

impl std::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Limiter")
    }
}

impl Forwarding {
    /// The tables with what of `old` goes on: peers keep their sessions, as long as they are the same peers of the same node.
    /// Gives also the indexes of the peers that are new.
    pub(crate) fn build(
        tables: ValidTables,
        identity: Arc<Identity>,
        taps: &BTreeMap<Vni, Arc<Tap>>,
        old: Option<&Self>,
    ) -> (Self, Vec<usize>) {
        let old = old.filter(|old| old.identity.public == identity.public);
        let limit = HANDSHAKES_PER_SECOND + 2 * tables.get().peers.len() as u64;
        let limiter = old.map_or_else(|| Limiter(Arc::new(RateLimiter::new(&identity.public, limit))), |old| old.limiter.clone());
        let mut new = Vec::new();
        let mut used: HashMap<u32, usize> = HashMap::new();
        let mut peers: Vec<Arc<Peer>> = Vec::with_capacity(tables.get().peers.len());
        let kept = |peer: &control::Peer| old.and_then(|old| old.kept(peer));
        for (at, peer) in tables.get().peers.iter().enumerate() {
            if let Some(kept) = kept(peer) {
                used.insert(kept.index, at);
            }
        }
        for (at, peer) in tables.get().peers.iter().enumerate() {
            let peer = kept(peer).inspect(|kept| kept.configure_endpoint(peer.endpoint)).unwrap_or_else(|| {
                let index = free_index(&used);
                used.insert(index, at);
                new.push(at);
                Arc::new(Peer::new(peer, index, &identity, &limiter.0))
            });
            peers.push(peer);
        }
        let by_key = peers.iter().enumerate().map(|(at, peer)| (peer.public_key, at)).collect();
        let by_node: HashMap<NodeId, usize> = peers.iter().enumerate().map(|(at, peer)| (peer.node, at)).collect();
        let networks: Vec<Network> = tables.get().networks.iter().filter_map(|n| network(n, &by_node, taps)).collect();
        let by_vni = networks.iter().enumerate().map(|(at, network)| (network.vni, at)).collect();
        (Self { tables, identity, limiter, peers, networks, by_index: used, by_key, by_vni }, new)
    }

    fn kept(&self, peer: &control::Peer) -> Option<Arc<Peer>> {
        let known = &self.peers[*self.by_key.get(&peer.public_key)?];
        (known.node == peer.node && known.vtep == peer.vtep).then(|| Arc::clone(known))
    }

    /// The peer that a session's index belongs to.
    pub(crate) fn peer_of_session(&self, receiver: u32) -> Option<usize> {
        self.by_index.get(&(receiver >> SESSION_BITS)).copied()
    }

    /// The peer with this key.
    pub(crate) fn peer_with_key(&self, key: PublicKey) -> Option<usize> {
        self.by_key.get(&key).copied()
    }

    /// The network with this number.
    pub(crate) fn network(&self, vni: Vni) -> Option<usize> {
        self.by_vni.get(&vni).copied()
    }

    /// What is told about the networks.
    pub(crate) fn network_status(&self) -> Vec<NetworkStatus> {
        let load = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
        let status = |network: &Network| NetworkStatus {
            vni: network.vni,
            tap: network.tap.name.clone(),
            mtu: network.mtu,
            frames_out: load(&network.tap.frames_out),
            frames_in: load(&network.tap.frames_in),
        };
        self.networks.iter().map(status).collect()
    }
}

fn network(network: &control::Network, by_node: &HashMap<NodeId, usize>, taps: &BTreeMap<Vni, Arc<Tap>>) -> Option<Network> {
    let tap = Arc::clone(taps.get(&network.vni)?);
    let stations = network.stations.iter().filter_map(|s| Some((s.mac, *by_node.get(&s.node)?))).collect();
    let replicate_to = network.replicate_to.iter().filter_map(|node| by_node.get(node).copied()).collect();
    Some(Network { vni: network.vni, mtu: network.mtu, tap, stations, replicate_to })
}

/// An index of 24 bits that no peer has. Random, so that messages for an earlier process do not meet a session of this one.
fn free_index(used: &HashMap<u32, usize>) -> u32 {
    loop {
        let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), used.len());
        let index = u32::try_from(random >> 40).unwrap_or(0);
        if !used.contains_key(&index) {
            return index;
        }
    }
}
