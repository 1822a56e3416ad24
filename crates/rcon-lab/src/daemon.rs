//! Running programs on a host: its daemon, and whatever a person or a test wants there.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command;
use crate::error::LabError;
use crate::lab::{Lab, Locked};
use crate::limits;
use crate::options::Daemon;
use crate::process;
use crate::role::EnterPlan;
use crate::wait;

/// Where every host's `rcond` keeps its sockets; `/run` is the host's own.
pub const RUN_DIRECTORY: &str = "/run/rcond";
/// The parent of the containers' cgroups, as the host sees it: its own root is the lab's.
const CGROUP_PARENT: &str = "/rcon";
/// What of the caller's environment a daemon gets: the rest would make runs differ.
const DAEMON_ENVIRONMENT: [&str; 4] = ["RUST_LOG", "RUST_BACKTRACE", "HOME", "TMPDIR"];

impl Lab {
    /// A command that runs `program` on the host (or on the fabric): in all its namespaces and cgroups, with `rconctl` on the PATH
    /// and talking to that host's agent. Arguments may be added; input, output and exit status are the program's.
    pub fn command(&self, host: &str, program: &str) -> Result<Command, LabError> {
        let locked = self.lock()?;
        let mut command = entering(&locked, host, false)?;
        command.arg(program).env("PATH", search_path(&locked)).env("RCON_HOST", socket_of_host());
        Ok(command)
    }

    /// Starts a host's daemon, after it was killed, and waits until it answers.
    pub fn start(&self, host: &str) -> Result<(), LabError> {
        let locked = self.lock()?;
        let position = locked.position(host)?;
        if let Some(running) = find_daemon(&locked, position)? {
            return Err(LabError::HostState {
                name: host.to_owned(),
                state: "running its daemon already",
                hint: format!("it is process {running}; `./dev lab kill {host}` kills it"),
            });
        }
        spawn(&locked, position)?;
        wait_until_ready(&locked, position)
    }

    /// Kills (SIGKILL) the host's daemon and nothing else, or the processes that `name` names: a program (`iperf3`), or a program
    /// and its role (`rcond tunnel`). Returns their numbers once they are gone.
    pub fn kill(&self, host: &str, name: Option<&str>) -> Result<Vec<i32>, LabError> {
        let locked = self.lock()?;
        let position = locked.position(host)?;
        let name = name.map_or_else(|| daemon_name(&locked.record.hosts[position].options.daemon), str::to_owned);
        let init = locked.running(host)?.pid;
        let running: Vec<_> = process::in_pid_namespace_of(init)?.into_iter().filter(|one| one.pid != init).collect();
        let meant: Vec<i32> = running.iter().filter(|one| one.is_called(&name)).map(|one| one.pid).collect();
        if meant.is_empty() {
            let mut titles: Vec<String> = running.iter().map(|one| one.title()).collect();
            titles.sort();
            titles.dedup();
            return Err(LabError::NoSuchProcess { host: host.to_owned(), process: name, running: titles.join(", ") });
        }
        meant.iter().try_for_each(|pid| process::kill_pid(*pid, limits::KILL_DEADLINE))?;
        Ok(meant)
    }

    /// Where what the host's daemon has printed is, from its first start on.
    pub fn daemon_log(&self, host: &str) -> PathBuf {
        self.directory().join(host).join("rcond.log")
    }
}

/// What `rconctl` on a host is told to talk to.
fn socket_of_host() -> String {
    format!("{RUN_DIRECTORY}/rcond.sock")
}

/// The same socket as a path of the machine.
pub(crate) fn socket_seen_from_outside(init: i32) -> PathBuf {
    PathBuf::from(format!("/proc/{init}/root{RUN_DIRECTORY}/rcond.sock"))
}

