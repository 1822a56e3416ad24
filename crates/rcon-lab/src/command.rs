//! Running a program to its end, in a given network namespace where asked, with its complaint in the error.

#![allow(unsafe_code)]

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, setns};

use crate::error::LabError;

/// Runs it without input and returns what it printed.
pub(crate) fn run(command: &mut Command) -> Result<String, LabError> {
    run_with_input(command, "")
}

/// Runs it with `input` and returns what it printed.
pub(crate) fn run_with_input(command: &mut Command, input: &str) -> Result<String, LabError> {
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|error| LabError::Spawn { command: text(command), source: error })?;
    if let Some(mut stdin) = child.stdin.take() {
        // Our inputs fit into the pipe, and a program that ends early says why itself.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| LabError::Spawn { command: text(command), source: error })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(LabError::Command { command: text(command), status: output.status.to_string(), output: complaint })
}

/// Makes the program start in the network namespace at `path`; its files stay the machine's.
pub(crate) fn in_network_namespace(command: &mut Command, path: &Path) -> Result<(), LabError> {
    let namespace = File::open(path).map_err(|error| LabError::file("open", path, error))?;
    // SAFETY: between fork and exec only `setns` is called, which is async-signal-safe, on a descriptor that the closure owns.
    unsafe { command.pre_exec(move || Ok(setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)?)) };
    Ok(())
}

/// Makes the program die with the thread that starts it.
pub(crate) fn die_with_caller(command: &mut Command) {
    // SAFETY: between fork and exec only `prctl` is called, which is async-signal-safe and takes integers.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        })
    };
}

fn text(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
