//! The host's own view of the file system: its processes, its devices' `/sys`, its cgroups, an empty `/run`, its disk.
//!
//! The rest stays the machine's. Nothing mounted here is seen outside, and all of it goes with the host.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::mount::{MsFlags, mount};

use super::BootPlan;
use crate::command;
use crate::error::LabError;

/// File systems below `/sys` that belong to the kernel as a whole and are mounted again.
const KERNEL_WIDE: [&str; 7] = ["securityfs", "debugfs", "tracefs", "bpf", "configfs", "fusectl", "pstore"];

pub fn make_private(plan: &BootPlan) -> Result<(), LabError> {
    let mounted = fs::read_to_string("/proc/self/mountinfo").map_err(|error| LabError::file("read", "/proc/self/mountinfo", error))?;
    // Slave, not private: what the machine unmounts later must not be kept alive by a lab.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_SLAVE | MsFlags::MS_REC, None::<&str>)
        .map_err(|error| LabError::file("make private", "/", error))?;
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    attach("proc", Path::new("/proc"), safe, None)?;
    attach("sysfs", Path::new("/sys"), safe, None)?;
    for (kind, point) in kernel_wide(&mounted) {
        // A kernel may refuse one of these a second time; nothing of ours depends on them.
        let _ = attach(kind, Path::new(point), safe, None);
    }
    mount_cgroups(plan, safe)?;
    attach("tmpfs", Path::new("/run"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=755"))?;
    if let Some((image, point)) = &plan.disk {
        command::run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(point))?;
    }
    Ok(())
}

fn mount_cgroups(plan: &BootPlan, flags: MsFlags) -> Result<(), LabError> {
    let base = Path::new("/sys/fs/cgroup");
    if plan.hierarchies.iter().all(|hierarchy| hierarchy.mount_point != base) {
        attach("tmpfs", base, flags, Some("mode=755"))?;
    }
    for hierarchy in &plan.hierarchies {
        let point = &hierarchy.mount_point;
        if point != base {
            fs::create_dir_all(point).map_err(|error| LabError::file("make", point, error))?;
        }
        match &hierarchy.controllers {
            Some(options) => attach("cgroup", point, flags, Some(options))?,
            None => attach("cgroup2", point, flags, None)?,
        }
    }
    Ok(())
}

fn kernel_wide(mountinfo: &str) -> Vec<(&str, &str)> {
    let entries = mountinfo.lines().filter_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        Some((filesystem.split(' ').next()?, mount.split(' ').nth(4)?))
    });
    entries.filter(|(kind, point)| KERNEL_WIDE.contains(kind) && point.starts_with("/sys/")).collect()
}

fn attach(kind: &str, point: &Path, flags: MsFlags, options: Option<&str>) -> Result<(), LabError> {
    mount(Some(kind), point, Some(kind), flags, options).map_err(|error| LabError::file("mount over", point, error))
}
