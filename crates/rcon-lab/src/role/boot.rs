//! Making a host, and being its first process afterwards: a reaper, and nothing else.
//!
//! It is not `rcond`: what outlives the daemon is re-parented to it, as on a real host to init. Killing it is the power-off:
//! the kernel then kills every process of the host and takes down its namespaces with all devices and mounts in them.

#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork, sethostname, setsid};

use super::{BootPlan, mounts, pipe};
use crate::cgroup;
use crate::error::LabError;

/// Prints the first process's number to standard output once the host is complete.
pub fn boot(plan: BootPlan) -> Result<ExitCode, LabError> {
    // First of all, so that whatever happens later this process is found and ended with its lab.
    cgroup::join(&plan.cgroups)?;
    let namespaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    unshare(namespaces).map_err(|error| LabError::system("make the host's namespaces", error))?;
    cgroup::join(&plan.seats)?;
    let (ready, tell_ready) = pipe()?;
    // SAFETY: this program has one thread.
    match unsafe { fork() }.map_err(|error| LabError::system("fork the host's first process", error))? {
        ForkResult::Child => {
            drop(ready);
            run_host(&plan, tell_ready)?;
            Ok(ExitCode::SUCCESS)
        }
        ForkResult::Parent { child } => {
            drop(tell_ready);
            let mut word = Vec::new();
            File::from(ready).read_to_end(&mut word).map_err(|error| LabError::system("hear from the host's first process", error))?;
            if word.is_empty() {
                // It has said why on standard error, which it shares with us.
                return Err(LabError::Invalid("the host did not come up".into()));
            }
            println!("{child}");
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn run_host(plan: &BootPlan, tell_ready: OwnedFd) -> Result<(), LabError> {
    setsid().map_err(|error| LabError::system("start a session", error))?;
    sethostname(&plan.hostname).map_err(|error| LabError::system("set the hostname", error))?;
    mounts::make_private(plan)?;
    for (key, value) in &plan.sysctls {
        let path = format!("/proc/sys/{key}");
        std::fs::write(&path, value).map_err(|error| LabError::file("write", &path, error))?;
    }
    let log = OpenOptions::new().create(true).append(true).open(&plan.log).map_err(|error| LabError::file("open", &plan.log, error))?;
    let nothing = File::open("/dev/null").map_err(|error| LabError::file("open", "/dev/null", error))?;
    nix::unistd::dup2_stdin(&nothing).map_err(|error| LabError::system("drop standard input", error))?;
    nix::unistd::dup2_stdout(&log).map_err(|error| LabError::system("redirect standard output", error))?;
    File::from(tell_ready).write_all(b"up").map_err(|error| LabError::system("report that the host is up", error))?;
    // Last, since until now the caller is to see what goes wrong.
    nix::unistd::dup2_stderr(&log).map_err(|error| LabError::system("redirect standard error", error))?;
    reap()
}

/// Takes leave of every process that has ended, for ever.
fn reap() -> Result<(), LabError> {
    let child_ended = SigSet::from(Signal::SIGCHLD);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), None).map_err(|error| LabError::system("block signals", error))?;
    loop {
        while !matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive) | Err(_)) {}
        child_ended.wait().map_err(|error| LabError::system("wait for a signal", error))?;
    }
}
