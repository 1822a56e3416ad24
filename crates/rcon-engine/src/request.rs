//! What the agent asks of the engine.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

/// A container to be made. Empty fields take the image's default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreateRequest {
    /// Empty: two random words.
    pub name: String,
    /// Name, id or start of an id.
    pub image: String,
    /// The command, or the entrypoint's arguments; empty: the image's.
    pub command: Vec<String>,
    /// Replaces the image's entrypoint (and its command); an empty text takes the entrypoint away.
    pub entrypoint: Option<String>,
    /// `KEY=VALUE`; `KEY` alone takes the variable away.
    pub env: Vec<String>,
    /// Host name inside; empty: the first 12 digits of the id.
    pub hostname: String,
    /// `USER[:GROUP]`.
    pub user: String,
    /// Working directory inside; made when it is not there.
    pub workdir: String,
    /// Free text by key, over the image's.
    pub labels: BTreeMap<String, String>,
    /// A pseudo-terminal instead of pipes.
    pub tty: bool,
    /// Keep standard input open.
    pub open_stdin: bool,
    /// Remove it as soon as it has ended.
    pub auto_remove: bool,
    /// Name with or without SIG, or a number; empty: the image's, else SIGTERM.
    pub stop_signal: String,
    /// Seconds; none: the engine's default.
    pub stop_timeout_s: Option<u32>,
    /// The agent's own notes, kept with the record.
    pub notes: String,
}

/// A container that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its id.
    pub id: rcon_types::ContainerId,
    /// Its name.
    pub name: rcon_types::ContainerName,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// The handle of a network namespace that the agent has made, e.g. `/run/rcond/netns/<id>`. It stays the agent's to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkNamespace {
    /// Where the namespace is bound.
    pub path: PathBuf,
}

/// What a container finds in `/etc/hosts` and `/etc/resolv.conf` about its networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkFiles {
    /// Addresses with their names, for `/etc/hosts`; loopback is added by the engine.
    pub hosts: Vec<(IpAddr, Vec<String>)>,
    /// `nameserver` lines; empty: the host's own file is copied.
    pub nameservers: Vec<IpAddr>,
    /// `search` line.
    pub search: Vec<String>,
    /// `options` line.
    pub options: Vec<String>,
}

/// Which containers to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListFilter {
    /// Those that run.
    #[default]
    Running,
    /// All.
    All,
}

/// How to stop a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StopRequest {
    /// Seconds between the signal and SIGKILL; none: the container's own.
    pub timeout_s: Option<u32>,
    /// Name with or without SIG, or a number; empty: the container's own.
    pub signal: String,
}

/// Which part of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Go on with what is written from now on, until the container ends.
    pub follow: bool,
    /// The last lines only.
    pub tail: Option<u64>,
    /// Not before, in ms since 1970; 0: from the start.
    pub since_ms: u64,
    /// Not after, in ms since 1970; 0: no end.
    pub until_ms: u64,
}

/// A command to run in a running container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecRequest {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// `KEY=VALUE`, over the container's.
    pub env: Vec<String>,
    /// `USER[:GROUP]`; empty: the container's.
    pub user: String,
    /// Empty: the container's.
    pub workdir: String,
    /// A pseudo-terminal instead of pipes.
    pub tty: bool,
    /// Whether input will be sent.
    pub stdin: bool,
    /// The terminal's size at the start.
    pub size: Option<WindowSize>,
}

/// How to attach to a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AttachRequest {
    /// Whether input will be sent.
    pub stdin: bool,
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}
