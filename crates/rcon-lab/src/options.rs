//! What a lab is asked to be.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::LabError;
use crate::limits;

/// Names the directory that labs are kept in.
pub const DIRECTORY_VARIABLE: &str = "RCON_LAB_DIR";
/// Names the lab that is meant when the command line names none.
pub const ID_VARIABLE: &str = "RCON_LAB";

/// Which lab, and where its files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabName {
    /// Letters, digits and dashes; several labs run on one machine beside each other.
    pub id: String,
    /// Where labs are kept, each in a directory of its own.
    pub directory: PathBuf,
}

/// A lab to be made.
#[derive(Clone, Debug)]
pub struct LabOptions {
    /// Which one.
    pub name: LabName,
    /// One entry a host; they are called `h1`, `h2` and so on.
    pub hosts: Vec<HostOptions>,
    /// The MTU of the fabric, in bytes.
    pub mtu: u32,
    /// Whether it goes when the calling process has ended: the next lab made in that directory takes it down.
    pub temporary: bool,
}

/// A host to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostOptions {
    /// What runs on it from the start.
    pub daemon: Daemon,
    /// What its data directory is on.
    pub data: DataDisk,
    /// The MTU of its interface, in bytes; `None`: the fabric's.
    pub mtu: Option<u32>,
    /// What its daemon has in its environment besides the usual, as name and value.
    pub environment: Vec<(String, String)>,
}

/// The daemon of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Daemon {
    /// `rcond` of the same build, with these arguments after the lab's own.
    Rcond {
        /// More arguments.
        arguments: Vec<String>,
    },
    /// Another program in its stead, for tests of the lab itself.
    Command(Vec<String>),
    /// None.
    Nothing,
}

/// What a host's data directory is on. It outlives a power-off in each case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DataDisk {
    /// The machine's own file system.
    Plain,
    /// A file system of its own that is soon full.
    Small {
        /// Its size in MiB.
        mebibytes: u64,
    },
    /// A file system that keeps through a power-off only what was synced to it. It holds a control plane's data, no containers.
    SyncedOnly,
}

impl DataDisk {
    /// Whether this machine can make it.
    #[must_use]
    pub fn is_available(self) -> bool {
        self != Self::SyncedOnly || Path::new("/dev/fuse").exists()
    }
}

impl LabName {
    /// The lab with this id in the directory that [`DIRECTORY_VARIABLE`] names, or in `/var/tmp/rcon-lab`.
    pub fn new(id: &str) -> Result<Self, LabError> {
        let fits = !id.is_empty() && id.len() <= limits::LONGEST_ID && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !fits {
            return Err(LabError::Invalid(format!(
                "`{id}` is no id for a lab: letters, digits and dashes, at most {} of them",
                limits::LONGEST_ID
            )));
        }
        let directory = std::env::var_os(DIRECTORY_VARIABLE).map_or_else(|| PathBuf::from("/var/tmp/rcon-lab"), PathBuf::from);
        let directory = std::path::absolute(&directory).map_err(|error| LabError::file("find", &directory, error))?;
        Ok(Self { id: id.to_owned(), directory })
    }

    /// The lab that [`ID_VARIABLE`] names, or `default`.
    pub fn from_environment() -> Result<Self, LabError> {
        Self::new(&std::env::var(ID_VARIABLE).unwrap_or_else(|_| "default".into()))
    }

    /// Where this lab's files are.
    pub fn path(&self) -> PathBuf {
        self.directory.join(&self.id)
    }
}

impl LabOptions {
    /// That many hosts of the usual kind.
    pub fn new(name: LabName, hosts: usize) -> Self {
        Self { name, hosts: vec![HostOptions::default(); hosts], mtu: 1500, temporary: false }
    }

    /// Refuses what cannot be.
    pub(crate) fn check(&self) -> Result<(), LabError> {
        if self.hosts.is_empty() || self.hosts.len() > limits::MOST_HOSTS {
            return Err(LabError::Invalid(format!("a lab has 1 to {} hosts, not {}", limits::MOST_HOSTS, self.hosts.len())));
        }
        for host in &self.hosts {
            if matches!(host.data, DataDisk::Small { mebibytes } if mebibytes < limits::SMALLEST_DISK_MIB) {
                return Err(LabError::Invalid(format!("a host's disk has at least {} MiB", limits::SMALLEST_DISK_MIB)));
            }
            if !host.data.is_available() {
                return Err(LabError::Unsupported { reason: "there is no /dev/fuse".into(), hint: "load it with `modprobe fuse`" });
            }
            if matches!(&host.daemon, Daemon::Command(words) if words.is_empty()) {
                return Err(LabError::Invalid("a daemon's command has at least one word".into()));
            }
        }
        Ok(())
    }
}

impl Default for HostOptions {
    fn default() -> Self {
        Self { daemon: Daemon::Rcond { arguments: Vec::new() }, data: DataDisk::Plain, mtu: None, environment: Vec::new() }
    }
}
