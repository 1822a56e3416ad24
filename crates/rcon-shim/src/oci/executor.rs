//! The last steps of a process before it becomes the container's program.
//!
//! libcontainer calls [`Executor::validate`] when the process is inside, as its user but with all capabilities still (it was given none to
//! drop), and [`Executor::exec`] once it was told to start. The order there is the point: without `no_new_privs` only a process with
//! CAP_SYS_ADMIN may load a filter, so it comes before the capabilities go; with it, the filter comes last.

use std::{
    cell::RefCell,
    collections::HashMap,
    ffi::CString,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::PathBuf,
    rc::Rc,
};

use libcontainer::{
    capabilities,
    syscall::syscall::create_syscall,
    workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError},
};
use oci_spec::runtime::{LinuxCapabilities, LinuxSeccomp, Process, Spec};

use super::{
    filter::Filter,
    program::{self, ProgramError},
};

/// What to confine a process with.
#[derive(Debug, Default)]
pub struct Confinement {
    /// The sets to have in the end; absent: unchanged.
    pub capabilities: Option<LinuxCapabilities>,
    /// The profile; absent: no filter.
    pub seccomp: Option<LinuxSeccomp>,
    /// Whether libcontainer sets `no_new_privs`.
    pub no_new_privileges: bool,
}

impl Confinement {
    /// Takes out of `process` what the executor does, with the container's seccomp profile.
    pub fn take(process: &mut Process, seccomp: Option<LinuxSeccomp>) -> Self {
        let capabilities = process.capabilities().clone();
        process.set_capabilities(None);
        Self { capabilities, seccomp, no_new_privileges: process.no_new_privileges().unwrap_or(false) }
    }
}

/// Which process of a container it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Its first; nobody of the runtime is there any more when it is told to start.
    First,
    /// Of an exec; the runtime waits for its outcome.
    Later,
}

/// The executor for both parts.
#[derive(Clone)]
pub struct ConfinedExecutor {
    shared: Rc<Shared>,
}

struct Shared {
    part: Part,
    confinement: Confinement,
    /// Closed by the exec; gets the reason when the program cannot be run.
    report: OwnedFd,
    prepared: RefCell<Prepared>,
}

#[derive(Default)]
struct Prepared {
    program: Option<PathBuf>,
    filter: Option<Filter>,
    home: Option<String>,
}

impl ConfinedExecutor {
    /// An executor that reports through the pipe `report`.
    pub fn new(part: Part, confinement: Confinement, report: OwnedFd) -> Self {
        Self { shared: Rc::new(Shared { part, confinement, report, prepared: RefCell::default() }) }
    }

    fn refuse(&self, error: ProgramError) -> ExecutorError {
        if self.shared.part == Part::First {
            // The shim has the other end of standard error, and with it the container's log.
            eprintln!("{error}");
            std::process::exit(i32::from(error.exit_code));
        }
        error.report(&self.shared.report);
        ExecutorError::Other(error.message)
    }

    fn confine(&self, filter: Option<&Filter>) -> Result<(), String> {
        let confinement = &self.shared.confinement;
        let load = || filter.map_or(Ok(()), |filter| filter.load().map_err(|error| with_cause(&error)));
        if !confinement.no_new_privileges {
            load()?;
        }
        if let Some(sets) = &confinement.capabilities {
            capabilities::drop_privileges(sets, create_syscall().as_ref())
                .map_err(|error| format!("could not drop capabilities: {error}"))?;
        }
        if confinement.no_new_privileges {
            load()?;
        }
        Ok(())
    }
}

impl Executor for ConfinedExecutor {
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let refuse = |error: ProgramError| {
            error.report(&self.shared.report);
            ExecutorValidationError::ArgValidationError(error.message)
        };
        let (args, env) = command(spec);
        let name = args.first().ok_or_else(|| refuse(ProgramError { exit_code: 126, message: "exec: no command".to_owned() }))?;
        let mut prepared = self.shared.prepared.borrow_mut();
        prepared.program = Some(program::find(name, &env).map_err(refuse)?);
        if let Some(profile) = &self.shared.confinement.seccomp {
            let filter = Filter::compile(profile).map_err(|error| ExecutorValidationError::ArgValidationError(with_cause(&error)))?;
            prepared.filter = Some(filter);
        }
        Ok(())
    }

    fn setup_envs(&self, envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        // The map has lost the order; only HOME, which libcontainer adds, is taken from it.
        self.shared.prepared.borrow_mut().home = envs.get("HOME").cloned();
        Ok(())
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let prepared = std::mem::take(&mut *self.shared.prepared.borrow_mut());
        let (args, mut env) = command(spec);
        let program = prepared.program.ok_or(ExecutorError::InvalidArg)?;
        if let Some(home) = prepared.home.filter(|_| !env.iter().any(|entry| entry.starts_with("HOME="))) {
            env.push(format!("HOME={home}"));
        }
        let texts = |items: &[String]| items.iter().map(|item| CString::new(item.as_str())).collect::<Result<Vec<_>, _>>();
        let args = texts(&args).map_err(|_| ExecutorError::InvalidArg)?;
        let env = texts(&env).map_err(|_| ExecutorError::InvalidArg)?;
        let path = CString::new(program.as_os_str().as_bytes()).map_err(|_| ExecutorError::InvalidArg)?;
        reset_signals();
        set_terminal_size(spec);
        self.confine(prepared.filter.as_ref()).map_err(|message| self.refuse(ProgramError { exit_code: 126, message }))?;
        let Err(errno) = nix::unistd::execve(&path, &args, &env);
        Err(self.refuse(ProgramError::new(&program.to_string_lossy(), io::Error::from(errno))))
    }
}

/// libcontainer leaves the size of a new terminal at nothing, and whoever holds the other end may set it only after the program has looked.
#[allow(unsafe_code)]
fn set_terminal_size(spec: &Spec) {
    let Some(size) = spec.process().as_ref().filter(|p| p.terminal() == Some(true)).and_then(|p| p.console_size()) else { return };
    let short = |number: u64| u16::try_from(number).unwrap_or(u16::MAX);
    let size = libc::winsize { ws_row: short(size.height()), ws_col: short(size.width()), ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one `winsize`, which outlives the call.
    unsafe { libc::ioctl(0, libc::TIOCSWINSZ, &raw const size) };
}

fn command(spec: &Spec) -> (Vec<String>, Vec<String>) {
    let process = spec.process().as_ref();
    let args = process.and_then(|p| p.args().clone()).unwrap_or_default();
    let env = process.and_then(|p| p.env().clone()).unwrap_or_default();
    (args, env)
}

/// Rust ignores SIGPIPE, and whoever started us may have ignored or blocked others; a program starts with none of that. By the kernel's own
/// call, since the C library keeps two of the signals for itself.
#[allow(unsafe_code)]
fn reset_signals() {
    /// `struct sigaction` of the kernel, all zero: SIG_DFL, no flags, no mask.
    const DEFAULT: [u64; 4] = [0; 4];
    const MASK_BYTES: usize = 8;
    for number in 1..=64 {
        // SAFETY: the kernel reads 32 bytes at most, and the default disposition runs no code of ours. SIGKILL and SIGSTOP are refused.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, number, DEFAULT.as_ptr(), std::ptr::null_mut::<u64>(), MASK_BYTES) };
    }
    let none = 0_u64;
    // SAFETY: the kernel reads 8 bytes.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const none, std::ptr::null_mut::<u64>(), MASK_BYTES) };
}

fn with_cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
