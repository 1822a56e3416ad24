//! Where the other managers knock: the gRPC service that is served before, and after, this node is a manager.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

/// The service `rcon.v1.Raft` of this node. Serve it on 2377/tcp from the start; it answers "unavailable" while the node is no manager.
#[derive(Clone, Default)]
pub struct RaftGate {
    pub(crate) _behind: Arc<ArcSwapOption<()>>,
}

impl RaftGate {
    /// A gate with nobody behind it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}