/// Starts the host's daemon as a child of the host's first process.
pub(crate) fn spawn(locked: &Locked, position: usize) -> Result<(), LabError> {
    let host = &locked.record.hosts[position];
    let words: Vec<OsString> = match &host.options.daemon {
        Daemon::Nothing => return Ok(()),
        Daemon::Command(words) => words.iter().map(OsString::from).collect(),
        Daemon::Rcond { arguments } => {
            let mut words = vec![locked.record.binaries.join("rcond").into_os_string()];
            words.extend(["--data-dir".into(), locked.data_directory(host).into_os_string()]);
            words.extend(["--run-dir", RUN_DIRECTORY, "--cgroup-parent", CGROUP_PARENT].map(OsString::from));
            words.extend(arguments.iter().map(OsString::from));
            words
        }
    };
    let path = log_path(locked, &host.name);
    let log = OpenOptions::new().create(true).append(true).open(&path).map_err(|error| LabError::file("open", &path, error))?;
    let again = log.try_clone().map_err(|error| LabError::file("open", &path, error))?;
    let mut command = entering(locked, &host.name, true)?;
    command.args(words).current_dir("/").env_clear().env("PATH", search_path(locked));
    command.envs(DAEMON_ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.envs(host.options.environment.iter().map(|(name, value)| (name, value)));
    command.stdin(std::process::Stdio::null()).stdout(log).stderr(again);
    let status = command.status().map_err(|source| LabError::Spawn { command: daemon_name(&host.options.daemon), source })?;
    if status.success() { Ok(()) } else { Err(ended(locked, position)) }
}

/// Waits until `rcond` takes a connection; another daemon is only looked at, whether it runs.
pub(crate) fn wait_until_ready(locked: &Locked, position: usize) -> Result<(), LabError> {
    let host = &locked.record.hosts[position];
    if host.options.daemon == Daemon::Nothing {
        return Ok(());
    }
    let socket = socket_seen_from_outside(locked.running(&host.name)?.pid);
    let answers = || match &host.options.daemon {
        Daemon::Rcond { .. } => UnixStream::connect(&socket).is_ok(),
        _ => true,
    };
    wait::until(&format!("`{}` answers on `{}`", daemon_name(&host.options.daemon), host.name), limits::DAEMON_DEADLINE, || {
        if find_daemon(locked, position)?.is_none() {
            return Err(ended(locked, position));
        }
        Ok(answers().then_some(()))
    })
}

fn find_daemon(locked: &Locked, position: usize) -> Result<Option<i32>, LabError> {
    let host = &locked.record.hosts[position];
    let (name, init) = (daemon_name(&host.options.daemon), locked.running(&host.name)?.pid);
    let running = process::in_pid_namespace_of(init)?;
    Ok(running.iter().find(|one| one.pid != init && one.is_called(&name)).map(|one| one.pid))
}

fn daemon_name(daemon: &Daemon) -> String {
    match daemon {
        Daemon::Command(words) => words[0].rsplit('/').next().unwrap_or(&words[0]).to_owned(),
        Daemon::Rcond { .. } | Daemon::Nothing => "rcond".to_owned(),
    }
}

fn entering(locked: &Locked, host: &str, detach: bool) -> Result<Command, LabError> {
    let init = locked.running(host)?.pid;
    if locked.record.hosts.iter().any(|one| one.name == host && one.frozen) {
        return Err(LabError::HostState { name: host.to_owned(), state: "frozen", hint: format!("`./dev lab thaw {host}` lets it go on") });
    }
    entering_as(locked, init, locked.record.cgroups.child(host).seats(), detach)
}

/// Enters the namespaces of a host by its first process, and whichever cgroups.
pub(crate) fn entering_as(locked: &Locked, init: i32, seats: Vec<PathBuf>, detach: bool) -> Result<Command, LabError> {
    let plan = EnterPlan { init, seats, detach };
    let text = serde_json::to_string(&plan).map_err(|error| LabError::Invalid(format!("the plan cannot be written: {error}")))?;
    let mut command = Command::new(locked.record.binaries.join("rcon-lab-host"));
    command.args(["enter", &text]);
    if !detach {
        // Whoever gives up on the command ends it with all that it runs on the host.
        command::die_with_caller(&mut command);
    }
    Ok(command)
}

fn search_path(locked: &Locked) -> OsString {
    let usual = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into();
    let mut path = locked.record.binaries.clone().into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or(usual));
    path
}

fn log_path(locked: &Locked, host: &str) -> PathBuf {
    locked.host_directory(host).join("rcond.log")
}

fn ended(locked: &Locked, position: usize) -> LabError {
    let host = &locked.record.hosts[position];
    let path = log_path(locked, &host.name);
    LabError::Command {
        command: format!("{} on {}", daemon_name(&host.options.daemon), host.name),
        status: "an early end".into(),
        output: last_lines(&path),
    }
}

fn last_lines(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(limits::QUOTED_LOG_LINES)..].join("\n")
}
