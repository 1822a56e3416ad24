//! How a manager's consensus is set up.

use std::{path::PathBuf, time::Duration};

use rcon_types::NodeId;

/// How a manager's consensus is set up.
#[derive(Debug, Clone)]
pub struct RaftOptions {
    /// `raft/` of the data directory: log, snapshot, key, ballast. Made where it is missing.
    pub directory: PathBuf,
    /// This node.
    pub node_id: NodeId,
    /// Where the other managers reach this one: HOST:PORT of its 2377/tcp.
    pub address: String,
    /// How fast.
    pub timing: Timing,
    /// What the disk must leave.
    pub disk: DiskLimits,
    /// Deliberate bugs, for the tests of the history checker.
    pub planted: Planted,
}

impl RaftOptions {
    /// Options with everything usual.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>, node_id: NodeId, address: impl Into<String>) -> Self {
        Self {
            directory: directory.into(),
            node_id,
            address: address.into(),
            timing: Timing::default(),
            disk: DiskLimits::default(),
            planted: Planted::default(),
        }
    }
}

/// Times and counts of Raft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How often a leader says that it lives, in milliseconds.
    pub heartbeat_ms: u64,
    /// After this silence a follower may stand for election, in milliseconds.
    pub election_min_ms: u64,
    /// After this silence it does, in milliseconds.
    pub election_max_ms: u64,
    /// A snapshot is made each time that many entries were applied.
    pub snapshot_every: u64,
    /// That many entries before a snapshot stay in the log, for followers that are a little behind.
    pub entries_kept: u64,
    /// Managers compare a digest of the state each time that many entries were applied.
    pub digest_every: u64,
}

impl Default for Timing {
    /// DESIGN §4: heartbeat 100 ms, election 400–800 ms.
    fn default() -> Self {
        Self {
            heartbeat_ms: 100,
            election_min_ms: 400,
            election_max_ms: 800,
            snapshot_every: 20_000,
            entries_kept: 5_000,
            digest_every: 4_096,
        }
    }
}

impl Timing {
    /// The silence after which a peer counts as unreachable: two elections and a half.
    #[must_use]
    pub const fn unreachable_after(&self) -> Duration {
        Duration::from_millis(self.election_max_ms * 5 / 2)
    }
}

/// What the disk must leave, so that a full one is not the end of a manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskLimits {
    /// Size in bytes of a file that is given up when a write fails for want of space, so that the log can go on.
    pub ballast_bytes: u64,
    /// Proposals are refused while the file system has less than this left, in bytes.
    pub refuse_below_bytes: u64,
}

impl Default for DiskLimits {
    fn default() -> Self {
        Self { ballast_bytes: 16 << 20, refuse_below_bytes: 32 << 20 }
    }
}

/// Deliberate bugs, to prove that the history checker finds them. Refused unless the environment has `RCON_PLANTED_BUG`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Planted {
    /// Says that an entry is on disk before it is: an acknowledged write is lost by a power-off.
    pub acknowledge_before_fsync: bool,
    /// Answers reads from what is applied here, without asking a quorum: reads are stale in a partition.
    pub read_without_quorum: bool,
}

impl Planted {
    /// Whether any bug is planted.
    #[must_use]
    pub const fn any(self) -> bool {
        self.acknowledge_before_fsync || self.read_without_quorum
    }
}
