//! Turning an archive into a directory without trusting it.
//!
//! The archive arrives as a file descriptor on standard input of a child process (`rcond unpack`), which locks itself
//! into the directory with Landlock, drops what it does not need, and only then looks at the first byte. It answers
//! with one JSON document on standard output: an [`UnpackReport`], or why it refused.

mod archive;
mod entry;
mod error;
mod extract;
mod path;
mod pax;
mod role;
mod sandbox;
mod source;
mod tree;

pub use error::UnpackError;
pub use role::unpack_main;

use std::{ffi::OsString, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// Who unpacks.
#[derive(Debug, Clone)]
pub enum Unpacker {
    /// A child process: `program args… --parent PID --root DIR --limits JSON`, the archive on its standard input. The daemon gives
    /// `/proc/self/exe` and `unpack`, and its `main` hands that role to [`unpack_main`].
    Process {
        /// The program.
        program: PathBuf,
        /// The arguments before ours.
        args: Vec<OsString>,
    },
    /// A thread of this process, under Landlock too: for tests and tools that have no such role.
    Thread,
}

/// What an archive became.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnpackReport {
    /// The digest of the archive after decompression, which is the layer's diff id.
    pub diff_id: Digest,
    /// The bytes of the regular files.
    pub size_bytes: u64,
    /// The entries of the archive.
    pub entries: u64,
    /// Media type of the archive as it came.
    pub media_type: String,
}
