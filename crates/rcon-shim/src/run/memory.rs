//! Whether the kernel has killed a process of the container for lack of memory, from the counters of its cgroup.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The file with the counter `oom_kill`: `memory.oom_control` (v1, Linux 4.13) or `memory.events` (v2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OomCounter(PathBuf);

impl OomCounter {
    /// That of a process' cgroup; none where memory is not controlled.
    pub fn of_process(pid: i32) -> Option<Self> {
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        locate(&cgroups, &mounts).map(Self)
    }

    /// Whether it has counted any.
    pub fn counted(&self) -> bool {
        fs::read_to_string(&self.0).is_ok_and(|text| oom_kills(&text) > 0)
    }
}

/// Lines of `KEY VALUE`.
fn oom_kills(text: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
}

/// From `/proc/<pid>/cgroup` and mountinfo: v1's memory hierarchy, else v2 where that has the counter.
fn locate(cgroups: &str, mounts: &str) -> Option<PathBuf> {
    let path_of = |wanted: &str| {
        cgroups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let controllers = fields.next()?;
            controllers.split(',').any(|name| name == wanted).then(|| fields.next()).flatten()
        })
    };
    if let Some(path) = path_of("memory") {
        return Some(mounted(mounts, "cgroup", "memory", path)?.join("memory.oom_control"));
    }
    Some(mounted(mounts, "cgroup2", "", path_of("")?)?.join("memory.events"))
}

/// Where a cgroup is mounted. mountinfo: id, parent, device, root, mount point, options, optional fields, `-`, type, source, options.
fn mounted(mounts: &str, kind: &str, controller: &str, path: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, point) = (left.next()?, left.next()?);
        let mut right = right.split(' ');
        let fits = right.next()? == kind && (controller.is_empty() || right.nth(1)?.split(',').any(|option| option == controller));
        let below = Path::new(path).strip_prefix(root).ok()?;
        fits.then(|| Path::new(point).join(below))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "31 25 0:27 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu\n\
        32 25 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        33 25 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn the_counter_is_where_the_memory_controller_is() {
        let hybrid = "4:memory:/rcon/x\n1:cpu:/rcon/x\n0::/\n";
        assert_eq!(locate(hybrid, MOUNTS), Some("/sys/fs/cgroup/memory/rcon/x/memory.oom_control".into()));
        let unified = "0::/rcon/x\n";
        let mounts = "33 25 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(locate(unified, mounts), Some("/sys/fs/cgroup/rcon/x/memory.events".into()));
        let inside = "32 25 0:28 /rcon /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        assert_eq!(locate(hybrid, inside), Some("/sys/fs/cgroup/memory/x/memory.oom_control".into()));
        assert_eq!(locate(hybrid, ""), None);
    }

    #[test]
    fn the_counter_is_read_in_both_formats() {
        assert_eq!(oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), 3);
        assert_eq!(oom_kills("low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\n"), 1);
        assert_eq!(oom_kills("oom_kill_disable 0\n"), 0);
    }
}
