//! Children start with no signal blocked: the standard library hands its own mask on, and both the shim and the init block theirs to take
//! signals one by one.

use std::{os::unix::process::CommandExt, process::Command};

use nix::sys::signal::SigSet;

/// The same command, whose process will have an empty signal mask.
#[allow(unsafe_code)]
pub fn unblocked(command: &mut Command) -> &mut Command {
    // SAFETY: between fork and exec only sigprocmask is called, which is async-signal-safe (signal-safety(7)) and allocates nothing.
    unsafe { command.pre_exec(|| SigSet::empty().thread_set_mask().map_err(Into::into)) }
}
