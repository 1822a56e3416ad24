//! Cgroups of a lab: one directory per mounted hierarchy, version 1, version 2 or both, below the caller's own.
//!
//! They are how the lab finds its processes again whatever happened to its record: each process of a lab joins them before
//! it does anything else, and only the lab's processes are in them. Nothing that is not the lab's is ever moved.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::LabError;
use crate::process;
use crate::wait;

/// In version 2 a cgroup with processes cannot give controllers to children, so a host's own processes sit in this child.
const SEAT: &str = "init";

/// A mounted cgroup hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// Mount options that choose it (`memory`, `cpu,cpuacct`, `none,name=systemd`); `None` for version 2.
    pub controllers: Option<String>,
    /// The calling process's cgroup, below `mount_point`.
    pub own: PathBuf,
}

/// One cgroup in each hierarchy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupTree {
    /// Version 1 directories.
    pub v1: Vec<PathBuf>,
    /// The version 2 directory, where that is mounted.
    pub v2: Option<PathBuf>,
}

/// The hierarchies that the calling process sees.
pub fn hierarchies() -> Result<Vec<Hierarchy>, LabError> {
    Ok(parse_hierarchies(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?))
}

/// Reads mountinfo (proc_pid_mountinfo(5)) and the process's memberships (cgroups(7)).
fn parse_hierarchies(mountinfo: &str, memberships: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((mount, filesystem)) = line.split_once(" - ") else { continue };
        let (mount, filesystem): (Vec<_>, Vec<_>) = (mount.split(' ').collect(), filesystem.split(' ').collect());
        let (Some(root), Some(point), Some(kind)) = (mount.get(3), mount.get(4), filesystem.first()) else { continue };
        let options: Vec<&str> = filesystem.get(2).map(|text| text.split(',').collect()).unwrap_or_default();
        let membership =
            memberships.lines().filter_map(|line| line.split_once(':')?.1.split_once(':')).find(|(controllers, _)| match *kind {
                "cgroup2" => controllers.is_empty(),
                "cgroup" => !controllers.is_empty() && controllers.split(',').all(|controller| options.contains(&controller)),
                _ => false,
            });
        let Some((controllers, path)) = membership else { continue };
        let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
        let controllers = match controllers {
            "" => None,
            named if named.starts_with("name=") => Some(format!("none,{named}")),
            listed => Some(listed.to_owned()),
        };
        if !found.iter().any(|other| other.controllers == controllers) {
            found.push(Hierarchy { mount_point: PathBuf::from(point), own: Path::new(point).join(below), controllers });
        }
    }
    found
}

impl CgroupTree {
    /// Names the lab's cgroups. In version 1 they are below the caller's own, so that its limits hold for the lab too; in version 2,
    /// where a cgroup with processes can have no such children, below the root of the mount.
    pub fn plan(hierarchies: &[Hierarchy], name: &str) -> Self {
        let v2 = hierarchies.iter().find(|hierarchy| hierarchy.controllers.is_none());
        Self {
            v1: hierarchies.iter().filter(|hierarchy| hierarchy.controllers.is_some()).map(|hierarchy| hierarchy.own.join(name)).collect(),
            v2: v2.map(|hierarchy| hierarchy.mount_point.join(name)),
        }
    }

    /// The same below it.
    pub fn child(&self, name: &str) -> Self {
        Self { v1: self.v1.iter().map(|path| path.join(name)).collect(), v2: self.v2.as_ref().map(|path| path.join(name)) }
    }

    /// Every directory.
    pub fn directories(&self) -> Vec<PathBuf> {
        self.v1.iter().chain(&self.v2).cloned().collect()
    }

    /// Where processes that join later sit.
    pub fn seats(&self) -> Vec<PathBuf> {
        self.v1.iter().cloned().chain(self.v2.iter().map(|path| path.join(SEAT))).collect()
    }

