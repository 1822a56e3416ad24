//! A container as the store keeps it.

use std::collections::BTreeMap;

use rcon_image::ImageId;
use rcon_types::{ContainerId, ContainerName};
use serde::{Deserialize, Serialize};

/// Where a container is in its life. Only moves forward within one run; a start after an exit begins the next run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerState {
    /// Has never run.
    Created,
    /// Its shim is being set up; nobody but the engine sees this for long.
    Starting,
    /// Its process runs.
    Running,
    /// Its process has ended, or could not be started.
    Exited,
    /// Is being taken down; ends in there being no record.
    Removing,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit status; 128 + N for signal N; 125, 126 or 127 where it could not be started (as `docker run`); 255 where
    /// the host went down under it.
    pub code: i32,
    /// Why it could not start, or what took it down; empty for an ordinary end.
    pub error: String,
    /// Whether the kernel killed it for want of memory.
    pub oom_killed: bool,
    /// When, in ms since 1970.
    pub finished_ms: u64,
}

/// What the engine keeps of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// Its id.
    pub id: ContainerId,
    /// Its name, unique on this host.
    pub name: ContainerName,
    /// The image as it was asked for.
    pub image: String,
    /// The image it is made of.
    pub image_id: ImageId,
    /// Chain ids of the image's layers, bottom first: what it stands on even when the image has lost its name.
    pub layers: Vec<rcon_image::Digest>,
    /// The program and its arguments.
    pub args: Vec<String>,
    /// `KEY=VALUE`.
    pub env: Vec<String>,
    /// Working directory inside.
    pub workdir: String,
    /// `USER[:GROUP]` as asked for; empty is root.
    pub user: String,
    /// Host name inside.
    pub hostname: String,
    /// Free text by key.
    pub labels: BTreeMap<String, String>,
    /// A pseudo-terminal instead of pipes.
    pub tty: bool,
    /// Its standard input stays open.
    pub open_stdin: bool,
    /// Removed as soon as it has ended.
    pub auto_remove: bool,
    /// The signal that asks it to end.
    pub stop_signal: i32,
    /// Seconds between that signal and SIGKILL.
    pub stop_timeout_s: u32,
    /// The agent's own notes (which networks it is to be on); the engine keeps them and never reads them.
    pub notes: String,
    /// Where it is in its life.
    pub state: ContainerState,
    /// How many times it was started.
    pub run: u32,
    /// Process id of its first process, in the host's namespace, while it runs.
    pub pid: Option<u32>,
    /// When it was created, in ms since 1970.
    pub created_ms: u64,
    /// When it was last started, in ms since 1970.
    pub started_ms: Option<u64>,
    /// How its last run ended.
    pub exit: Option<Exit>,
}

impl ContainerRecord {
    /// Whether its process may be alive.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        matches!(self.state, ContainerState::Starting | ContainerState::Running)
    }
}

impl std::fmt::Display for ContainerState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Exited => "exited",
            Self::Removing => "being removed",
        })
    }
}
