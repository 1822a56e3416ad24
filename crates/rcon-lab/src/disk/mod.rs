//! A host's disk of which a power-off leaves only what was synced.
//!
//! Killing processes keeps the page cache, so a missing fsync is invisible to it. Here page cache and disk are apart: what a host
//! writes is in the memory of one process, a FUSE server inside the host, and goes to a directory of the machine (the medium) only
//! by fsync: a file's bytes by that of the file, a directory's entries by that of the directory, as POSIX has it and stricter than
//! any journal. Killing `rcond` leaves that process alone; the power-off ends it with the host, and what was not synced is gone.
//!
//! [`Tree`] and [`Content`] are the file system as values, [`Medium`] is what survives, `server` translates for the kernel. It holds
//! files, directories and symbolic links, no extended attributes: a control plane's data, no container's root.

mod content;
mod medium;
mod server;
mod tree;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::daemon;
use crate::error::LabError;
use crate::lab::Locked;
use crate::{limits, wait};

pub(crate) use server::serve;

/// The first argument of `rcon-lab-host` for the server.
pub(crate) const ROLE: &str = "disk";

/// Mounts the disk of a host that has just come up. Its server sits in a cgroup beside the host's: a frozen host's processes must
/// find their disk answering, or those amid a write could never be frozen.
pub(crate) fn plug(locked: &Locked, host: &str, init: i32, data: &Path) -> Result<(), LabError> {
    let medium = locked.host_directory(host).join("medium");
    fs::create_dir_all(&medium).map_err(|error| LabError::file("make", &medium, error))?;
    let cgroups = locked.record.cgroups.child(&cgroup(host));
    cgroups.create()?;
    cgroups.create_seats()?;
    let path = locked.host_directory(host).join("disk.log");
    let log = File::create(&path).map_err(|error| LabError::file("make", &path, error))?;
    let mut server = daemon::entering_as(locked, init, cgroups.seats(), true)?;
    server.arg(locked.record.binaries.join("rcon-lab-host")).arg(ROLE).arg(&medium).arg(data);
    // It outlives this call, so nothing of it may be a pipe that somebody reads to its end.
    server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    server.status().map_err(|source| LabError::Spawn { command: format!("rcon-lab-host {ROLE}"), source })?;
    let mounts = PathBuf::from(format!("/proc/{init}/mountinfo"));
    wait::until(&format!("the disk of `{host}` is mounted"), limits::BOOT_DEADLINE, || {
        let mounted = fs::read_to_string(&mounts).map_err(|error| LabError::file("read", &mounts, error))?;
        let complaint = fs::read_to_string(&path).unwrap_or_default();
        if !complaint.is_empty() {
            return Err(LabError::Invalid(format!("the disk of `{host}` did not come up: {}", complaint.trim())));
        }
        Ok(mounted.lines().any(|line| line.split(' ').nth(4).is_some_and(|point| Path::new(point) == data)).then_some(()))
    })
}

/// Removes the cgroup of the disk of a host that is off; fine when it has no such disk.
pub(crate) fn unplug(locked: &Locked, host: &str) -> Result<(), LabError> {
    locked.record.cgroups.child(&cgroup(host)).destroy(limits::TEARDOWN_DEADLINE)
}

fn cgroup(host: &str) -> String {
    format!("{host}-disk")
}
