//! Which nodes live. The decisions are in [`core`]; `sessions` and `reports` feed it, and the leader's loop proposes what it decides.

pub mod core;
