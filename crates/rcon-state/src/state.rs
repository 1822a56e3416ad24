//! The state itself and how it is read.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use imbl::OrdMap;
use rcon_proto::v1;
use rcon_types::{ClusterId, EndpointId, NetworkId, NodeId, Revision, Vni};

use crate::{ObjectKey, TokenId, cursor::AddressCursor, index::Index, recent::Recent};

/// Everything that the managers agree on, as of one Raft entry.
///
/// A clone is O(1) and never changes: hand it to readers freely.
#[derive(Debug, Clone)]
pub struct State {
    pub(crate) last_index: u64,
    pub(crate) cluster: Option<Arc<v1::Cluster>>,
    pub(crate) nodes: OrdMap<NodeId, Arc<v1::Node>>,
    pub(crate) networks: OrdMap<NetworkId, Arc<v1::Network>>,
    pub(crate) endpoints: OrdMap<EndpointId, Arc<v1::Endpoint>>,
    pub(crate) tokens: OrdMap<TokenId, Arc<v1::JoinToken>>,
    /// Removed nodes, with the time (ms since 1970) until which they are remembered.
    pub(crate) tombstones: OrdMap<NodeId, u64>,
    pub(crate) recent: Recent,
    pub(crate) next_vni: Vni,
    pub(crate) last_vtep: Option<Ipv4Addr>,
    pub(crate) cursors: OrdMap<NetworkId, AddressCursor>,
    /// Derived from the objects; never in a snapshot.
    pub(crate) index: Index,
}

impl Default for State {
    fn default() -> Self {
        Self {
            last_index: 0,
            cluster: None,
            nodes: OrdMap::new(),
            networks: OrdMap::new(),
            endpoints: OrdMap::new(),
            tokens: OrdMap::new(),
            tombstones: OrdMap::new(),
            recent: Recent::default(),
            next_vni: Vni::FIRST,
            last_vtep: None,
            cursors: OrdMap::new(),
            index: Index::default(),
        }
    }
}

