//! One daemon a data directory.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, Write},
    path::Path,
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::error::EngineError;

/// The hold on a data directory; let go when dropped, or when the process ends in whatever way.
#[derive(Debug)]
pub(crate) struct DirectoryLock(#[allow(dead_code, reason = "held, never read")] File);

impl DirectoryLock {
    /// Takes `data_dir/lock`, and writes who holds it.
    pub(crate) fn take(data_dir: &Path) -> Result<Self, EngineError> {
        let path = data_dir.join("lock");
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = opened.map_err(EngineError::io("open", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                let _ = (&file).take(32).read_to_string(&mut pid);
                let pid = if pid.trim().is_empty() { "unknown".to_owned() } else { pid.trim().to_owned() };
                return Err(EngineError::Locked { data_dir: data_dir.to_owned(), pid });
            }
            other => other.map_err(|error| EngineError::io("lock", &path)(error.into()))?,
        }
        let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        match written {
            // The lock holds without its note.
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {}
            other => other.map_err(EngineError::io("write", &path))?,
        }
        Ok(Self(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_told_who_has_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirectoryLock::take(dir.path()).unwrap();
        let error = DirectoryLock::take(dir.path()).unwrap_err();
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        drop(first);
        DirectoryLock::take(dir.path()).unwrap();
    }
}
