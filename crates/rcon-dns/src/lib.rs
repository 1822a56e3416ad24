//! The DNS server of a host's containers: the `rcond dns` process.
//!
//! In flow a snapshot file that `rcond` replaces ([`rcon_netplan::dns`]) and queries from sockets inside each container's
//! network namespace; out flow answers for the names of that container's own networks, and for every other name what the
//! resolvers of the host say. Which answer a query gets is decided in pure code ([`zone`], [`answer`]).
//!
//! It runs without `rcond`, and hands its sockets to its successor ([`handover`]), so that no lookup fails while either is
//! replaced. It never writes the snapshot, changes a namespace, or answers about a network that the asker is not on.

pub mod answer;
mod client;
mod container;
mod control;
mod error;
mod forward;
pub mod handover;
pub mod limits;
mod namespace;
mod server;
mod snapshot;
mod tcp;
mod udp;
pub mod zone;

pub use client::{reload, status};
pub use error::DnsError;
pub use server::{Options, run};
