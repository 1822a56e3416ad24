//! Where everything of a container is.

use std::path::{Path, PathBuf};

use rcon_types::ContainerId;

/// `<data>/containers/<id>/`: what is a container's own on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContainerPaths(PathBuf);

impl ContainerPaths {
    /// Of a container below a data directory.
    pub(crate) fn new(data_dir: &Path, id: ContainerId) -> Self {
        Self(containers(data_dir).join(id.to_string()))
    }

    /// All of it.
    pub(crate) fn dir(&self) -> &Path {
        &self.0
    }

    /// What the container has written.
    pub(crate) fn upper(&self) -> PathBuf {
        self.0.join("upper")
    }

    /// overlayfs' own.
    pub(crate) fn work(&self) -> PathBuf {
        self.0.join("work")
    }

    /// Where its root file system is mounted while it runs.
    pub(crate) fn merged(&self) -> PathBuf {
        self.0.join("merged")
    }

    /// The OCI bundle: `config.json` and the files of `/etc`.
    pub(crate) fn config(&self) -> PathBuf {
        self.0.join("config")
    }

    /// The runtime's specification.
    pub(crate) fn specification(&self) -> PathBuf {
        self.config().join("config.json")
    }

    /// Bound over `/etc/hosts`.
    pub(crate) fn hosts(&self) -> PathBuf {
        self.config().join("hosts")
    }

    /// Bound over `/etc/hostname`.
    pub(crate) fn hostname(&self) -> PathBuf {
        self.config().join("hostname")
    }

    /// Bound over `/etc/resolv.conf`.
    pub(crate) fn resolv_conf(&self) -> PathBuf {
        self.config().join("resolv.conf")
    }

    /// The directory of the log and its rotated files.
    pub(crate) fn log_dir(&self) -> PathBuf {
        self.0.join("log")
    }

    /// The log that is being written.
    pub(crate) fn log(&self) -> PathBuf {
        self.log_dir().join("container.log")
    }
}

/// Where all containers are.
pub(crate) fn containers(data_dir: &Path) -> PathBuf {
    data_dir.join("containers")
}
