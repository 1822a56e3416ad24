//! Who takes part in Raft, as this manager sees it.

use std::collections::BTreeSet;

use rcon_types::NodeId;

/// One participant of Raft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Participant {
    /// Its Raft id; never reused.
    pub raft_id: u64,
    /// Its node.
    pub node_id: NodeId,
    /// Whether it votes; else it is a learner.
    pub votes: bool,
    /// Whether it is the leader.
    pub leads: bool,
    /// Whether its log is close to the leader's. Only the leader knows; elsewhere false.
    pub caught_up: bool,
    /// Whether it answers. The leader knows of all; others only of those they talk to.
    pub reachable: bool,
}

/// Who takes part in Raft, as this manager sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MembershipView {
    /// In order of their Raft ids.
    pub participants: Vec<Participant>,
    /// Whether the participants' reachability is the leader's word.
    pub from_leader: bool,
}

impl MembershipView {
    /// The nodes that vote.
    #[must_use]
    pub fn voters(&self) -> BTreeSet<NodeId> {
        self.nodes(|p| p.votes)
    }

    /// The nodes that follow without a vote.
    #[must_use]
    pub fn learners(&self) -> BTreeSet<NodeId> {
        self.nodes(|p| !p.votes)
    }

    /// The nodes that do not answer.
    #[must_use]
    pub fn unreachable(&self) -> BTreeSet<NodeId> {
        self.nodes(|p| !p.reachable)
    }

    /// The leader's node.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.participants.iter().find(|p| p.leads).map(|p| p.node_id)
    }

    fn nodes(&self, filter: impl Fn(&Participant) -> bool) -> BTreeSet<NodeId> {
        self.participants.iter().filter(|p| filter(p)).map(|p| p.node_id).collect()
    }
}
