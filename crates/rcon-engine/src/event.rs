//! What happens to containers, as it happens.

use rcon_types::{ContainerId, ContainerName};

use crate::record::Exit;

/// Something that happened to a container. The agent acts on these; one that lags re-reads [`crate::Engine::list`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// To which.
    pub id: ContainerId,
    /// Its name.
    pub name: ContainerName,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// It was created.
    Created,
    /// Its process runs.
    Started,
    /// Its process has ended; its network namespace is no longer needed.
    Exited(Exit),
    /// It is gone.
    Removed,
}
