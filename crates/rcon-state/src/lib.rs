//! The replicated state machine: what a transaction does to the cluster's state, and what the state is.
//!
//! Raft entries flow in through [`State::apply`]; what was written and who is interested ([`Outcome`]) flows out. The
//! state is persistent maps, so a [`Clone`] is a handful of reference counts and a reader never waits for a writer.
//!
//! Nothing here reads a clock, a file, the environment or randomness: ids and times are in the transaction, and
//! everything that is allocated (VNI, subnets, addresses, VTEPs, Raft ids) is a function of the state. Two managers
//! that applied the same entries have the same state, bit for bit; [`State::digest`] is how they check it.

mod allocate;
mod apply;
mod cursor;
mod dirty;
mod error;
mod index;
mod key;
pub mod limits;
mod lookup;
mod recent;
mod snapshot;
mod state;
mod validate;

pub use apply::Outcome;
pub use dirty::Dirty;
pub use error::{ApplyError, SnapshotError, rejected_failure};
pub use key::{ObjectKey, TokenId, TxnId};
pub use state::State;
