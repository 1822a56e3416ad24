//! The state as one message, and back.

use std::sync::Arc;

use rcon_proto::{Message, convert, v1};
use rcon_types::{Id, NetworkId, Vni, id::Kind};
use sha2::{Digest, Sha256};

use crate::{SnapshotError, State, cursor::AddressCursor, index::EndpointIds, limits::FEATURE_LEVEL};

impl State {
    /// The whole state; equal states give equal bytes.
    #[must_use]
    pub fn snapshot(&self) -> v1::StateSnapshot {
        let recent =
            self.recent.iter().map(|(id, outcome)| v1::RecentTxn { id: convert::id_bytes(id), outcome: Some(outcome.as_ref().clone()) });
        let address = |address: Option<std::net::IpAddr>| address.map(convert::ip_bytes).unwrap_or_default();
        v1::StateSnapshot {
            last_index: self.last_index,
            cluster: self.cluster.as_deref().cloned(),
            nodes: self.nodes.values().map(|o| o.as_ref().clone()).collect(),
            networks: self.networks.values().map(|o| o.as_ref().clone()).collect(),
            endpoints: self.endpoints.values().map(|o| o.as_ref().clone()).collect(),
            tokens: self.tokens.values().map(|o| o.as_ref().clone()).collect(),
            tombstones: self
                .tombstones
                .iter()
                .map(|(id, until)| v1::Tombstone { node_id: convert::id_bytes(*id), until_ms: *until })
                .collect(),
            recent: recent.collect(),
            next_vni: self.next_vni.get(),
            last_vtep: address(self.last_vtep.map(Into::into)),
            cursors: self
                .cursors
                .iter()
                .map(|(network, cursor)| v1::AddressCursor {
                    network_id: convert::id_bytes(*network),
                    ipv4: address(cursor.ipv4.map(Into::into)),
                    ipv6: address(cursor.ipv6.map(Into::into)),
                })
                .collect(),
        }
    }

    /// SHA-256 of the state, equal on all managers that applied the same entries.
    ///
    /// The wording of recorded rejections is left out: it may differ between versions that otherwise agree.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut snapshot = self.snapshot();
        for recent in &mut snapshot.recent {
            if let Some(v1::TxnOutcome { outcome: Some(v1::txn_outcome::Outcome::Rejected(rejected)) }) = &mut recent.outcome {
                rejected.message.clear();
                rejected.hint.clear();
            }
        }
        Sha256::digest(snapshot.encode_to_vec()).into()
    }

    /// Whether the indexes are exactly those that the objects make. Always true; O(n), for tests.
    #[must_use]
    pub fn has_consistent_indexes(&self) -> bool {
        Self::from_snapshot(self.snapshot()).is_ok_and(|again| again.index == self.index)
    }

    /// The state of a snapshot, with its indexes.
    ///
    /// # Errors
    /// When the snapshot is not one that [`State::snapshot`] makes, or one of a newer feature level.
    pub fn from_snapshot(snapshot: v1::StateSnapshot) -> Result<Self, SnapshotError> {
        let level = snapshot.cluster.as_ref().map_or(0, |c| c.feature_level);
        if level > FEATURE_LEVEL {
            return Err(SnapshotError::FeatureLevel { level });
        }
        let mut state = Self { last_index: snapshot.last_index, cluster: snapshot.cluster.map(Arc::new), ..Self::default() };
        state.next_vni = Vni::new(snapshot.next_vni).ok_or_else(|| malformed("next_vni", 0, "it does not fit into 24 bits"))?;
        state.last_vtep = convert::ipv4("last_vtep", &snapshot.last_vtep).map_err(|e| malformed("last_vtep", 0, e))?;
        for (id, node) in keyed("nodes", snapshot.nodes, |n: &v1::Node| &n.id)? {
            state.index.insert_node(id, &node);
            state.nodes.insert(id, Arc::new(node));
        }
        for (id, network) in keyed("networks", snapshot.networks, |n: &v1::Network| &n.id)? {
            state.index.insert_network(id, &network);
            state.networks.insert(id, Arc::new(network));
        }
        for (position, (id, endpoint)) in keyed("endpoints", snapshot.endpoints, |e: &v1::Endpoint| &e.id)?.into_iter().enumerate() {
            let ids = EndpointIds::of(&endpoint).map_err(|e| malformed("endpoints", position, e))?;
            state.index.insert_endpoint(ids, &endpoint);
            state.endpoints.insert(id, Arc::new(endpoint));
        }
        state.tokens = keyed("tokens", snapshot.tokens, |t: &v1::JoinToken| &t.id)?.into_iter().map(|(id, t)| (id, Arc::new(t))).collect();
        let tombstones = keyed("tombstones", snapshot.tombstones, |t: &v1::Tombstone| &t.node_id)?;
        state.tombstones = tombstones.into_iter().map(|(id, t)| (id, t.until_ms)).collect();
        for (position, recent) in snapshot.recent.into_iter().enumerate() {
            let id = Id::from_slice(&recent.id).map_err(|e| malformed("recent", position, e))?;
            state.recent.push(id, Arc::new(recent.outcome.unwrap_or_default()));
        }
        for (position, (id, wire)) in keyed("cursors", snapshot.cursors, |c: &v1::AddressCursor| &c.network_id)?.into_iter().enumerate() {
            let cursor = cursor(&wire).map_err(|e| malformed("cursors", position, e))?;
            state.cursors.insert(id as NetworkId, cursor);
        }
        Ok(state)
    }
}

fn cursor(wire: &v1::AddressCursor) -> Result<AddressCursor, convert::Malformed> {
    Ok(AddressCursor { ipv4: convert::ipv4("ipv4", &wire.ipv4)?, ipv6: convert::ipv6("ipv6", &wire.ipv6)? })
}

fn malformed(list: &'static str, position: usize, why: impl ToString) -> SnapshotError {
    SnapshotError::Malformed { list, position, why: why.to_string() }
}

/// The objects with their ids, which must ascend.
fn keyed<K: Kind, T>(list: &'static str, objects: Vec<T>, key: impl Fn(&T) -> &[u8]) -> Result<Vec<(Id<K>, T)>, SnapshotError> {
    let mut keyed: Vec<(Id<K>, T)> = Vec::with_capacity(objects.len());
    for (position, object) in objects.into_iter().enumerate() {
        let id = Id::from_slice(key(&object)).map_err(|e| malformed(list, position, e))?;
        if keyed.last().is_some_and(|(last, _)| *last >= id) {
            return Err(SnapshotError::Order { list, position });
        }
        keyed.push((id, object));
    }
    Ok(keyed)
}
