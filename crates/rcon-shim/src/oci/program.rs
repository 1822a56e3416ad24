//! Which file a container's command is, found inside the container as a shell would, and why it cannot be run.

use std::{
    ffi::CString,
    fs,
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use nix::{errno::Errno, fcntl::AtFlags, unistd::AccessFlags};
use rcon_oci::DEFAULT_PATH;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest report that crosses the pipe, bytes: less than PIPE_BUF, so that it is written at once.
const MAX_REPORT_BYTES: usize = 3 * 1024;

/// Why a program cannot be run; crosses from the container's process to the runtime's.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct ProgramError {
    /// 127: there is none; 126: it is there, but cannot be run.
    pub exit_code: u8,
    /// For people.
    pub message: String,
}

impl ProgramError {
    /// From what execve(2) or a look at the file said.
    pub fn new(program: &str, error: io::Error) -> Self {
        let errno = error.raw_os_error().map(Errno::from_raw);
        let (exit_code, reason) = match errno {
            Some(Errno::ENOENT) => (127, "no such file or directory".to_owned()),
            Some(Errno::ENOTDIR) => (127, "not a directory".to_owned()),
            Some(Errno::EACCES) => (126, "permission denied".to_owned()),
            Some(Errno::ENOEXEC) => (126, "exec format error".to_owned()),
            Some(Errno::EISDIR) => (126, "is a directory".to_owned()),
            _ => (126, error.to_string()),
        };
        Self { exit_code, message: format!("exec: \"{program}\": {reason}") }
    }

    /// Sends it through the pipe.
    pub fn report(&self, pipe: &OwnedFd) {
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        if bytes.len() > MAX_REPORT_BYTES {
            let short = Self { exit_code: self.exit_code, message: self.message.chars().take(500).collect() };
            bytes = serde_json::to_vec(&short).unwrap_or_default();
        }
        if let Ok(copy) = pipe.as_fd().try_clone_to_owned() {
            let _ = fs::File::from(copy).write_all(&bytes);
        }
    }

    /// What was sent, when all writers are gone or have written.
    pub fn receive(pipe: OwnedFd) -> Option<Self> {
        let mut bytes = vec![0; 2 * MAX_REPORT_BYTES];
        let len = fs::File::from(pipe).read(&mut bytes).ok()?;
        serde_json::from_slice(&bytes[..len]).ok()
    }
}

/// The file of `program`: the path itself where it has a slash, else the first executable of that name on the search path of `env`.
pub fn find(program: &str, env: &[String]) -> Result<PathBuf, ProgramError> {
    if program.contains('/') {
        return check(Path::new(program)).map(|()| PathBuf::from(program)).map_err(|error| ProgramError::new(program, error));
    }
    let search = env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    let mut denied = false;
    for directory in search.split(':') {
        let candidate = Path::new(if directory.is_empty() { "." } else { directory }).join(program);
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(error) => denied |= error.raw_os_error() == Some(libc::EACCES),
        }
    }
    if denied {
        return Err(ProgramError::new(program, io::Error::from_raw_os_error(libc::EACCES)));
    }
    Err(ProgramError { exit_code: 127, message: format!("exec: \"{program}\": executable file not found in $PATH") })
}

/// Whether it is a file that this process may execute.
fn check(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.is_dir() {
        return Err(io::Error::from_raw_os_error(libc::EACCES));
    }
    let text = CString::new(path.as_os_str().as_bytes())?;
    nix::unistd::faccessat(nix::fcntl::AT_FDCWD, text.as_c_str(), AccessFlags::X_OK, AtFlags::AT_EACCESS)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn programs_are_found_or_refused_as_in_a_shell() {
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().display().to_string();
        let file = |name: &str, mode: u32| {
            fs::write(dir.path().join(name), "x").unwrap();
            fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        file("runs", 0o755);
        file("data", 0o644);
        let env = vec![format!("PATH=/nowhere:{text}")];
        assert_eq!(find("runs", &env).unwrap(), dir.path().join("runs"));
        let refused = |program: &str| find(program, &env).unwrap_err();
        assert_eq!(
            refused("absent"),
            ProgramError { exit_code: 127, message: "exec: \"absent\": executable file not found in $PATH".into() }
        );
        assert_eq!(refused("data").exit_code, 126);
        assert_eq!(refused(&format!("{text}/absent")).exit_code, 127);
        assert_eq!(refused(&format!("{text}/runs/deeper")).exit_code, 127);
        assert_eq!(refused(&text), ProgramError { exit_code: 126, message: format!("exec: \"{text}\": permission denied") });
    }

    #[test]
    fn a_report_crosses_a_pipe() {
        let (read, write) = nix::unistd::pipe().unwrap();
        let error = ProgramError { exit_code: 126, message: "x".repeat(10_000) };
        error.report(&write);
        drop(write);
        let received = ProgramError::receive(read).unwrap();
        assert_eq!((received.exit_code, received.message.len()), (126, 500));
    }
}
