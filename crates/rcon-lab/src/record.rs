//! What the lab knows of itself, kept in one file so that each command finds it again.
//!
//! It is written before what it names is made: what a crash leaves behind is always named here.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cgroup::CgroupTree;
use crate::error::LabError;
use crate::faults::Faults;
use crate::options::HostOptions;
use crate::process::ProcessId;

/// The name of the fabric's namespace among the hosts.
pub(crate) const FABRIC: &str = "fabric";

/// A lab, as it was when its record was last written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Where the programs of its build are.
    pub binaries: PathBuf,
    /// The process it must not outlive.
    pub owner: Option<ProcessId>,
    /// Whether it came up to the end.
    pub complete: bool,
    /// The parents of all its cgroups.
    pub cgroups: CgroupTree,
    /// The MTU of the fabric, in bytes.
    pub mtu: u32,
    /// The fabric's first process.
    pub fabric: Option<ProcessId>,
    /// Its hosts, `h1` first.
    pub hosts: Vec<HostRecord>,
    /// What it is made to suffer.
    pub faults: Faults,
}

/// A host, as it was when the record was last written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostRecord {
    pub name: String,
    pub options: HostOptions,
    pub ipv4: Ipv4Addr,
    pub ipv6: Ipv6Addr,
    /// Its first process; `None` while it is powered off.
    pub init: Option<ProcessId>,
    pub frozen: bool,
}

impl Record {
    /// Where the record of the lab in this directory is.
    pub fn path(directory: &Path) -> PathBuf {
        directory.join("lab.json")
    }

    /// Reads it; `None` when there is none.
    pub fn load(directory: &Path) -> Result<Option<Self>, LabError> {
        let path = Self::path(directory);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LabError::file("read", path, error)),
        };
        serde_json::from_slice(&text).map(Some).map_err(|source| LabError::Record { path, source })
    }

    /// Writes it whole or not at all.
    pub fn save(&self, directory: &Path) -> Result<(), LabError> {
        let path = Self::path(directory);
        let draft = path.with_extension("json.new");
        let write = || -> std::io::Result<()> {
            let mut file = fs::File::create(&draft)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.sync_all()?;
            fs::rename(&draft, &path)
        };
        write().map_err(|error| LabError::file("write", &path, error))
    }

    /// Whether it is up and nobody forgot to take it down.
    pub fn is_in_use(&self) -> bool {
        self.complete && self.fabric.is_some_and(|fabric| fabric.is_alive()) && self.owner.is_none_or(|owner| owner.is_alive())
    }
}
