//! The two ends of an unpacking: the parent that starts it, and the child that does it.

use std::{
    ffi::OsString,
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::sched::CloneFlags;
use rustix::{
    fs::{Mode, OFlags},
    process::{Resource, Rlimit, Signal},
};
use serde::{Deserialize, Serialize};

use crate::{
    limits::{REPORT_BYTES, UnpackLimits},
    unpack::{UnpackError, UnpackReport, Unpacker, extract::extract, sandbox::lock_into},
};

/// Most address space of a child that unpacks: a zstd window of 128 MiB, the memory of directories, and the program.
const ADDRESS_SPACE_BYTES: u64 = 2 << 30;

/// What the child says on its standard output.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Done { report: UnpackReport, locked: bool },
    Failed(UnpackError),
}

impl Unpacker {
    /// Unpacks an archive into an empty directory.
    ///
    /// # Errors
    /// When the archive is refused, or the unpacking cannot be started; the directory then holds a part of it.
    pub fn unpack(&self, archive: File, root: &Path, limits: &UnpackLimits) -> Result<UnpackReport, UnpackError> {
        let outcome = match self {
            Self::Process { program, args } => run_child(program, args, archive, root, limits)?,
            Self::Thread => run_thread(archive, root, limits)?,
        };
        match outcome {
            Outcome::Done { report, locked } => {
                if !locked {
                    tracing::warn!("this kernel has no Landlock: archives are unpacked without their second wall");
                }
                Ok(report)
            }
            Outcome::Failed(error) => Err(error),
        }
    }
}

fn run_child(program: &Path, args: &[OsString], archive: File, root: &Path, limits: &UnpackLimits) -> Result<Outcome, UnpackError> {
    let failed = |error: &dyn std::fmt::Display| UnpackError::Process(format!("{}: {error}", program.display()));
    let limits = serde_json::to_string(limits).map_err(|error| failed(&error))?;
    let mut child = Command::new(program)
        .args(args)
        .args([
            OsString::from("--parent"),
            std::process::id().to_string().into(),
            "--root".into(),
            root.into(),
            "--limits".into(),
            limits.into(),
        ])
        .env_clear()
        .stdin(archive)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&error))?;
    let mut said = Vec::new();
    let heard = child.stdout.take().map_or(Ok(0), |out| out.take(REPORT_BYTES).read_to_end(&mut said));
    let status = child.wait().map_err(|error| failed(&error))?;
    heard.map_err(|error| failed(&error))?;
    serde_json::from_slice(&said).map_err(|_| failed(&format!("{status}, and it said nothing that is understood")))
}

fn run_thread(archive: File, root: &Path, limits: &UnpackLimits) -> Result<Outcome, UnpackError> {
    let (root, limits) = (root.to_owned(), *limits);
    let work = move || {
        // The umask is shared by all threads otherwise.
        nix::sched::unshare(CloneFlags::CLONE_FS).map_err(|error| UnpackError::Process(format!("unshare: {error}")))?;
        unpack_here(archive, &root, &limits)
    };
    let thread = std::thread::Builder::new().name("unpack".into()).spawn(work);
    let thread = thread.map_err(|error| UnpackError::Process(error.to_string()))?;
    Ok(thread.join().map_err(|_| UnpackError::Process("it panicked".into()))?.unwrap_or_else(Outcome::Failed))
}

/// Locks the thread in and unpacks. The umask must be this thread's own.
fn unpack_here(archive: impl Read, root: &Path, limits: &UnpackLimits) -> Result<Outcome, UnpackError> {
    rustix::process::umask(Mode::empty());
    let root = open_root(root)?;
    let locked = lock_into(std::os::fd::AsFd::as_fd(&root))?;
    let report = extract(root, archive, limits)?;
    Ok(Outcome::Done { report, locked })
}

fn open_root(root: &Path) -> Result<OwnedFd, UnpackError> {
    rustix::fs::open(root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| UnpackError::Process(format!("{}: {error}", root.display())))
}

/// The role `rcond unpack`: `args` are those behind the role's name. Returns the exit status.
///
/// Reads the archive from standard input and writes the outcome to standard output. Dies with its parent.
#[must_use]
pub fn unpack_main(args: &[OsString]) -> i32 {
    let outcome = parse(args).and_then(|(parent, root, limits)| {
        settle(parent)?;
        unpack_here(std::io::stdin().lock(), &root, &limits)
    });
    let outcome = outcome.unwrap_or_else(Outcome::Failed);
    let status = i32::from(matches!(outcome, Outcome::Failed(_)));
    let text = serde_json::to_vec(&outcome).unwrap_or_default();
    if std::io::stdout().write_all(&text).is_err() { 2 } else { status }
}

fn settle(parent: u32) -> Result<(), UnpackError> {
    let failed = |error: rustix::io::Errno| UnpackError::Process(error.to_string());
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(failed)?;
    if rustix::process::getppid().is_none_or(|now| now.as_raw_nonzero().get().unsigned_abs() != parent) {
        return Err(UnpackError::Process("its parent is gone".into()));
    }
    let limit = |bytes| Rlimit { current: Some(bytes), maximum: Some(bytes) };
    rustix::process::setrlimit(Resource::As, limit(ADDRESS_SPACE_BYTES)).map_err(failed)?;
    rustix::process::setrlimit(Resource::Core, limit(0)).map_err(failed)
}

fn parse(args: &[OsString]) -> Result<(u32, PathBuf, UnpackLimits), UnpackError> {
    let usage = || UnpackError::Process("usage: unpack --parent PID --root DIR --limits JSON".into());
    let [parent_flag, parent, root_flag, root, limits_flag, limits] = args else { return Err(usage()) };
    if parent_flag != "--parent" || root_flag != "--root" || limits_flag != "--limits" {
        return Err(usage());
    }
    let parent = parent.to_str().and_then(|text| text.parse().ok()).ok_or_else(usage)?;
    let limits = limits.to_str().and_then(|text| serde_json::from_str(text).ok()).ok_or_else(usage)?;
    Ok((parent, root.into(), limits))
}
