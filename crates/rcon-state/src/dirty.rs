//! Who is interested in a change.

use std::collections::BTreeSet;

use rcon_types::NodeId;

use crate::ObjectKey;

/// What an entry changed, and which nodes' assignments may differ because of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dirty {
    /// Every node is interested: the cluster object, the list of managers or the smallest underlay MTU changed.
    pub everyone: bool,
    /// The interested nodes, where it is not everyone. May name a node that was just removed, so that its session ends.
    pub nodes: BTreeSet<NodeId>,
    /// The objects that were written or removed.
    pub keys: BTreeSet<ObjectKey>,
}

impl Dirty {
    /// Whether `node` must look again.
    #[must_use]
    pub fn interests(&self, node: NodeId) -> bool {
        self.everyone || self.nodes.contains(&node)
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}
