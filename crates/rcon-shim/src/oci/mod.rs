//! An OCI runtime's command line over libcontainer, one fresh process a command.
//!
//! libcontainer sets up namespaces, mounts and cgroups; the last steps before the program (system call filter, capabilities, signals) are
//! our own ([`executor`]), the same for the first process and for `exec`. State lives below `--root`; nothing is kept in memory.

mod arguments;
mod bundle;
mod commands;
mod error;
mod executor;
mod filter;
mod program;
mod trace;

use std::{ffi::OsString, process::ExitCode};

use arguments::{Arguments, Verb};
use error::OciError;

/// Runs one command. On failure the reason goes to standard error and, as a JSON line, to `--log`; the exit status is 126 or 127 where the
/// program itself cannot be run, else 1.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let arguments = match Arguments::parse(args) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    trace::install(arguments.log.as_deref());
    match perform(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = error.with_causes();
            eprintln!("error: {text}");
            trace::write_line("error", &text);
            ExitCode::from(error.exit_code())
        }
    }
}

fn perform(arguments: &Arguments) -> Result<(), OciError> {
    match &arguments.verb {
        Verb::Create(create) => commands::create(arguments, create),
        Verb::Start => commands::start(arguments),
        Verb::State => commands::state(arguments),
        Verb::Kill { signal } => commands::kill(arguments, *signal),
        Verb::Delete { force } => commands::delete(arguments, *force),
        Verb::Exec(exec) => commands::exec(arguments, exec),
    }
}
