//! Reading a container's log while its shim writes, and turns over, the files.

mod follow;
mod reader;

pub(crate) use follow::{Ending, read};
