//! The hands of a host's network: observe the kernel, execute the steps that `rcon-netplan` decided.
//!
//! In flows a [`HostNetwork`](rcon_netplan::HostNetwork) from the agent, out flow [`Report`]s of what does not work and why.
//! One thread of its own ([`HostNet`]) holds the netlink sockets of the host, of `rcon-overlay` and of the containers, applies
//! changes in the order they come, and notices damage by itself. Nothing here decides what the network should be.

mod attribute;
mod capability;
mod conntrack;
mod dns_redirect;
mod error;
mod execute;
mod firewall;
mod foreign;
mod handle;
mod host_net;
mod link_up;
mod message;
mod monitor;
mod namespace;
mod observe;
mod pass;
mod reading;
mod report;
mod socket;
mod sysctl;
mod tap;
pub mod tunnel_client;
mod tunnel_tables;
mod wireguard;
mod worker;

pub use capability::{Capabilities, MissingCapability, probe};
pub use error::NetError;
pub use host_net::{HostNet, Options, Underlay};
pub use rcon_packet::control::{Status as TunnelStatus, Tables as TunnelTables};
pub use report::{Problem, Report};
pub use tunnel_tables::tunnel_tables;
pub use wireguard::WireguardPeer;
