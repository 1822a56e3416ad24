//! What this host's kernel should look like, and the steps there from what it looks like.
//!
//! In flows a [`HostNetwork`] (what the cluster wants of this host) and a [`KernelState`] (what was observed); out flows a
//! list of [`Step`]s. Everything is a value: nothing here opens a socket, reads a clock or knows a file descriptor.
//! `rcon-net` observes and executes.
//!
//! The way through: [`HostNetwork`] → [`Wanted`] (the same in the kernel's words) → [`plan`](plan::plan) against the observed [`KernelState`] →
//! steps, removals first. The same pass mends a host after a crash, after damage by hand, and after a change of the cluster.

pub mod constants;
pub mod desired;
pub mod dns;
pub mod firewall;
pub mod foreign;
pub mod kernel;
pub mod link_address;
pub mod names;
pub mod plan;
pub mod step;
pub mod wanted;

pub use constants::{DNS_ADDRESS, DNS_PORT, GATEWAY_MAC};
pub use desired::{EncryptedBackend, HostNetwork, LocalEndpoint, NodeSettings, OverlayNetwork, OverlaySubnet, RemoteEndpoint, RemoteHost};
pub use kernel::{KernelState, Namespace};
pub use link_address::LinkAddresses;
pub use plan::plan;
pub use step::{Action, Scope, Step};
pub use wanted::{HostFacts, Wanted};
