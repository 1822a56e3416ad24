//! How a process ended; the file that outlives the shim.

use serde::{Deserialize, Serialize};

use super::MessageError;

/// How a container, or an exec's process, ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// The exit status, or 128 and the signal's number, as a shell has it; 126 and 127 where the program could not be run.
    pub exit_code: i32,
    /// The signal that ended it.
    #[serde(default)]
    pub signal: Option<i32>,
    /// Whether the kernel killed a process of the container for lack of memory; for a container, not for an exec.
    #[serde(default)]
    pub oom_killed: bool,
    /// When the program was started, nanoseconds since 1970; 0 when it never was.
    #[serde(default)]
    pub started_at_ns: u64,
    /// When it ended, nanoseconds since 1970.
    pub finished_at_ns: u64,
    /// Why it could not run.
    #[serde(default)]
    pub error: Option<String>,
}

impl ExitRecord {
    /// The file's content.
    ///
    /// # Errors
    /// Never in practice: every value has a JSON form.
    pub fn to_json(&self) -> Result<Vec<u8>, MessageError> {
        serde_json::to_vec(self).map_err(|source| MessageError::Malformed { source })
    }

    /// From the content of [`super::RunDirectory::exit_file`], which is written as a whole or not at all.
    ///
    /// # Errors
    /// When that is no record.
    pub fn from_json(bytes: &[u8]) -> Result<Self, MessageError> {
        serde_json::from_slice(bytes).map_err(|source| MessageError::Malformed { source })
    }
}