impl State {
    /// The state before the first entry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Index of the last applied entry.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision(self.last_index)
    }

    /// The cluster object, once the cluster is initialised.
    #[must_use]
    pub fn cluster(&self) -> Option<&v1::Cluster> {
        self.cluster.as_deref()
    }

    /// The cluster's id, once it is initialised.
    #[must_use]
    pub fn cluster_id(&self) -> Option<ClusterId> {
        self.cluster().and_then(|c| ClusterId::from_slice(&c.id).ok())
    }

    /// The cluster's epoch; 0 before it is initialised.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.cluster().map_or(0, |c| c.epoch)
    }

    /// A node.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&v1::Node> {
        self.nodes.get(&id).map(Arc::as_ref)
    }

    /// All nodes, in order of their ids.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &v1::Node)> {
        self.nodes.iter().map(|(id, node)| (*id, node.as_ref()))
    }

    /// How many nodes there are.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Whether a node of this id was removed and its certificate may still be valid.
    #[must_use]
    pub fn is_tombstoned(&self, id: NodeId) -> bool {
        self.tombstones.contains_key(&id)
    }

    /// The node that has this TLS public key (SHA-256 of the SubjectPublicKeyInfo).
    #[must_use]
    pub fn node_by_public_key(&self, digest: &[u8]) -> Option<NodeId> {
        self.index.public_keys.get(digest).copied()
    }

    /// The nodes that take part in Raft, in order of their Raft ids.
    pub fn managers(&self) -> impl Iterator<Item = (NodeId, &v1::Node)> {
        self.index.raft_ids.values().filter_map(|id| self.nodes.get(id).map(|node| (*id, node.as_ref())))
    }

    /// The node to which a Raft id belongs.
    #[must_use]
    pub fn node_by_raft_id(&self, raft_id: u64) -> Option<NodeId> {
        self.index.raft_ids.get(&raft_id).copied()
    }

    /// The smallest MTU of any node's underlay, or `None` while no node has described one.
    #[must_use]
    pub fn smallest_underlay_mtu(&self) -> Option<u32> {
        self.index.underlay_mtus.get_min().map(|(mtu, _)| *mtu)
    }

    /// A network.
    #[must_use]
    pub fn network(&self, id: NetworkId) -> Option<&v1::Network> {
        self.networks.get(&id).map(Arc::as_ref)
    }

    /// All networks, in order of their ids.
    pub fn networks(&self) -> impl Iterator<Item = (NetworkId, &v1::Network)> {
        self.networks.iter().map(|(id, network)| (*id, network.as_ref()))
    }

    /// The network of a name.
    #[must_use]
    pub fn network_by_name(&self, name: &str) -> Option<NetworkId> {
        self.index.network_names.get(name).copied()
    }

    /// An endpoint.
    #[must_use]
    pub fn endpoint(&self, id: EndpointId) -> Option<&v1::Endpoint> {
        self.endpoints.get(&id).map(Arc::as_ref)
    }

    /// All endpoints, in order of their ids.
    pub fn endpoints(&self) -> impl Iterator<Item = (EndpointId, &v1::Endpoint)> {
        self.endpoints.iter().map(|(id, endpoint)| (*id, endpoint.as_ref()))
    }

    /// The endpoints on a network, in order of their ids.
    pub fn endpoints_of_network(&self, network: NetworkId) -> impl Iterator<Item = (EndpointId, &v1::Endpoint)> {
        self.index.of_network(network).filter_map(|id| self.endpoints.get(&id).map(|endpoint| (id, endpoint.as_ref())))
    }

    /// The endpoints that a node leases, in order of their ids.
    pub fn endpoints_of_node(&self, node: NodeId) -> impl Iterator<Item = (EndpointId, &v1::Endpoint)> {
        self.index.of_node(node).filter_map(|id| self.endpoints.get(&id).map(|endpoint| (id, endpoint.as_ref())))
    }

    /// The endpoint that has an address on a network.
    #[must_use]
    pub fn endpoint_by_address(&self, network: NetworkId, address: IpAddr) -> Option<EndpointId> {
        self.index.addresses.get(&(network, address)).copied()
    }

    /// The networks on which a node has an endpoint, in order of their ids.
    pub fn networks_of_node(&self, node: NodeId) -> impl Iterator<Item = NetworkId> + '_ {
        self.index.networks_of_node(node)
    }

    /// The nodes that have an endpoint on a network, in order of their ids.
    pub fn nodes_of_network(&self, network: NetworkId) -> impl Iterator<Item = NodeId> + '_ {
        self.index.nodes_of_network(network)
    }

    /// The node itself and all nodes that share a network with it: who has to know about it, and whom it has to know.
    #[must_use]
    pub fn neighbours(&self, node: NodeId) -> BTreeSet<NodeId> {
        let mut all: BTreeSet<NodeId> = self.networks_of_node(node).flat_map(|network| self.nodes_of_network(network)).collect();
        all.insert(node);
        all
    }

    /// A join token.
    #[must_use]
    pub fn token(&self, id: TokenId) -> Option<&v1::JoinToken> {
        self.tokens.get(&id).map(Arc::as_ref)
    }

    /// All join tokens, in order of their ids.
    pub fn tokens(&self) -> impl Iterator<Item = (TokenId, &v1::JoinToken)> {
        self.tokens.iter().map(|(id, token)| (*id, token.as_ref()))
    }

    /// The token whose secret has this SHA-256.
    #[must_use]
    pub fn token_by_secret_hash(&self, secret_sha256: &[u8]) -> Option<(TokenId, &v1::JoinToken)> {
        let id = TokenId::from_slice(secret_sha256.get(..16)?).ok()?;
        self.token(id).filter(|token| token.secret_sha256 == secret_sha256).map(|token| (id, token))
    }

    /// The standing token of a role.
    #[must_use]
    pub fn standing_token(&self, role: v1::Role) -> Option<(TokenId, &v1::JoinToken)> {
        self.tokens().find(|(_, token)| token.standing && token.role() == role)
    }

    /// The version of an object: index of the entry that last wrote it, 0 where it does not exist.
    #[must_use]
    pub fn version(&self, key: ObjectKey) -> u64 {
        match key {
            ObjectKey::Cluster => self.cluster().map_or(0, |o| o.version),
            ObjectKey::Node(id) => self.node(id).map_or(0, |o| o.version),
            ObjectKey::Network(id) => self.network(id).map_or(0, |o| o.version),
            ObjectKey::Endpoint(id) => self.endpoint(id).map_or(0, |o| o.version),
            ObjectKey::Token(id) => self.token(id).map_or(0, |o| o.version),
        }
    }
}
