//! How people name things: by id, by name, by the start of an id.

use rcon_proto::v1;
use rcon_types::{Failure, FailureKind, NetworkId, NodeId};

use crate::State;

impl State {
    /// The node of an id, a hostname or an unambiguous start of an id, in this order.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn node_by_reference(&self, reference: &str) -> Result<(NodeId, &v1::Node), Failure> {
        let found = |id: NodeId| self.node(id).map(|node| (id, node));
        if let Some(node) = reference.parse().ok().and_then(found) {
            return Ok(node);
        }
        let from = (reference.to_owned(), NodeId::from_bytes([0; 16]));
        let named: Vec<NodeId> = self.index.hostnames.range(from..).take_while(|(name, _)| name == reference).map(|(_, id)| *id).collect();
        let id = match named.as_slice() {
            [] => one_by_prefix("node", reference, self.nodes.keys().copied())?,
            [only] => *only,
            several => return Err(ambiguous("node", reference, several.iter().map(|id| id.short()))),
        };
        found(id).ok_or_else(|| unknown("node", reference))
    }

    /// The network of an id, a name or an unambiguous start of an id, in this order.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn network_by_reference(&self, reference: &str) -> Result<(NetworkId, &v1::Network), Failure> {
        let found = |id: NetworkId| self.network(id).map(|network| (id, network));
        let exact = reference.parse().ok().and_then(found).or_else(|| self.network_by_name(reference).and_then(found));
        match exact {
            Some(network) => Ok(network),
            None => found(one_by_prefix("network", reference, self.networks.keys().copied())?).ok_or_else(|| unknown("network", reference)),
        }
    }
}

/// The only id whose text starts with `prefix`.
fn one_by_prefix<T: Copy + ToString>(what: &str, prefix: &str, ids: impl Iterator<Item = T>) -> Result<T, Failure> {
    if prefix.is_empty() {
        return Err(Failure::new(FailureKind::InvalidArgument, format!("no {what} is named")));
    }
    let mut matching = ids.filter(|id| id.to_string().starts_with(prefix));
    let first = matching.next().ok_or_else(|| unknown(what, prefix))?;
    match matching.next() {
        None => Ok(first),
        Some(second) => Err(ambiguous(what, prefix, [first, second].into_iter().map(|id| id.to_string()))),
    }
}

fn unknown(what: &str, reference: &str) -> Failure {
    Failure::new(FailureKind::NotFound, format!("there is no {what} `{reference}`")).hint(format!("`rconctl {what} ls` lists them"))
}

fn ambiguous(what: &str, reference: &str, ids: impl Iterator<Item = String>) -> Failure {
    let ids: Vec<String> = ids.collect();
    let message = format!("`{reference}` is more than one {what}: {}", ids.join(", "));
    Failure::new(FailureKind::InvalidArgument, message).hint("name it by its id")
}
