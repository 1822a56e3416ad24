//! Consensus among the managers: transactions in, one order of them out, applied to the same state everywhere.
//!
//! This is the shell around openraft; none of openraft's types leave it. Transactions and reads flow in through
//! [`Consensus`], other managers' messages through [`RaftGate`]; applied changes flow out through [`Mailbox`]es. The log is
//! sealed on disk and never mended silently. What a transaction means is decided in `rcon-state`; which managers vote is
//! decided by the leader's loop in `rcon-manager`.

mod applied;
mod consensus;
mod context;
mod digest;
mod disk;
mod error;
mod gate;
mod log;
mod machine;
mod mailbox;
mod manager;
mod manager_file;
mod membership;
mod network;
mod options;
mod peers;
mod propose;
mod seal;
mod snapshot_file;
mod types;
mod view;
mod wire;

pub use consensus::Consensus;
pub use error::{ProposeError, RaftError};
pub use gate::RaftGate;
pub use mailbox::{Changes, Mailbox};
pub use options::{DiskLimits, Planted, RaftOptions, Timing};
pub use view::{MembershipView, Participant};
