//! Clusters of real `rcond` processes for the tests: made in a lab, asked through `rconctl` as a person would, gone at the end.
//!
//! What flows in are the programs of one build (`RCON_BIN_DIR`, or those beside the test). Nothing here talks gRPC or looks into a
//! daemon: a test sees what a user sees.

mod cluster;
mod condition;
mod rconctl;

pub use cluster::{Cluster, IMAGE, machine_can};
pub use condition::{eventually, eventually_within};
pub use rconctl::{Node, Rconctl};
