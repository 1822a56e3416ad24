//! The commands, each a few calls of libcontainer.

use std::{
    fs, io,
    os::fd::{AsFd, FromRawFd, OwnedFd},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use libcontainer::{
    container::{Container, builder::ContainerBuilder},
    error::LibcontainerError,
    syscall::syscall::SyscallType,
};
use nix::{
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{Signal, kill as kill_process},
    unistd::{Pid, pipe2},
};
use oci_spec::runtime::{Process, Spec};

use super::{
    arguments::{Arguments, CreateArguments, ExecArguments},
    bundle::{self, PrivateBundle},
    error::OciError,
    executor::{ConfinedExecutor, Confinement, Part},
    program::ProgramError,
};

/// How long a killed process, and then its cgroup, may take to go.
const END_DEADLINE: Duration = Duration::from_secs(5);

/// Pause between attempts to remove a cgroup.
const RETRY_MS: u8 = 5;

/// Sets the container up to the point where its program would start.
pub fn create(arguments: &Arguments, create: &CreateArguments) -> Result<(), OciError> {
    let private = PrivateBundle::of(&arguments.root, &arguments.id);
    let mut spec = private.write(&create.bundle)?;
    let result = create_from(arguments, create, &private, &mut spec);
    if result.is_err() {
        private.remove()?;
    }
    result
}

fn create_from(arguments: &Arguments, create: &CreateArguments, private: &PrivateBundle, spec: &mut Spec) -> Result<(), OciError> {
    let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().clone());
    let process = spec.process_mut().as_mut().ok_or(OciError::Incomplete { what: "process" })?;
    let confinement = Confinement::take(process, seccomp);
    let (read, write) = report_pipe()?;
    let executor = ConfinedExecutor::new(Part::First, confinement, write);
    let built = builder(arguments, create.pid_file.as_deref(), create.console_socket.as_deref(), executor)
        .and_then(|builder| builder.as_init(private.path()).with_systemd(false).with_detach(true).build());
    let pid = built.as_ref().ok().and_then(|container| container.pid());
    outcome(arguments, "create", built.map(drop), read)?;
    private.write_identity(pid.map_or(0, |pid| pid.as_raw()))
}

/// Lets the program start.
pub fn start(arguments: &Arguments) -> Result<(), OciError> {
    let mut container = load(arguments, "start")?;
    container.start().map_err(failed(arguments, "start"))
}

/// Prints the state.
pub fn state(arguments: &Arguments) -> Result<(), OciError> {
    let mut container = load(arguments, "look at")?;
    container.refresh_status().map_err(failed(arguments, "look at"))?;
    let state = &container.state;
    let text = serde_json::json!({
        "ociVersion": "1.0.2",
        "id": arguments.id,
        "status": state.status.to_string(),
        "pid": state.pid.unwrap_or(0),
        "bundle": state.bundle,
    });
    println!("{text}");
    Ok(())
}

/// Signals the first process.
pub fn kill(arguments: &Arguments, signal: Signal) -> Result<(), OciError> {
    let signal = libcontainer::signal::Signal::try_from(signal as i32).map_err(|source| OciError::Signal { source })?;
    load(arguments, "signal")?.kill(signal, false).map_err(failed(arguments, "signal"))
}

/// Removes what the container has outside of itself. With `force`, a container that runs is killed, and one that is not there is removed
/// already.
pub fn delete(arguments: &Arguments, force: bool) -> Result<(), OciError> {
    if !force || arguments.root.join(&arguments.id).exists() {
        let mut container = load(arguments, "remove")?;
        if force {
            end(&container);
        }
        let deadline = Instant::now() + END_DEADLINE;
        // A cgroup is in use until the kernel has finished with the last of its processes.
        while let Err(error) = container.delete(force) {
            if Instant::now() >= deadline {
                return Err(failed(arguments, "remove")(error));
            }
            let _ = poll(&mut [], PollTimeout::from(RETRY_MS));
        }
    }
    PrivateBundle::of(&arguments.root, &arguments.id).remove()
}

