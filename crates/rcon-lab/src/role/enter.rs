//! Running a program inside a host: in its cgroups and in all of its namespaces.
//!
//! Attached, standard input and output are the caller's, its signals are passed on, and the exit status is the program's.
//! Detached, the program becomes a child of the host's first process, as a daemon does.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, execvp, fork, setsid};

use super::{EnterPlan, NOT_EXECUTABLE, NOT_FOUND, OWN_FAILURE, SIGNAL_BASE, pipe};
use crate::error::LabError;
use crate::{cgroup, process};

/// Where signals are passed on to; 0 before there is a program.
static PROGRAM: AtomicI32 = AtomicI32::new(0);

pub fn enter(plan: EnterPlan, command: &[String]) -> Result<ExitCode, LabError> {
    let arguments: Vec<CString> = command
        .iter()
        .map(|argument| CString::new(argument.as_bytes()))
        .collect::<Result<_, _>>()
        .map_err(|_| LabError::Invalid("an argument has a zero byte in it".into()))?;
    let directory = std::env::current_dir().ok();
    let Some(host) = process::pidfd(plan.init)? else {
        return Err(LabError::Invalid("the host was powered off meanwhile".into()));
    };
    cgroup::join(&plan.seats)?;
    let namespaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    setns(&host, namespaces).map_err(|error| LabError::system("enter the host's namespaces", error))?;
    drop(host);
    // Entering a mount namespace moves to its root.
    if let Some(directory) = directory {
        let _ = std::env::set_current_dir(directory);
    }
    if plan.detach { detach(&arguments) } else { attach(&arguments) }
}

fn attach(arguments: &[CString]) -> Result<ExitCode, LabError> {
    // SAFETY: this program has one thread.
    match unsafe { fork() }.map_err(|error| LabError::system("fork", error))? {
        ForkResult::Child => {
            // SAFETY: the call takes integers only. The program goes when we are killed and cannot pass that on.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let error = execute(arguments);
            eprintln!("could not run `{}`: {}", arguments[0].to_string_lossy(), error.desc());
            std::process::exit(i32::from(if error == Errno::ENOENT { NOT_FOUND } else { NOT_EXECUTABLE }))
        }
        ForkResult::Parent { child } => {
            pass_signals_to(child)?;
            wait_for(child)
        }
    }
}

/// Forks twice: the program's parent ends at once, and the host's first process takes the program over.
fn detach(arguments: &[CString]) -> Result<ExitCode, LabError> {
    let (failure, tell_failure) = pipe()?;
    // SAFETY: this program has one thread.
    match unsafe { fork() }.map_err(|error| LabError::system("fork", error))? {
        ForkResult::Child => {
            drop(failure);
            detach_again(arguments, tell_failure)
        }
        ForkResult::Parent { child } => {
            drop(tell_failure);
            let mut reason = String::new();
            File::from(failure).read_to_string(&mut reason).map_err(|error| LabError::system("hear from the program", error))?;
            wait_for(child)?;
            if reason.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(LabError::Invalid(reason)) }
        }
    }
}

fn detach_again(arguments: &[CString], tell_failure: OwnedFd) -> ! {
    // SAFETY: this program has one thread.
    if let Ok(ForkResult::Child) = unsafe { fork() } {
        let _ = setsid();
        let error = execute(arguments);
        let reason = format!("could not run `{}`: {}", arguments[0].to_string_lossy(), error.desc());
        let _ = nix::unistd::write(&tell_failure, reason.as_bytes());
        std::process::exit(i32::from(OWN_FAILURE))
    }
    std::process::exit(0)
}

/// Becomes the program; returns only when that fails.
fn execute(arguments: &[CString]) -> Errno {
    match execvp(&arguments[0], arguments) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

/// The terminal itself tells the program of Ctrl-C, since both are in its foreground group: we only must outlive it.
fn pass_signals_to(child: Pid) -> Result<(), LabError> {
    PROGRAM.store(child.as_raw(), Ordering::SeqCst);
    let handlers = [
        (Signal::SIGINT, SigHandler::SigIgn),
        (Signal::SIGQUIT, SigHandler::SigIgn),
        (Signal::SIGTERM, SigHandler::Handler(pass_on)),
        (Signal::SIGHUP, SigHandler::Handler(pass_on)),
    ];
    for (signal, handler) in handlers {
        let action = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
        // SAFETY: the handler reads an atomic and calls `kill`, both async-signal-safe.
        unsafe { sigaction(signal, &action) }.map_err(|error| LabError::system("install a signal handler", error))?;
    }
    Ok(())
}

extern "C" fn pass_on(signal: libc::c_int) {
    // SAFETY: `kill` takes integers only; the number is our child's, which is not reaped before we end.
    unsafe { libc::kill(PROGRAM.load(Ordering::SeqCst), signal) };
}

fn wait_for(child: Pid) -> Result<ExitCode, LabError> {
    loop {
        let code = match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, code)) => code,
            Ok(WaitStatus::Signaled(_, signal, _)) => SIGNAL_BASE + signal as i32,
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(error) => return Err(LabError::system("wait for the program", error)),
        };
        return Ok(ExitCode::from(code as u8));
    }
}
