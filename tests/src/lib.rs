//! Clusters of real `rcond` processes for the tests: made in a lab, asked through `rconctl` as a person would, gone at the end.
//!
//! What flows in are the programs of one build (`RCON_BIN_DIR`, or those beside the test). Nothing but [`history`] talks gRPC and
//! nothing looks into a daemon: a test sees what a user sees.

mod cluster;
mod condition;
pub mod history;
mod rconctl;

pub use cluster::{Cluster, IMAGE, machine_can};
pub use condition::{eventually, eventually_within};
pub use rconctl::{Node, Rconctl};
