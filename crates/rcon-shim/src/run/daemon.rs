//! Away from whoever started us: an own session, no inherited descriptors, no working directory.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
};

use nix::{
    sys::{
        prctl,
        signal::{SigSet, Signal},
        stat::{Mode, umask},
    },
    unistd::{ForkResult, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fork, setsid},
};
use rcon_oci::shim::RunDirectory;

use super::error::RunError;

/// Which process this is after [`detach`].
pub enum Side {
    /// That which was started; it may end.
    Starter,
    /// Its child, on its own.
    Daemon(Starter),
}

/// The standard output that was inherited: whoever reads it waits for one line and its end.
pub struct Starter(Option<OwnedFd>);

impl Starter {
    /// For a failure before there is a child.
    pub fn own_output() -> Self {
        Self(io::stdout().as_fd().try_clone_to_owned().ok())
    }

    /// Writes the line and closes.
    pub fn tell(self, line: &str) {
        if let Some(fd) = self.0 {
            let _ = File::from(fd).write_all(line.as_bytes());
        }
    }
}

/// Forks; the child is detached, becomes the reaper of its descendants, and logs to the run directory.
#[allow(unsafe_code)]
pub fn detach(run_dir: &RunDirectory) -> Result<Side, RunError> {
    let log_path = run_dir.shim_log();
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&log_path);
    let log = log.map_err(|source| RunError::File { action: "open", path: log_path, source })?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null");
    let null = null.map_err(|source| RunError::File { action: "open", path: "/dev/null".into(), source })?;
    // SAFETY: this process has one thread, so the child may do anything.
    match unsafe { fork() }.map_err(|errno| RunError::System { action: "fork", source: errno.into() })? {
        ForkResult::Parent { .. } => Ok(Side::Starter),
        ForkResult::Child => settle(log, null)
            .map(|output| Side::Daemon(Starter(Some(output))))
            .map_err(|source| RunError::System { action: "detach from the starter", source }),
    }
}

/// Gives what standard output was.
fn settle(log: File, null: File) -> io::Result<OwnedFd> {
    setsid()?;
    chdir("/")?;
    umask(Mode::from_bits_truncate(0o022));
    prctl::set_child_subreaper(true)?;
    // Blocked, so that they arrive by descriptor; those that ask to leave are not for a shim, whose container goes on.
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM, Signal::SIGPIPE] {
        signals.add(signal);
    }
    signals.thread_block()?;
    let output = io::stdout().as_fd().try_clone_to_owned()?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&log)?;
    drop((null, log));
    close_all_but(output.as_raw_fd())?;
    Ok(output)
}

/// Closes what was inherited: everything above standard error but `keep`.
#[allow(unsafe_code)]
fn close_all_but(keep: i32) -> io::Result<()> {
    let keep = u32::try_from(keep).map_err(io::Error::other)?;
    for (first, last) in [(3, keep.saturating_sub(1)), (keep + 1, u32::MAX)] {
        if first > last {
            continue;
        }
        // SAFETY: nothing of this process is open here but the three standard descriptors and `keep`; the others came from the starter, and
        // no value in this program stands for them.
        if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
