//! Every deadline and bound of the lab.

use std::time::Duration;

/// A host's first process, made and ready.
pub const BOOT_DEADLINE: Duration = Duration::from_secs(20);
/// `rcond`, started and answering on its socket.
pub const DAEMON_DEADLINE: Duration = Duration::from_secs(30);
/// A killed process, gone. The kernel first ends all processes of its PID namespace where it is the first one.
pub const KILL_DEADLINE: Duration = Duration::from_secs(20);
/// A program, started and with its arguments in place.
pub const EXEC_DEADLINE: Duration = Duration::from_secs(1);
/// What the kernel takes down after the last process of a host: devices, mounts, cgroups.
pub const TEARDOWN_DEADLINE: Duration = Duration::from_secs(20);
/// All processes of a host, frozen or thawed.
pub const FREEZE_DEADLINE: Duration = Duration::from_secs(10);
/// A command of a person or a test on a host, to its end.
pub const ERRAND_DEADLINE: Duration = Duration::from_secs(60);

/// Hosts of one lab; their addresses end in 11 and up.
pub const MOST_HOSTS: usize = 200;
/// The smallest disk, in MiB: ext4's own structures and a Raft log's ballast fit.
pub const SMALLEST_DISK_MIB: u64 = 8;
/// Characters of a lab's id, which becomes part of names of directories and cgroups.
pub const LONGEST_ID: usize = 32;

/// Bytes that a capture keeps; what comes after is counted as lost.
pub const CAPTURE_BYTES: usize = 512 << 20;
/// Lines of a daemon's log that an error quotes.
pub const QUOTED_LOG_LINES: usize = 8;
