//! The shell of a node: a session with a manager, a ledger on disk, one reconcile loop, and the local API.
//!
//! In flow assignments of the cluster and requests of this host's users; out flow containers (by `rcon-engine`), networks (by
//! `rcon-net`) and reports. The agent decides nothing for the cluster and knows neither Raft nor the replicated state: it speaks to
//! managers, also to one in its own process, through `proto/` alone ([`link`], [`cluster_side`]).

pub mod address;
mod agent;
mod api;
mod attachments;
pub mod cluster_side;
mod desired;
mod file;
mod helpers;
mod host;
mod ledger;
pub mod limits;
pub mod link;
mod membership;
mod names;
mod networking;
mod reconcile;
mod requests;
mod role;
mod session;
pub mod settings;
mod tunnel_watch;
mod view;

pub use agent::{Agent, AgentOptions};
pub use cluster_side::{ClusterSide, Entry, Founded};
pub use host::FEATURE_LEVEL;
pub use link::LocalManager;
pub use settings::NodeSettings;
