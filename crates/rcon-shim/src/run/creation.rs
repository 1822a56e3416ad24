//! What happens before the loop: the run directory is taken, the container created, the socket opened.

use std::{
    fs,
    io::{self, Write as _},
    os::{
        fd::AsFd,
        unix::{fs::PermissionsExt, net::UnixListener},
    },
    path::Path,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::Signal,
        signalfd::SignalFd,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use oci_spec::runtime::{Process, Spec};
use rcon_oci::shim::{RunDirectory, ShimOptions};

use super::{
    error::RunError,
    event_loop::own_pid,
    runtime::{CallFiles, Runtime},
    streams::{ProcessEnds, Streams},
    terminal::{ConsoleSocket, bind_in},
};

/// How long the runtime may take to create a container, seconds.
const CREATE_DEADLINE_S: u64 = 60;

/// Has the runtime create the container, and gives its streams and first process.
pub(super) fn create_container(
    options: &ShimOptions,
    run_dir: &RunDirectory,
    runtime: &Runtime,
    process: &Process,
    signals: &SignalFd,
) -> Result<(Streams, i32), RunError> {
    let root = run_dir.runtime_root();
    fs::create_dir_all(&root).map_err(|source| RunError::File { action: "make", path: root, source })?;
    let terminal = process.terminal().unwrap_or(false);
    let console = terminal.then(|| ConsoleSocket::bind(run_dir.path(), "console.sock")).transpose()?;
    let pid_file = run_dir.init_pid_file();
    let files = CallFiles { pid_file: pid_file.clone(), console_socket: console.as_ref().map(|socket| socket.path().to_owned()) };
    let pipes = |with_input| Streams::pipes(with_input).map_err(|source| RunError::System { action: "make a pipe", source });
    let (mut streams, mut ends) = pipes(options.stdin && !terminal)?;
    if terminal {
        ends = ProcessEnds { stdin: None, stdout: None, stderr: None };
    }
    let call = runtime.create(&options.bundle, &files, ends)?;
    let created = wait_for(call, signals, "create").and_then(|status| match status {
        0 => Ok(()),
        status => Err(runtime.failure("create", status)),
    });
    let finished = created.and_then(|()| {
        if let Some(console) = console {
            let terminal = console.receive()?;
            streams = Streams::terminal(terminal).map_err(|source| RunError::System { action: "set up the terminal", source })?;
        }
        read_pid(&pid_file)
    });
    match finished {
        Ok(pid) => Ok((streams, pid)),
        Err(error) => {
            abandon(runtime, signals);
            Err(error)
        }
    }
}

/// Removes what a failed creation has left.
pub(super) fn abandon(runtime: &Runtime, signals: &SignalFd) {
    if let Ok(call) = runtime.delete() {
        let _ = wait_for(call, signals, "remove");
    }
}

/// Waits for one command of the runtime; it is killed at the deadline.
fn wait_for(call: Pid, signals: &SignalFd, action: &'static str) -> Result<i32, RunError> {
    let deadline = Instant::now() + Duration::from_secs(CREATE_DEADLINE_S);
    loop {
        match waitpid(call, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, status)) => return Ok(status),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(128 + signal as i32),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(RunError::System { action: "wait for the OCI runtime", source: errno.into() }),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let _ = nix::sys::signal::kill(call, Signal::SIGKILL);
            return Err(RunError::Slow { action, seconds: CREATE_DEADLINE_S });
        }
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
        while let Ok(Some(_)) = signals.read_signal() {}
    }
}

/// The process id that a runtime has written.
pub(super) fn read_pid(path: &Path) -> Result<i32, RunError> {
    let failed = |source| RunError::File { action: "read", path: path.to_owned(), source };
    let text = fs::read_to_string(path).map_err(failed)?;
    text.trim().parse().map_err(|error| failed(io::Error::other(error)))
}

pub(super) fn specified_process(bundle: &Path) -> Result<Process, RunError> {
    let path = bundle.join("config.json");
    let bytes = fs::read(&path).map_err(|source| RunError::File { action: "read", path: path.clone(), source })?;
    let spec: Spec = serde_json::from_slice(&bytes).map_err(|source| RunError::Bundle { path, source })?;
    spec.process().clone().ok_or(RunError::Incomplete { what: "process" })
}

/// Makes the run directory ours, and writes our process id there.
pub(super) fn lock(run_dir: &RunDirectory) -> Result<Flock<fs::File>, RunError> {
    let path = run_dir.pid_file();
    let failed = |source| RunError::File { action: "write", path: path.clone(), source };
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    let mut lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| RunError::Taken { path: run_dir.path().to_owned() })?;
    lock.set_len(0).map_err(failed)?;
    lock.write_all(own_pid().to_string().as_bytes()).map_err(failed)?;
    Ok(lock)
}

pub(super) fn listen(run_dir: &RunDirectory) -> Result<UnixListener, RunError> {
    let path = run_dir.socket();
    let failed = |source| RunError::File { action: "listen on", path: path.clone(), source };
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = bind_in(run_dir.path(), RunDirectory::socket_name()).map_err(failed)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}
