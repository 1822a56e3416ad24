//! Liveness of nodes.
pub mod core;
