//! The shim's binary, in memory that nobody can change, and its start.
//!
//! Executed from a sealed memfd and never from its path, a container that reaches `/proc/<shim>/exe` finds nothing it
//! can write to (CVE-2019-5736), and replacing the file on disk harms no start in progress.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
    process::Stdio,
};

use rcon_oci::shim::{Readiness, RunDirectory, ShimOptions};
use rcon_types::Failure;
use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create},
    io::Errno,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::{error::EngineError, limits::CREATE_DEADLINE};

/// Longest line that a shim says when it is ready.
const READINESS_BYTES: u64 = 1024 * 1024;
/// How much of a shim's own log goes into an error.
const LOG_TAIL_BYTES: usize = 512;
/// Where a shim, and the OCI runtime it starts, look for programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The shim's binary in a sealed memfd.
#[derive(Debug)]
pub(crate) struct ShimProgram(OwnedFd);

/// Why a shim did not come up. Nothing of the container is left.
#[derive(Debug)]
pub(crate) struct StartFailure {
    /// What it said.
    pub(crate) reason: String,
    /// 126 or 127 where the program cannot be run; 125 for everything else.
    pub(crate) exit_code: i32,
}

impl StartFailure {
    pub(crate) fn new(reason: impl ToString) -> Self {
        Self { reason: reason.to_string(), exit_code: 125 }
    }

    pub(crate) fn refused(failure: &Failure, exit_code: Option<i32>) -> Self {
        let reason = failure.causes.iter().fold(failure.message.clone(), |text, cause| format!("{text}: {cause}"));
        Self { reason, exit_code: exit_code.unwrap_or(125) }
    }
}

impl ShimProgram {
    /// Reads the binary into sealed memory.
    pub(crate) fn load(path: &Path) -> Result<Self, EngineError> {
        let binary = fs::read(path).map_err(EngineError::io("read the shim", path))?;
        let failed = |error: Errno| EngineError::io("copy into memory the shim", path)(error.into());
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let memory = match memfd_create("rcon-shim", flags | MemfdFlags::EXEC) {
            // Before Linux 6.3 there was no such flag, and everything could be executed.
            Err(Errno::INVAL) => memfd_create("rcon-shim", flags),
            other => other,
        };
        let mut memory = File::from(memory.map_err(failed)?);
        memory.write_all(&binary).map_err(EngineError::io("copy into memory the shim", path))?;
        let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        fcntl_add_seals(&memory, seals).map_err(failed)?;
        Ok(Self(memory.into()))
    }

    /// Starts a shim and waits until its container is created. Returns the container's first process.
    pub(crate) async fn create(&self, options: &ShimOptions) -> Result<u32, StartFailure> {
        let mut child = self.spawn(options).map_err(|error| StartFailure::new(format!("the shim cannot be executed: {error}")))?;
        let said = timeout(CREATE_DEADLINE, said(&mut child)).await;
        let run = RunDirectory::new(&options.run_dir);
        let readiness = match &said {
            Err(_) => {
                let _ = child.start_kill();
                Err(StartFailure::new(format!("it was not created within {} s", CREATE_DEADLINE.as_secs())))
            }
            Ok(line) => Readiness::from_line(line).map_err(|_| StartFailure::new(format!("the shim gave up{}", log_tail(&run)))),
        };
        // It may go on as our child; then somebody must collect its status.
        tokio::spawn(async move { child.wait().await });
        match readiness? {
            Readiness::Ready { pid, .. } => u32::try_from(pid).map_err(|_| StartFailure::new("the shim named no process")),
            Readiness::Failed { failure, exit_code } => Err(StartFailure::refused(&failure, exit_code)),
        }
    }

    fn spawn(&self, options: &ShimOptions) -> std::io::Result<Child> {
        let run = RunDirectory::new(&options.run_dir);
        let log = OpenOptions::new().create(true).append(true).open(run.shim_log())?;
        Command::new(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
            .arg0("rcon-shim")
            .args(options.to_args())
            .env_clear()
            .env("PATH", PATH)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            // A signal to the daemon's group (Ctrl-C) is not for it.
            .process_group(0)
            .spawn()
    }
}

async fn said(child: &mut Child) -> String {
    let mut line = String::new();
    if let Some(out) = child.stdout.take() {
        // What is no text is no readiness either.
        let _ = BufReader::new(out.take(READINESS_BYTES)).read_line(&mut line).await;
    }
    line
}

fn log_tail(run: &RunDirectory) -> String {
    let text = fs::read(run.shim_log()).unwrap_or_default();
    let tail = String::from_utf8_lossy(&text[text.len().saturating_sub(LOG_TAIL_BYTES)..]).trim().replace('\n', "; ");
    if tail.is_empty() { String::new() } else { format!(": {tail}") }
}
