//! What there is of a container's shim, seen from its run directory.

use std::{fs, io, path::Path};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rcon_oci::shim::{ExitRecord, Request, Response, RunDirectory, ShimState};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use tokio::time::{Instant, sleep};

use crate::{
    limits::{RECONNECT_INTERVAL, SHIM_DEADLINE},
    shim::ShimConnection,
};

/// A shim as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Observed {
    /// There is no run directory.
    Absent,
    /// It lives and answers.
    Alive(ShimState),
    /// It is gone, and left how its container ended, if it came to that.
    Dead {
        /// The content of its exit file.
        exit: Option<ExitRecord>,
    },
}

/// Looks at a shim. One that lives but does not answer within a deadline is killed.
pub(crate) async fn observe(run: &RunDirectory) -> Observed {
    if !run.path().is_dir() {
        return Observed::Absent;
    }
    let deadline = Instant::now() + SHIM_DEADLINE;
    while is_locked(&run.pid_file()) {
        match ShimConnection::ask_once(run, &Request::State).await {
            Ok(Response::State { state }) => return Observed::Alive(state),
            // It may not have its socket yet, or no longer.
            outcome if Instant::now() < deadline => tracing::debug!(run = %run.path().display(), ?outcome, "a shim does not answer yet"),
            outcome => {
                tracing::error!(run = %run.path().display(), ?outcome, "a shim does not answer, it is killed");
                kill_shim(run);
            }
        }
        sleep(RECONNECT_INTERVAL).await;
    }
    Observed::Dead { exit: exit_record(run) }
}

/// The exit that a shim has left.
pub(crate) fn exit_record(run: &RunDirectory) -> Option<ExitRecord> {
    let bytes = fs::read(run.exit_file()).ok()?;
    ExitRecord::from_json(&bytes).inspect_err(|error| tracing::error!(%error, run = %run.path().display(), "an exit file is damaged")).ok()
}

/// Whether somebody holds the lock on a shim's pid file: it lives.
pub(crate) fn is_locked(pid_file: &Path) -> bool {
    let Ok(file) = fs::File::open(pid_file) else { return false };
    matches!(flock(&file, FlockOperation::NonBlockingLockShared), Err(Errno::WOULDBLOCK))
}

/// Kills a shim that holds its lock: so the number in the file is its own, not that of a process that came later.
fn kill_shim(run: &RunDirectory) {
    let pid = fs::read_to_string(run.pid_file()).map_err(io::Error::other).and_then(|text| text.trim().parse().map_err(io::Error::other));
    if let Some(pid) = pid.ok().filter(|pid: &i32| *pid > 1) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}
