//! What can go wrong with a lab, and how to mend it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

/// A failed operation on a lab.
#[derive(Debug, Error)]
pub enum LabError {
    /// A file of the lab, of a cgroup or of `/proc` could not be used.
    #[error("could not {action} `{path}`")]
    File {
        /// Verb, as in "read".
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A system call that concerns no file failed.
    #[error("could not {action}")]
    System {
        /// What was tried.
        action: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A program could not be started.
    #[error("could not run `{command}`")]
    Spawn {
        /// The program and its arguments.
        command: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A program ended with an error.
    #[error("`{command}` failed with {status}: {output}")]
    Command {
        /// The program and its arguments.
        command: String,
        /// Its exit status.
        status: String,
        /// What it wrote to standard error.
        output: String,
    },
    /// The lab's record on disk makes no sense.
    #[error("the lab's record `{path}` is damaged")]
    Record {
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// No lab has this id.
    #[error("there is no lab `{id}` in `{directory}`")]
    NoSuchLab {
        /// The id asked for.
        id: String,
        /// Where labs are kept.
        directory: PathBuf,
    },
    /// A lab with this id exists.
    #[error("lab `{id}` is up already, in `{directory}`")]
    AlreadyUp {
        /// The id asked for.
        id: String,
        /// Where labs are kept.
        directory: PathBuf,
    },
    /// The lab has no such host.
    #[error("lab `{id}` has no host `{name}`; it has {known}")]
    NoSuchHost {
        /// The lab.
        id: String,
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The host is not in the state that the operation needs.
    #[error("host `{name}` is {state}")]
    HostState {
        /// The host.
        name: String,
        /// Its state, in words.
        state: &'static str,
        /// What to do about it.
        hint: String,
    },
    /// No process of the host has that name.
    #[error("no process `{process}` runs on `{host}`; there are: {running}")]
    NoSuchProcess {
        /// The host.
        host: String,
        /// The name asked for.
        process: String,
        /// The names there are.
        running: String,
    },
    /// An argument is out of range.
    #[error("{0}")]
    Invalid(String),
    /// The machine cannot run a lab.
    #[error("this machine cannot run a lab: {reason}")]
    Unsupported {
        /// What is missing.
        reason: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// A condition did not come true in time.
    #[error("{what}: not within {} s", deadline.as_secs_f32())]
    Timeout {
        /// What was waited for.
        what: String,
        /// For how long.
        deadline: Duration,
    },
    /// The person at the terminal asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl LabError {
    /// The remedy, where there is one to name.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoSuchLab { .. } => Some("`./dev lab up --hosts 3` makes one".into()),
            Self::AlreadyUp { id, .. } => Some(format!("`./dev lab --lab {id} down` takes it down; `--lab NAME` makes another beside it")),
            Self::HostState { hint, .. } => Some(hint.clone()),
            Self::Unsupported { hint, .. } => Some((*hint).into()),
            Self::Record { .. } => Some("`./dev lab down` removes whatever is left of it".into()),
            _ => None,
        }
    }

    pub(crate) fn file(action: &'static str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> Self {
        Self::File { action, path: path.as_ref().to_owned(), source: source.into() }
    }

    pub(crate) fn system(action: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::System { action: action.into(), source: source.into() }
    }
}
