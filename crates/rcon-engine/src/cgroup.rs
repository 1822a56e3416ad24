//! What is left of a container's cgroups when its shim is gone: processes to kill, directories to remove.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rcon_oci::CgroupVersion;

/// Directories of a cgroup, one a hierarchy.
pub(crate) fn directories(root: &Path, version: CgroupVersion, cgroup: &Path) -> Vec<PathBuf> {
    let relative = cgroup.strip_prefix("/").unwrap_or(cgroup);
    let hierarchies = match version {
        CgroupVersion::V2 => vec![root.to_owned()],
        CgroupVersion::V1 => fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path()).collect(),
    };
    hierarchies.into_iter().map(|hierarchy| hierarchy.join(relative)).filter(|dir| dir.is_dir()).collect()
}

/// Kills what is in a cgroup and in those below it, in any hierarchy. True when nothing was there.
pub(crate) fn kill_all(directories: &[PathBuf]) -> bool {
    let pids: Vec<i32> = directories.iter().flat_map(|dir| processes(dir)).collect();
    for pid in &pids {
        // 0 is a process of another pid namespace.
        if *pid > 1 {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
    }
    pids.is_empty()
}

/// Removes cgroups that nothing is in any more; what is not there is no error.
pub(crate) fn remove(directories: &[PathBuf]) -> io::Result<()> {
    directories.iter().try_for_each(|dir| remove_tree(dir))
}

fn processes(dir: &Path) -> Vec<i32> {
    let own = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    let own = own.lines().filter_map(|line| line.parse().ok());
    let below = children(dir);
    own.chain(below.iter().flat_map(|child| processes(child))).collect()
}

/// A cgroup is removed by rmdir(2) alone; its files cannot be.
fn remove_tree(dir: &Path) -> io::Result<()> {
    children(dir).iter().try_for_each(|child| remove_tree(child))?;
    match fs::remove_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_is_found_in_every_hierarchy_and_removed_with_those_below() {
        let root = tempfile::tempdir().unwrap();
        for path in ["memory/rcon/a/inner", "pids/rcon/a", "cpu"] {
            fs::create_dir_all(root.path().join(path)).unwrap();
        }
        let found = directories(root.path(), CgroupVersion::V1, Path::new("/rcon/a"));
        assert_eq!(found.len(), 2);
        assert!(kill_all(&found));
        remove(&found).unwrap();
        remove(&found).unwrap();
        assert!(root.path().join("memory/rcon").is_dir() && !root.path().join("memory/rcon/a").exists());
        assert!(directories(root.path(), CgroupVersion::V2, Path::new("/rcon/a")).is_empty());
    }
}
