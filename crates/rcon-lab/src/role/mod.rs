//! What `rcon-lab-host` does: the one small program of the lab that enters namespaces, single-threaded so that it may fork.
//!
//! - `boot PLAN` makes a host: joins its cgroups, makes its namespaces, mounts what is private, and stays as its first process.
//! - `enter PLAN PROGRAM ARGUMENT…` runs a program in a host.
//! - `disk MEDIUM POINT` serves the disk of a host that keeps only what was synced.
//!
//! Plans are JSON, written by the library and by nobody else.

mod boot;
mod enter;
mod mounts;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use crate::cgroup::Hierarchy;
use crate::disk;
use crate::error::LabError;

/// The exit status for a failure of the lab itself, as container engines have it.
pub const OWN_FAILURE: u8 = 125;
/// The exit status when the program was found but could not be run.
const NOT_EXECUTABLE: u8 = 126;
/// The exit status when the program was not found.
const NOT_FOUND: u8 = 127;
/// Added to a signal's number when the program died of it.
const SIGNAL_BASE: i32 = 128;

/// How to make a host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BootPlan {
    /// Its hostname.
    pub hostname: String,
    /// Cgroup directories that become the roots of its cgroup namespace.
    pub cgroups: Vec<PathBuf>,
    /// Cgroup directories where its own processes sit.
    pub seats: Vec<PathBuf>,
    /// The machine's hierarchies, which the host mounts again as its own.
    pub hierarchies: Vec<Hierarchy>,
    /// Files below `/proc/sys` and what to write to them.
    pub sysctls: Vec<(String, String)>,
    /// A disk image to mount, and where.
    pub disk: Option<(PathBuf, PathBuf)>,
    /// Where its first process reports what happens later.
    pub log: PathBuf,
}

/// How to run a program in a host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EnterPlan {
    /// The host's first process, in the machine's numbers.
    pub init: i32,
    /// Cgroup directories to join.
    pub seats: Vec<PathBuf>,
    /// Leave it to run as a child of the host's first process, instead of waiting for it.
    pub detach: bool,
}

/// The program's `main`.
pub fn main(arguments: Vec<String>) -> ExitCode {
    let outcome = match arguments.get(1..).unwrap_or_default() {
        [role, plan] if role == "boot" => parse(plan).and_then(boot::boot),
        [role, medium, point] if role == disk::ROLE => disk::serve(Path::new(medium), Path::new(point)),
        [role, plan, command @ ..] if role == "enter" && !command.is_empty() => parse(plan).and_then(|plan| enter::enter(plan, command)),
        _ => Err(LabError::Invalid("rcon-lab-host is started by the lab, not by people; see `./dev lab --help`".into())),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("rcon-lab-host: {}", chain(&error));
        ExitCode::from(OWN_FAILURE)
    })
}

fn parse<T: serde::de::DeserializeOwned>(plan: &str) -> Result<T, LabError> {
    serde_json::from_str(plan).map_err(|error| LabError::Invalid(format!("the plan cannot be read: {error}")))
}

fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| error.source()).fold(error.to_string(), |text, source| format!("{text}: {source}"))
}

/// A pipe whose ends are closed by `exec`.
fn pipe() -> Result<(OwnedFd, OwnedFd), LabError> {
    nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|error| LabError::system("make a pipe", error))
}
