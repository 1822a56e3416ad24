//! What this host's kernel should look like, and the steps there from what it looks like.
//!
//! In flows a [`HostNetwork`] (what the cluster wants of this host) and a [`KernelState`] (what was observed); out flows a
//! list of [`Step`]s. Everything is a value: nothing here opens a socket, reads a clock or knows a file descriptor.
//! `rcon-net` observes and executes.
//!
//! The way through: [`HostNetwork`] → [`KernelState::wanted`] → [`plan`](plan::plan) against the observed [`KernelState`] →
//! steps, removals first. The same pass mends a host after a crash, after damage by hand, and after a change of the cluster.

pub mod constants;
pub mod desired;
pub mod link_address;
pub mod names;

pub use constants::{DNS_ADDRESS, DNS_PORT, GATEWAY_MAC};
pub use desired::{EncryptedBackend, HostNetwork, LocalEndpoint, NodeSettings, OverlayNetwork, OverlaySubnet, RemoteEndpoint, RemoteHost};
pub use link_address::LinkAddresses;
