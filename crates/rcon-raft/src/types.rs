//! What openraft is instantiated with. None of this leaves the crate.

use std::fmt;

use bytes::Bytes;
use openraft::type_config::alias::{EntryOf, LogIdOf, SnapshotMetaOf, StoredMembershipOf, VoteOf};
use rcon_proto::v1;
use rcon_types::NodeId;

openraft::declare_raft_types!(
    /// Names all the types that openraft works with here.
    pub(crate) TypeConfig:
        D = Proposal,
        R = Reply,
        Node = ManagerNode,
);

pub(crate) type LogId = LogIdOf<TypeConfig>;
pub(crate) type Vote = VoteOf<TypeConfig>;
pub(crate) type Entry = EntryOf<TypeConfig>;
pub(crate) type Payload = openraft::EntryPayload<Proposal, u64, ManagerNode>;
pub(crate) type Membership = openraft::Membership<u64, ManagerNode>;
pub(crate) type StoredMembership = StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = SnapshotMetaOf<TypeConfig>;
pub(crate) type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, u64>;
pub(crate) type Raft = openraft::Raft<TypeConfig, crate::machine::StateMachine>;

/// An encoded [`v1::Txn`]: encoded once by its proposer, decoded once by each manager that applies it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proposal(pub(crate) Bytes);

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "txn of {} bytes", self.0.len())
    }
}
impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What became of an entry; none where it had no transaction.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply(pub(crate) Option<Result<v1::Applied, v1::Rejected>>);

/// A participant as the membership has it. Its address is where it was when it joined; the state knows better.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ManagerNode {
    pub(crate) node_id: NodeId,
    pub(crate) address: String,
}

impl Default for ManagerNode {
    fn default() -> Self {
        Self { node_id: NodeId::from_bytes([0; 16]), address: String::new() }
    }
}
