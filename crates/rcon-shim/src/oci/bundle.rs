//! The bundle as libcontainer gets it, and the one that was asked for.
//!
//! libcontainer reads `config.json` by itself. What the executor does in its place (capabilities, seccomp) is left out of the copy it reads;
//! the original is kept beside it for `exec`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use oci_spec::runtime::Spec;

use super::error::OciError;

const CONFIG: &str = "config.json";
const ORIGINAL: &str = "original.json";
const IDENTITY: &str = "identity.json";

/// The directory of a container's private bundle.
#[derive(Debug, Clone)]
pub struct PrivateBundle(PathBuf);

impl PrivateBundle {
    /// Of a container; below the same root as libcontainer's own directory of that name, which cannot begin with a dot.
    pub fn of(root: &Path, id: &str) -> Self {
        Self(root.join(format!(".bundle-{id}")))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Reads the bundle that was asked for and writes the private one. Gives the original back.
    pub fn write(&self, asked: &Path) -> Result<Spec, OciError> {
        let mut spec = read_spec(&asked.join(CONFIG))?;
        let root = spec.root().as_ref().ok_or(OciError::Incomplete { what: "root" })?;
        let absolute = asked.join(root.path());
        let absolute = fs::canonicalize(&absolute).map_err(|source| OciError::File { action: "find", path: absolute, source })?;
        let mut root = root.clone();
        root.set_path(absolute);
        spec.set_root(Some(root));
        fs::create_dir_all(&self.0).map_err(|source| OciError::File { action: "make", path: self.0.clone(), source })?;
        write_json(&self.0.join(ORIGINAL), &spec)?;
        let mut stripped = spec.clone();
        if let Some(process) = stripped.process_mut() {
            process.set_capabilities(None);
        }
        if let Some(linux) = stripped.linux_mut() {
            linux.set_seccomp(None);
        }
        write_json(&self.0.join(CONFIG), &stripped)?;
        Ok(spec)
    }

    /// The specification that was asked for.
    pub fn original(&self) -> Result<Spec, OciError> {
        read_spec(&self.0.join(ORIGINAL))
    }

    /// Remembers which process the container's first is, beyond its id.
    pub fn write_identity(&self, pid: i32) -> Result<(), OciError> {
        write_json(&self.0.join(IDENTITY), &start_time(pid))
    }

    /// Whether `pid` still is the container's first process, and not another that got its id later.
    pub fn is_identity(&self, pid: i32) -> bool {
        let remembered: Option<u64> = read_json(&self.0.join(IDENTITY)).unwrap_or_default();
        remembered.is_some() && remembered == start_time(pid)
    }

    /// Removes it; that it is not there is no failure.
    pub fn remove(&self) -> Result<(), OciError> {
        match fs::remove_dir_all(&self.0) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(OciError::File { action: "remove", path: self.0.clone(), source })
            }
            _ => Ok(()),
        }
    }
}

/// When a process was started, in ticks since boot: field 22 of proc_pid_stat(5), counted after the name, which may hold anything.
fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// A value as a JSON file.
pub fn write_json<T: serde::Serialize>(path: &Path, value: &T) -> Result<(), OciError> {
    let bytes = serde_json::to_vec(value).map_err(|source| OciError::Malformed { path: path.to_owned(), source })?;
    fs::write(path, bytes).map_err(|source| OciError::File { action: "write", path: path.to_owned(), source })
}

/// A value from a JSON file.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, OciError> {
    let bytes = fs::read(path).map_err(|source| OciError::File { action: "read", path: path.to_owned(), source })?;
    serde_json::from_slice(&bytes).map_err(|source| OciError::Malformed { path: path.to_owned(), source })
}

fn read_spec(path: &Path) -> Result<Spec, OciError> {
    read_json(path)
}
