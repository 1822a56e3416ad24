//! The agent itself.

pub mod info;
pub mod version;