/// Kills the first process, and with it all others of its namespace, and waits for its end.
fn end(container: &Container) {
    let Some(pid) = container.state.pid else { return };
    let Ok(handle) = pidfd(pid) else { return };
    let _ = kill_process(Pid::from_raw(pid), Signal::SIGKILL);
    let mut fds = [PollFd::new(handle.as_fd(), PollFlags::POLLIN)];
    let _ = poll(&mut fds, PollTimeout::try_from(END_DEADLINE).unwrap_or(PollTimeout::ZERO));
}

/// A descriptor that becomes readable when the process has ended, whoever its parent is.
#[allow(unsafe_code)]
fn pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call has no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match i32::try_from(fd) {
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Runs a process in the container and leaves it running.
pub fn exec(arguments: &Arguments, exec: &ExecArguments) -> Result<(), OciError> {
    let private = PrivateBundle::of(&arguments.root, &arguments.id);
    let original = private.original()?;
    let mut process: Process = bundle::read_json(&exec.process)?;
    if process.capabilities().is_none() {
        process.set_capabilities(original.process().as_ref().and_then(|first| first.capabilities().clone()));
    }
    let seccomp = original.linux().as_ref().and_then(|linux| linux.seccomp().clone());
    let confinement = Confinement::take(&mut process, seccomp);
    let stripped = private.path().join(format!("exec-{}.json", std::process::id()));
    bundle::write_json(&stripped, &process)?;
    let result = exec_from(arguments, exec, &stripped, confinement);
    let _ = fs::remove_file(&stripped);
    result
}

fn exec_from(arguments: &Arguments, exec: &ExecArguments, process: &Path, confinement: Confinement) -> Result<(), OciError> {
    let (read, write) = report_pipe()?;
    let executor = ConfinedExecutor::new(Part::Later, confinement, write);
    let built = builder(arguments, exec.pid_file.as_deref(), exec.console_socket.as_deref(), executor)
        .and_then(|builder| builder.as_tenant().with_process(Some(process)).with_detach(true).build());
    outcome(arguments, "run a process in", built.map(drop), read)
}

fn builder(
    arguments: &Arguments,
    pid_file: Option<&Path>,
    console_socket: Option<&Path>,
    executor: ConfinedExecutor,
) -> Result<ContainerBuilder, LibcontainerError> {
    let builder = ContainerBuilder::new(arguments.id.clone(), SyscallType::default())
        .with_root_path(&arguments.root)?
        .with_executor(executor)
        .with_pid_file(pid_file.map(PathBuf::from))?
        .with_console_socket(console_socket);
    Ok(builder)
}

/// A failure is the program's where its process said so.
fn outcome(arguments: &Arguments, action: &'static str, built: Result<(), LibcontainerError>, report: OwnedFd) -> Result<(), OciError> {
    built.map_err(|error| match ProgramError::receive(report) {
        Some(source) => OciError::Program { source },
        None => failed(arguments, action)(error),
    })
}

/// Readable without waiting, since a container that was created keeps the other end until its program starts.
fn report_pipe() -> Result<(OwnedFd, OwnedFd), OciError> {
    pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).map_err(|errno| OciError::Pipe { source: errno.into() })
}

/// libcontainer trusts the process id it has written, and would signal whoever has it now: a process that is not the one it was is forgotten.
fn load(arguments: &Arguments, action: &'static str) -> Result<Container, OciError> {
    let mut container = Container::load(arguments.root.join(&arguments.id)).map_err(failed(arguments, action))?;
    let private = PrivateBundle::of(&arguments.root, &arguments.id);
    if container.state.pid.is_some_and(|pid| !private.is_identity(pid)) {
        container.state.pid = None;
        container.save().map_err(failed(arguments, action))?;
    }
    Ok(container)
}

fn failed<'a>(arguments: &'a Arguments, action: &'static str) -> impl Fn(LibcontainerError) -> OciError + 'a {
    move |source| OciError::Container { action, id: arguments.id.clone(), source: Box::new(source) }
}
