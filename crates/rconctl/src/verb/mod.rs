//! The verbs, one file each, grouped by what they act on.

pub mod container;
pub mod image;
pub mod network;
pub mod node;
pub mod swarm;
pub mod system;
