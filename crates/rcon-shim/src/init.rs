//! Process 1 of a container that was started with `--init`: passes signals on, reaps orphans, ends with the command's status.
//!
//! In: the command after `--`. It never does anything else, since everything in the container depends on it.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use nix::{
    errno::Errno,
    sys::{
        signal::{SigSet, Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use crate::signals::unblocked;

/// Runs the command and waits for it.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let mut command = args.into_iter().skip_while(|word| word == "--");
    let Some(program) = command.next() else {
        eprintln!("error: rcon-shim init needs a command after --");
        return ExitCode::from(2);
    };
    // Blocked before the child is there, so that none is missed; the child starts with none blocked.
    let signals = SigSet::all();
    if signals.thread_block().is_err() {
        return ExitCode::FAILURE;
    }
    let child = match unblocked(Command::new(&program).args(command).process_group(0)).spawn() {
        Ok(child) => Pid::from_raw(i32::try_from(child.id()).unwrap_or(0)),
        Err(error) => {
            eprintln!("exec {}: {error}", program.display());
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            return ExitCode::from(if missing { 127 } else { 126 });
        }
    };
    loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => {
                if let Some(code) = reap(child) {
                    return ExitCode::from(code);
                }
            }
            // A terminal's stop signals would stop process 1 only.
            Ok(Signal::SIGTTIN | Signal::SIGTTOU) | Err(_) => {}
            Ok(signal) => {
                let _ = kill(child, signal);
            }
        }
    }
}

/// Reaps everything that has ended; the command's status if it is among that.
fn reap(child: Pid) -> Option<u8> {
    let mut code = None;
    loop {
        match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == child => code = u8::try_from(status & 0xff).ok(),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => code = u8::try_from(128 + signal as i32).ok(),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return code,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return code,
        }
    }
}
