//! The shim: makes a container, owns its streams and its log, and tells its exit, whatever becomes of the daemon.
//!
//! In: a bundle, and requests on a socket (`rcon_oci::shim`). Out: the log, the exit file, streams to whoever attaches. One thread
//! around `poll(2)`; it never blocks on a client, and never touches anything outside of its run directory and its container.
//!
//! When the container has ended and everything is written, the shim waits a little for `Shutdown` and then leaves by itself: an exit file
//! costs less than a process, and the daemon reads it when it is back.

mod client;
mod creation;
mod daemon;
mod ending;
mod error;
mod event_loop;
mod log_file;
mod memory;
mod requests;
mod runtime;
mod streams;
mod terminal;

use std::{ffi::OsString, fs, process::ExitCode};

use rcon_oci::shim::{Readiness, RunDirectory, ShimOptions};

use error::RunError;
use event_loop::Shim;

/// Starts a shim: returns in the first process once its child is on its own; the child answers on standard output.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let options = match ShimOptions::parse(args) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    match daemon::detach(&RunDirectory::new(&options.run_dir)) {
        Ok(daemon::Side::Starter) => ExitCode::SUCCESS,
        Ok(daemon::Side::Daemon(starter)) => serve(&options, starter),
        Err(error) => {
            tell(daemon::Starter::own_output(), &refused(&error));
            ExitCode::FAILURE
        }
    }
}

/// The life of the shim.
fn serve(options: &ShimOptions, starter: daemon::Starter) -> ExitCode {
    let mut shim = match Shim::create(options) {
        Ok(shim) => shim,
        Err(error) => {
            // Where another shim has the directory, its files are not ours.
            if !matches!(error, RunError::Taken { .. }) {
                clear(options);
            }
            tell(starter, &refused(&error));
            return ExitCode::FAILURE;
        }
    };
    tell(starter, &shim.readiness());
    match shim.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", error.failure());
            ExitCode::FAILURE
        }
    }
}

fn refused(error: &RunError) -> Readiness {
    Readiness::Failed { failure: error.failure(), exit_code: error.exit_code() }
}

/// A starter that is gone does not matter.
fn tell(starter: daemon::Starter, readiness: &Readiness) {
    if let Ok(line) = readiness.to_line() {
        starter.tell(&line);
    }
}

/// Leaves nothing of a container that was never there, but for the logs.
fn clear(options: &ShimOptions) {
    let run_dir = RunDirectory::new(&options.run_dir);
    for file in [run_dir.socket(), run_dir.pid_file(), run_dir.init_pid_file()] {
        let _ = fs::remove_file(file);
    }
    let _ = fs::remove_dir_all(run_dir.runtime_root());
}
