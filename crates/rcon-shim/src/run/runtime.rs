//! The OCI runtime's commands: this program's own `oci` role, or another runtime.

use std::{
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::unistd::Pid;
use rcon_oci::shim::{RunDirectory, ShimOptions};
use serde::Deserialize;

use super::{error::RunError, streams::ProcessEnds};
use crate::signals::unblocked;

/// How a runtime is called for one container.
pub struct Runtime {
    program: PathBuf,
    own: bool,
    root: PathBuf,
    log: PathBuf,
    id: String,
}

/// The files of one call.
pub struct CallFiles {
    /// Gets the process' id.
    pub pid_file: PathBuf,
    /// Gets the terminal.
    pub console_socket: Option<PathBuf>,
}

impl Runtime {
    /// For the shim's container.
    pub fn new(options: &ShimOptions, run_dir: &RunDirectory) -> Self {
        let own = options.runtime.is_none();
        let program = options.runtime.clone().unwrap_or_else(|| "/proc/self/exe".into());
        Self { program, own, root: run_dir.runtime_root(), log: run_dir.runtime_log(), id: options.id.clone() }
    }

    /// Starts `create`; the ends are the container's from then on.
    pub fn create(&self, bundle: &Path, files: &CallFiles, ends: ProcessEnds) -> Result<Pid, RunError> {
        let mut command = self.command("create", ends);
        command.arg("--bundle").arg(bundle);
        self.call("create", with_files(&mut command, files))
    }

    /// Starts `start`.
    pub fn start(&self) -> Result<Pid, RunError> {
        self.call("start", &mut self.command("start", nothing()))
    }

    /// Starts `exec` of the process in a file.
    pub fn exec(&self, process: &Path, files: &CallFiles, ends: ProcessEnds) -> Result<Pid, RunError> {
        let mut command = self.command("exec", ends);
        command.arg("--detach").arg("--process").arg(process);
        self.call("run a process in", with_files(&mut command, files))
    }

    /// Starts `delete --force`.
    pub fn delete(&self) -> Result<Pid, RunError> {
        let mut command = self.command("delete", nothing());
        command.arg("--force");
        self.call("remove", &mut command)
    }

    /// Why a call failed that ended with `status`: the last error in its log.
    pub fn failure(&self, action: &'static str, status: i32) -> RunError {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let reason = last_error(&text).unwrap_or_else(|| format!("the OCI runtime ended with status {status}"));
        let exit_code = match status {
            126 | 127 => Some(status),
            _ if self.own => None,
            _ => exit_code_of(&reason),
        };
        RunError::Runtime { action, reason, exit_code }
    }

    fn command(&self, verb: &str, ends: ProcessEnds) -> Command {
        let mut command = Command::new(&self.program);
        if self.own {
            command.arg("oci");
        }
        command.arg("--root").arg(&self.root).arg("--log").arg(&self.log).args(["--log-format", "json", verb]);
        command.env_clear().env("PATH", rcon_oci::DEFAULT_PATH);
        let stdio = |end: Option<OwnedFd>| end.map_or_else(Stdio::null, Stdio::from);
        command.stdin(stdio(ends.stdin)).stdout(stdio(ends.stdout)).stderr(stdio(ends.stderr));
        command
    }

    fn call(&self, action: &'static str, command: &mut Command) -> Result<Pid, RunError> {
        let _ = fs::remove_file(&self.log);
        let child = unblocked(command.arg(&self.id)).spawn();
        let child = child.map_err(|source| RunError::File { action: "execute", path: self.program.clone(), source })?;
        // The event loop reaps it; dropping the handle leaves it alone.
        i32::try_from(child.id()).map(Pid::from_raw).map_err(|_| RunError::Runtime {
            action,
            reason: "it has no process id".to_owned(),
            exit_code: None,
        })
    }
}

fn nothing() -> ProcessEnds {
    ProcessEnds { stdin: None, stdout: None, stderr: None }
}

fn with_files<'a>(command: &'a mut Command, files: &CallFiles) -> &'a mut Command {
    command.arg("--pid-file").arg(&files.pid_file);
    if let Some(socket) = &files.console_socket {
        command.arg("--console-socket").arg(socket);
    }
    command
}

#[derive(Deserialize)]
struct LogLine {
    level: String,
    msg: String,
}

/// The last line of level `error`, and before it what our own runtime traced on the way.
fn last_error(log: &str) -> Option<String> {
    let lines: Vec<LogLine> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let error = lines.iter().rev().find(|line| line.level == "error")?;
    let trace = lines.iter().find(|line| line.level == "trace" && !error.msg.contains(&line.msg));
    Some(trace.map_or_else(|| error.msg.clone(), |trace| format!("{} ({})", error.msg, trace.msg)))
}

/// Docker's exit code for what runc says of a program.
fn exit_code_of(reason: &str) -> Option<i32> {
    let lower = reason.to_lowercase();
    if !lower.contains("exec") {
        return None;
    }
    let has = |texts: &[&str]| texts.iter().any(|text| lower.contains(text));
    if has(&["executable file not found", "no such file or directory"]) {
        Some(127)
    } else if has(&["permission denied", "exec format error", "is a directory"]) {
        Some(126)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_runtime_says_becomes_dockers_exit_code() {
        for (reason, code) in [
            ("exec: \"nope\": executable file not found in $PATH", Some(127)),
            ("runc create failed: unable to start container process: exec: \"/nope\": stat /nope: no such file or directory", Some(127)),
            ("exec: \"/etc/passwd\": permission denied", Some(126)),
            ("error mounting \"/x\": no such file or directory", None),
        ] {
            assert_eq!(exit_code_of(reason), code, "{reason}");
        }
    }

    #[test]
    fn the_last_error_of_the_log_is_the_reason() {
        let log = "{\"level\":\"trace\",\"msg\":\"failed to mount\"}\nnot json\n{\"level\":\"error\",\"msg\":\"could not create\",\"time\":\"x\"}\n";
        assert_eq!(last_error(log).unwrap(), "could not create (failed to mount)");
        assert_eq!(last_error(""), None);
    }
}
