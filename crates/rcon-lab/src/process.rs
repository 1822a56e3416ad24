//! Processes of the machine as the lab sees them: found in `/proc`, told apart by start time, killed, waited for.
//!
//! A pid alone is not an identity, since a record may outlive the process (or the boot) it was written in.

#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::error::LabError;
use crate::{limits, wait};

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number in the machine's PID namespace.
    pub pid: i32,
    /// When it started, in clock ticks since the boot (`/proc/PID/stat`, field 22).
    pub start_ticks: u64,
}

/// A running process, with what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its number in the machine's PID namespace.
    pub pid: i32,
    /// Its argument vector; empty for a process that has replaced or dropped it.
    pub arguments: Vec<String>,
}

impl ProcessId {
    /// The process that has this number now; `None` when there is none.
    pub fn of(pid: i32) -> Option<Self> {
        start_ticks(pid).map(|start_ticks| Self { pid, start_ticks })
    }

    /// The calling process.
    pub fn own() -> Option<Self> {
        Self::of(std::process::id() as i32)
    }

    /// Whether it still runs; a zombie does not.
    pub fn is_alive(&self) -> bool {
        Self::of(self.pid) == Some(*self)
    }

    /// Kills it if it still runs, and waits until it is gone.
    pub fn kill_and_wait(&self, deadline: Duration) -> Result<(), LabError> {
        let Some(descriptor) = pidfd(self.pid)? else { return Ok(()) };
        if !self.is_alive() {
            return Ok(());
        }
        send_kill(self.pid)?;
        wait_for_exit(self.pid, &descriptor, deadline)
    }
}

impl Running {
    /// The last part of the program's path; a login shell's dash and a title's parts after the first word are dropped.
    pub fn program(&self) -> &str {
        let first = self.arguments.first().map_or("", String::as_str);
        first.rsplit('/').next().unwrap_or(first)
    }

    /// The program and, where the program is one with roles, its role: `rcond`, `rcond tunnel`.
    pub fn title(&self) -> String {
        match self.arguments.get(1) {
            Some(role) if !role.starts_with('-') && !role.is_empty() => format!("{} {role}", self.program()),
            _ => self.program().to_owned(),
        }
    }

    /// Whether a person means this process by `name`: its title, or its program where that is none with roles.
    ///
    /// `rcond` is the daemon alone; its roles are `rcond tunnel` and the like.
    pub fn is_called(&self, name: &str) -> bool {
        self.title() == name || (name != "rcond" && self.program() == name)
    }
}

/// The processes of the PID namespace whose first process is `init`, without those of namespaces below it.
pub fn in_pid_namespace_of(init: i32) -> Result<Vec<Running>, LabError> {
    let namespace =
        fs::read_link(format!("/proc/{init}/ns/pid")).map_err(|error| LabError::file("read", format!("/proc/{init}/ns/pid"), error))?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").map_err(|error| LabError::file("list", "/proc", error))?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // Processes come and go while we look: one that cannot be read is not there.
        if fs::read_link(entry.path().join("ns/pid")).is_ok_and(|its| its == namespace)
            && let Some(arguments) = arguments_of(pid)
        {
            found.push(Running { pid, arguments });
        }
    }
    Ok(found)
}

/// A process's argument vector. Amid `exec` it has none for a moment, so an empty one of a living process is looked at again.
fn arguments_of(pid: i32) -> Option<Vec<String>> {
    let mut line = None;
    let looked = wait::until("its program begins", limits::EXEC_DEADLINE, || {
        line = fs::read(format!("/proc/{pid}/cmdline")).ok();
        let undecided = line.as_ref().is_some_and(Vec::is_empty) && start_ticks(pid).is_some();
        Ok((!undecided).then_some(()))
    });
    // One that still has none does without.
    drop(looked);
    line.map(|line| split_arguments(&line))
}

/// Kills the process with this number and waits until it is gone.
pub fn kill_pid(pid: i32, deadline: Duration) -> Result<(), LabError> {
    match ProcessId::of(pid) {
        Some(process) => process.kill_and_wait(deadline),
        None => Ok(()),
    }
}

/// Sends SIGKILL; a process that is gone already is fine.
pub(crate) fn send_kill(pid: i32) -> Result<(), LabError> {
    match kill(Pid::from_raw(pid), Signal::SIGKILL) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
        Err(error) => Err(LabError::system(format!("kill process {pid}"), error)),
    }
}

fn wait_for_exit(pid: i32, descriptor: &OwnedFd, deadline: Duration) -> Result<(), LabError> {
    let timeout = PollTimeout::try_from(deadline).unwrap_or(PollTimeout::MAX);
    let mut waiting = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
    let begin = std::time::Instant::now();
    loop {
        match poll(&mut waiting, timeout) {
            Ok(0) => return Err(LabError::Timeout { what: format!("process {pid} ends"), deadline }),
            Ok(_) => return Ok(()),
            Err(nix::errno::Errno::EINTR) if begin.elapsed() < deadline => {}
            Err(error) => return Err(LabError::system(format!("wait for process {pid}"), error)),
        }
    }
}

/// A descriptor of the process, or `None` when there is no such process.
pub(crate) fn pidfd(pid: i32) -> Result<Option<OwnedFd>, LabError> {
    // SAFETY: the call takes two integers and returns a new descriptor or an error.
    let raw = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if raw < 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::ESRCH) => Ok(None),
            _ => Err(LabError::system(format!("open process {pid}"), error)),
        };
    }
    // SAFETY: `raw` was just made by the kernel and nobody else owns it.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(raw as i32) }))
}

fn split_arguments(line: &[u8]) -> Vec<String> {
    let line = line.strip_suffix(&[0]).unwrap_or(line);
    if line.is_empty() {
        return Vec::new();
    }
    line.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
}

/// Field 22 of `/proc/PID/stat` (proc_pid_stat(5)); `None` for a zombie or when there is no such process.
fn start_ticks(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses, which may itself hold spaces and parentheses.
    let mut after_name = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = after_name.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    after_name.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(arguments: &[&str]) -> Running {
        Running { pid: 1, arguments: arguments.iter().map(|part| part.to_string()).collect() }
    }

    #[test]
    fn the_daemon_is_told_from_its_roles() {
        let daemon = running(&["/opt/bin/rcond", "--data-dir", "/x"]);
        let tunnel = running(&["/opt/bin/rcond", "tunnel", "--socket", "/x"]);
        assert!(daemon.is_called("rcond") && !tunnel.is_called("rcond"));
        assert!(tunnel.is_called("rcond tunnel") && !daemon.is_called("rcond tunnel"));
    }

    #[test]
    fn another_program_is_found_by_its_name_whatever_its_arguments() {
        assert!(running(&["/usr/bin/iperf3", "-s"]).is_called("iperf3"));
        assert!(running(&["sleep", "100"]).is_called("sleep"));
    }

    #[test]
    fn a_process_that_ended_is_not_taken_for_its_successor() {
        let own = ProcessId::own().unwrap();
        assert!(own.is_alive());
        assert!(!ProcessId { start_ticks: own.start_ticks + 1, ..own }.is_alive());
    }

    #[test]
    fn arguments_are_split_at_their_zeros() {
        assert_eq!(split_arguments(b"a\0b c\0\0"), ["a", "b c", ""]);
        assert!(split_arguments(b"").is_empty());
    }
}
