//! The names in a shim's run directory, `/run/rcond/shim/<id>/`.

use std::path::{Path, PathBuf};

/// A shim's run directory. The daemon makes it (mode 0700) before it starts the shim, and removes it once it knows the exit.
///
/// The path of a socket may have 107 bytes (`sun_path` of unix(7)); where [`RunDirectory::socket`] is longer, both sides go through
/// `/proc/self/fd/<descriptor of the directory>/shim.sock`, see [`RunDirectory::socket_name`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDirectory(PathBuf);

impl RunDirectory {
    /// The directory at `path`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The directory of container `id` below the daemon's run directory.
    #[must_use]
    pub fn of_container(daemon_run_dir: &Path, id: &str) -> Self {
        Self(daemon_run_dir.join("shim").join(id))
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The socket; it is there from readiness to shutdown.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.0.join(Self::socket_name())
    }

    /// The socket's name within the directory.
    #[must_use]
    pub const fn socket_name() -> &'static str {
        "shim.sock"
    }

    /// The shim's process id in decimal, and a lock: whoever can take `flock(LOCK_EX)` on it knows that the shim is gone.
    #[must_use]
    pub fn pid_file(&self) -> PathBuf {
        self.0.join("shim.pid")
    }

    /// Process id of the container's first process on the host, in decimal; what to kill where the shim is gone.
    #[must_use]
    pub fn init_pid_file(&self) -> PathBuf {
        self.0.join("init.pid")
    }

    /// An [`super::ExitRecord`], written atomically and synced when the container has ended; stays when the shim leaves.
    #[must_use]
    pub fn exit_file(&self) -> PathBuf {
        self.0.join("exit.json")
    }

    /// The shim's own log, for people.
    #[must_use]
    pub fn shim_log(&self) -> PathBuf {
        self.0.join("shim.log")
    }

    /// The OCI runtime's `--root`.
    #[must_use]
    pub fn runtime_root(&self) -> PathBuf {
        self.0.join("oci")
    }

    /// Where the OCI runtime writes why it failed.
    #[must_use]
    pub fn runtime_log(&self) -> PathBuf {
        self.0.join("oci.log")
    }
}
