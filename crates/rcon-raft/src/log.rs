//! The log on disk: raft-log's chunked files, whose records carry our sealed frames, and a mark beside them.

mod group;
mod mark;
mod record;
mod scan;
mod store;
#[cfg(test)]
mod suite_tests;
#[cfg(test)]
mod sweep_tests;

pub(crate) use store::LogStore;