    /// Makes the directories, with the parent's processors and memory nodes (version 1 starts empty) and all controllers of the
    /// parent (version 2).
    pub fn create(&self) -> Result<(), LabError> {
        for path in &self.v1 {
            make(path)?;
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let (own, above) = (path.join(file), path.parent().unwrap_or(path).join(file));
                if own.exists() {
                    write(&own, read(&above)?.trim())?;
                }
            }
        }
        if let Some(path) = &self.v2 {
            let parent = path.parent().unwrap_or(path);
            let given = read(parent.join("cgroup.subtree_control"))?;
            for controller in read(parent.join("cgroup.controllers"))?.split_ascii_whitespace() {
                if !given.split_ascii_whitespace().any(|name| name == controller) {
                    // A controller that is in use by version 1, or whose parent has processes, cannot be given on.
                    let _ = write(&parent.join("cgroup.subtree_control"), &format!("+{controller}"));
                }
            }
            make(path)?;
        }
        Ok(())
    }

    /// Makes the seats of a host's own processes.
    pub fn create_seats(&self) -> Result<(), LabError> {
        self.seats().iter().try_for_each(|path| make(path))
    }

    /// Stops or continues every process below it, as one.
    pub fn set_frozen(&self, frozen: bool, deadline: Duration) -> Result<(), LabError> {
        let freezer = self.v1.iter().map(|path| path.join("freezer.state")).find(|path| path.exists());
        if let Some(file) = freezer {
            let wanted = if frozen { "FROZEN" } else { "THAWED" };
            write(&file, wanted)?;
            return wait::until(&format!("`{}` is {wanted}", file.display()), deadline, || {
                Ok((read(&file)?.trim() == wanted).then_some(()))
            });
        }
        let Some(path) = self.v2.as_ref().filter(|path| path.join("cgroup.freeze").exists()) else {
            return Err(LabError::Unsupported {
                reason: "no cgroup freezer".into(),
                hint: "mount the freezer controller or cgroup version 2",
            });
        };
        write(&path.join("cgroup.freeze"), if frozen { "1" } else { "0" })?;
        let wanted = if frozen { "frozen 1" } else { "frozen 0" };
        let events = path.join("cgroup.events");
        wait::until(&format!("`{}` is {wanted}", events.display()), deadline, || {
            Ok(read(&events)?.lines().any(|line| line == wanted).then_some(()))
        })
    }

    /// Every process in it or below, in whichever hierarchy.
    pub fn processes(&self) -> Vec<i32> {
        let mut pids: Vec<i32> = self.directories().iter().flat_map(|path| processes_below(path)).collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Kills what runs in it and removes it with all below it; fine when it is gone already.
    pub fn destroy(&self, deadline: Duration) -> Result<(), LabError> {
        let own = std::process::id() as i32;
        wait::until("every process of the lab ends", deadline, || {
            let pids = self.processes();
            if pids.contains(&own) {
                return Err(LabError::Invalid("this process is itself inside the lab".into()));
            }
            for pid in &pids {
                process::send_kill(*pid)?;
            }
            // A frozen process ends only when it is thawed.
            let _ = self.thaw_all();
            Ok(pids.is_empty().then_some(()))
        })?;
        wait::until("the lab's cgroups are removed", deadline, || {
            let left = self.directories().iter().filter(|path| remove_tree(path).is_err()).count();
            Ok((left == 0).then_some(()))
        })
    }

    fn thaw_all(&self) -> io::Result<()> {
        for directory in self.directories() {
            for path in descendants(&directory) {
                for (file, value) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
                    if path.join(file).exists() {
                        fs::write(path.join(file), value)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Joins the calling process to each directory.
pub(crate) fn join(directories: &[PathBuf]) -> Result<(), LabError> {
    directories.iter().try_for_each(|path| write(&path.join("cgroup.procs"), "0"))
}

/// The directory and all below it, parents first.
fn descendants(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_owned()];
    let mut next = 0;
    while next < found.len() {
        let children =
            fs::read_dir(&found[next]).into_iter().flatten().flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let children: Vec<PathBuf> = children.map(|entry| entry.path()).collect();
        found.extend(children);
        next += 1;
    }
    found
}

fn processes_below(path: &Path) -> Vec<i32> {
    descendants(path)
        .iter()
        .filter_map(|path| fs::read_to_string(path.join("cgroup.procs")).ok())
        .flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<i32>>())
        .filter(|pid| *pid > 0)
        .collect()
}

fn remove_tree(path: &Path) -> io::Result<()> {
    for path in descendants(path).iter().rev() {
        match fs::remove_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn make(path: &Path) -> Result<(), LabError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(LabError::file("make cgroup", path, error)),
        _ => Ok(()),
    }
}

fn read(path: impl AsRef<Path>) -> Result<String, LabError> {
    fs::read_to_string(&path).map_err(|error| LabError::file("read", &path, error))
}

fn write(path: &Path, text: &str) -> Result<(), LabError> {
    fs::write(path, text).map_err(|error| LabError::file("write", path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID_MOUNTS: &str = "\
30 27 0:25 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
32 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
33 30 0:28 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
34 30 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
    const HYBRID_MEMBERSHIPS: &str = "4:memory:/people/one\n3:cpu,cpuacct:/\n2:name=systemd:/x:y\n0::/\n";

    #[test]
    fn a_hybrid_machine_has_version_1_directories_below_ones_own_and_a_version_2_directory_at_the_root() {
        let tree = CgroupTree::plan(&parse_hierarchies(HYBRID_MOUNTS, HYBRID_MEMBERSHIPS), "lab");
        let v1 = ["/sys/fs/cgroup/memory/people/one/lab", "/sys/fs/cgroup/cpu,cpuacct/lab", "/sys/fs/cgroup/systemd/x:y/lab"];
        assert_eq!(tree.v1, v1.map(PathBuf::from));
        assert_eq!(tree.v2, Some(PathBuf::from("/sys/fs/cgroup/unified/lab")));
        assert_eq!(tree.seats().last(), Some(&PathBuf::from("/sys/fs/cgroup/unified/lab/init")));
    }

    #[test]
    fn a_machine_with_version_2_alone_has_one_directory() {
        let mounts = "30 27 0:25 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let tree = CgroupTree::plan(&parse_hierarchies(mounts, "0::/user.slice/session-1.scope\n"), "lab");
        assert_eq!(tree, CgroupTree { v1: Vec::new(), v2: Some(PathBuf::from("/sys/fs/cgroup/lab")) });
    }

    #[test]
    fn the_options_that_mount_a_named_hierarchy_again_are_kept() {
        let options: Vec<_> =
            parse_hierarchies(HYBRID_MOUNTS, HYBRID_MEMBERSHIPS).into_iter().map(|hierarchy| hierarchy.controllers).collect();
        assert_eq!(options, [Some("memory".into()), Some("cpu,cpuacct".into()), Some("none,name=systemd".into()), None]);
    }

    #[test]
    fn a_mount_of_a_part_of_the_hierarchy_is_entered_at_that_part() {
        let mounts = "31 30 0:26 /box/7 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let found = parse_hierarchies(mounts, "4:memory:/box/7/inner\n");
        assert_eq!(found[0].own, PathBuf::from("/sys/fs/cgroup/memory/inner"));
    }
}
