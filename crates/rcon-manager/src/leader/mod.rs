//! What only the leader does.
pub mod membership;
