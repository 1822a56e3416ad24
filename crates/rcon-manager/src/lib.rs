//! The manager: control service, node sessions, certificate authority and the leader's loops, over the replicated state.
//!
//! Requests flow in from people (`Control`), nodes (`NodeSession`, `CertificateAuthority`) and other managers (`SessionReports`); each is
//! authorised against the certificate **and** the state ([`authorise`]), validated in pure code, and becomes a transaction that
//! `rcon-raft` replicates. Applied changes flow out on the sessions of the nodes that they concern. A manager never touches the kernel of its
//! host: that is the agent's, which it meets only through `proto/`.

pub mod assignments;
pub mod authorise;
mod authority;
mod ca_service;
mod control_service;
#[cfg(test)]
mod fixture;
pub mod initial;
mod leader;
pub mod limits;
pub mod liveness;
mod manager;
pub mod network_spec;
mod peer_client;
mod random;
mod replica;
mod reports;
mod session_service;
mod sessions;
mod shared;
mod tokens;
mod transaction;

pub use initial::{Founded, Founding, initial_transaction};
pub use manager::Manager;
pub use shared::ManagerGate;
