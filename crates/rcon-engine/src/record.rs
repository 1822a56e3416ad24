//! A container as the store keeps it.

use std::collections::BTreeMap;

use rcon_image::ImageId;
use rcon_types::{ContainerId, ContainerName};
use serde::{Deserialize, Serialize};

use crate::error::EngineError;

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

    /// The next run begins.
    pub(crate) fn starting(&self) -> Result<Self, EngineError> {
        match self.state {
            ContainerState::Created | ContainerState::Exited => {
                Ok(Self { state: ContainerState::Starting, run: self.run + 1, pid: None, started_ms: None, exit: None, ..self.clone() })
            }
            ContainerState::Starting | ContainerState::Running => Err(EngineError::Running(self.name.to_string())),
            ContainerState::Removing => Err(self.refusal("start")),
        }
    }

    /// Its process runs.
    pub(crate) fn running(&self, pid: u32, started_ms: u64) -> Result<Self, EngineError> {
        match self.state {
            ContainerState::Starting => {
                Ok(Self { state: ContainerState::Running, pid: Some(pid), started_ms: Some(started_ms), ..self.clone() })
            }
            _ => Err(self.refusal("call running")),
        }
    }

    /// Its process has ended, or never came to run. An end that is known already stays.
    pub(crate) fn exited(&self, exit: Exit) -> Result<Self, EngineError> {
        match self.state {
            ContainerState::Starting | ContainerState::Running => {
                Ok(Self { state: ContainerState::Exited, pid: None, exit: Some(exit), ..self.clone() })
            }
            _ => Err(self.refusal("call ended")),
        }
    }

    /// It is being taken down; there is no way back.
    pub(crate) fn removing(&self) -> Result<Self, EngineError> {
        match self.state {
            ContainerState::Starting | ContainerState::Running => Err(self.refusal("remove")),
            _ => Ok(Self { state: ContainerState::Removing, ..self.clone() }),
        }
    }

    pub(crate) fn refusal(&self, action: &'static str) -> EngineError {
        EngineError::State { action, container: self.name.to_string(), state: self.state }
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A container that was created and never started.
    pub(crate) fn record(number: u8, name: &str) -> ContainerRecord {
        let digest = rcon_image::Digest::of(&[number]);
        ContainerRecord {
            id: ContainerId::from_bytes([number; 32]),
            name: name.parse().unwrap(),
            image: "image".into(),
            image_id: digest,
            layers: vec![digest],
            args: vec!["true".into()],
            env: Vec::new(),
            workdir: "/".into(),
            user: String::new(),
            hostname: "host".into(),
            labels: BTreeMap::new(),
            tty: false,
            open_stdin: false,
            auto_remove: false,
            stop_signal: 15,
            stop_timeout_s: 10,
            notes: String::new(),
            state: ContainerState::Created,
            run: 0,
            pid: None,
            created_ms: 1,
            started_ms: None,
            exit: None,
        }
    }

    fn exit(code: i32) -> Exit {
        Exit { code, error: String::new(), oom_killed: false, finished_ms: 3 }
    }

    #[test]
    fn a_life_goes_forward_and_a_new_start_is_a_new_run() {
        let created = record(1, "c");
        let running = created.starting().unwrap().running(7, 2).unwrap();
        assert_eq!((running.run, running.pid, running.is_alive()), (1, Some(7), true));
        let exited = running.exited(exit(3)).unwrap();
        assert_eq!((exited.pid, exited.exit.clone().unwrap().code), (None, 3));
        let again = exited.starting().unwrap();
        assert_eq!((again.run, &again.exit, again.started_ms), (2, &None, None));
        assert_eq!(exited.removing().unwrap().state, ContainerState::Removing);
    }

    #[test]
    fn steps_that_go_back_or_skip_are_refused() {
        let created = record(1, "c");
        let running = created.starting().unwrap().running(7, 2).unwrap();
        let exited = running.exited(exit(0)).unwrap();
        let removing = exited.removing().unwrap();
        assert!(created.running(7, 2).is_err() && created.exited(exit(0)).is_err());
        assert!(matches!(running.starting(), Err(EngineError::Running(_))));
        assert!(running.removing().is_err() && running.running(8, 2).is_err());
        assert!(exited.exited(exit(1)).is_err() && exited.running(7, 2).is_err());
        assert!(removing.starting().is_err() && removing.exited(exit(1)).is_err());
        assert!(removing.removing().is_ok(), "a removal may be tried again");
    }
}
