//! Consensus among the managers: transactions in, one order of them out, applied to the same state everywhere.
//!
//! This is the shell around openraft; none of openraft's types leave it. Transactions and reads flow in through
//! [`Consensus`], other managers' messages through [`RaftGate`]; applied changes flow out through [`Mailbox`]es. The log is
//! sealed on disk and never mended silently. What a transaction means is decided in `rcon-state`; which managers vote is
//! decided by the leader's loop in `rcon-manager`.

mod consensus;
mod error;
mod gate;
mod mailbox;
mod options;
mod view;

pub use consensus::Consensus;
pub use error::{ProposeError, RaftError};
pub use gate::RaftGate;
pub use mailbox::{Changes, Mailbox};
pub use options::{DiskLimits, Planted, RaftOptions, Timing};
pub use view::{MembershipView, Participant};
