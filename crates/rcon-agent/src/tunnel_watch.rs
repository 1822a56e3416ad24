//! Who of a network's hosts has an encrypted session with this one: asked of the tunnel, for warnings and for `network inspect`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rcon_net::{TunnelStatus, tunnel_client};
use rcon_proto::v1::{self, Assignments};
use rcon_types::{NetworkId, NodeId};
use tokio::{
    net::UnixStream,
    time::{Instant, sleep},
};

use crate::helpers::Helper;

/// How often the tunnel is asked while somebody waits for handshakes.
const ASK: Duration = Duration::from_millis(20);

/// A view of the encrypted datapath.
#[derive(Clone)]
pub struct TunnelWatch {
    helper: Arc<Helper>,
}

impl TunnelWatch {
    /// A view of the tunnel that a helper runs.
    #[must_use]
    pub fn new(helper: Arc<Helper>) -> Self {
        Self { helper }
    }

    /// What the tunnel says; nothing where none runs.
    pub async fn status(&self) -> Option<TunnelStatus> {
        let mut stream = UnixStream::connect(self.helper.socket()).await.ok()?;
        tunnel_client::status(&mut stream).await.ok()
    }

    /// The names of hosts on an encrypted network that have no session with this one after waiting for them.
    pub async fn without_handshake(&self, set: &Assignments, network: NetworkId, patience: Duration) -> Vec<String> {
        let wanted = hosts(set, network);
        if wanted.is_empty() {
            return Vec::new();
        }
        let deadline = Instant::now() + patience;
        loop {
            let connected = match self.status().await {
                Some(status) => status.peers.into_iter().filter(|peer| peer.connected).map(|peer| peer.node).collect(),
                None => Vec::new(),
            };
            let mute: Vec<String> = wanted.iter().filter(|(node, _)| !connected.contains(node)).map(|(_, name)| name.clone()).collect();
            if mute.is_empty() || Instant::now() >= deadline {
                return mute;
            }
            sleep(ASK).await;
        }
    }

    /// The tunnel's peers on a network, for people.
    pub async fn peers(&self, set: &Assignments, network: NetworkId) -> Vec<v1::TunnelPeer> {
        let wanted = hosts(set, network);
        let Some(status) = self.status().await else { return Vec::new() };
        let shown = status.peers.into_iter().filter_map(|peer| {
            let hostname = wanted.get(&peer.node)?.clone();
            Some(v1::TunnelPeer {
                node_id: peer.node.to_bytes().to_vec().into(),
                hostname,
                last_handshake_ms: peer.last_handshake_unix_ms,
                rx_bytes: peer.rx_bytes,
                tx_bytes: peer.tx_bytes,
                endpoint: peer.endpoint.map(|endpoint| endpoint.to_string()).unwrap_or_default(),
                dropped: peer.drops.values().sum(),
            })
        });
        shown.collect()
    }
}

/// The other hosts of an encrypted network, by name; none for a plain one.
fn hosts(set: &Assignments, network: NetworkId) -> BTreeMap<NodeId, String> {
    let id = network.to_bytes();
    let assignment = set.networks.iter().find(|a| a.network.as_ref().is_some_and(|n| n.id[..] == id[..]));
    let Some(assignment) = assignment else { return BTreeMap::new() };
    if !assignment.network.as_ref().and_then(|n| n.spec.as_ref()).is_some_and(|spec| spec.encrypted) {
        return BTreeMap::new();
    }
    let own = set.node.as_ref().map(|node| node.id.clone()).unwrap_or_default();
    let others = assignment.endpoints.iter().map(|endpoint| &endpoint.node_id).filter(|node| **node != own);
    others
        .filter_map(|node| {
            let peer = set.peers.iter().find(|peer| peer.node_id == *node)?;
            Some((NodeId::from_slice(node).ok()?, peer.hostname.clone()))
        })
        .collect()
}
