//! The numbers of this crate: deadlines, sizes and counts. Everything that waits, grows or repeats has its bound here.

use std::time::Duration;

/// How often a node beats, a manager says that it lives, and a manager reports its sessions to the leader.
pub const BEAT: Duration = Duration::from_secs(1);
/// Three missed beats: a node that nobody heard for so long is DOWN.
pub const SILENCE: Duration = Duration::from_secs(3);
/// What a node gets on top of [`SILENCE`] when its manager fell silent too: that is noticed after three beats, then another is dialled.
pub const RECONNECT_GRACE: Duration = Duration::from_secs(5);
/// How long a new leader declares nobody DOWN: until all managers have reported, and nodes of a lost manager have found another.
pub const TAKEOVER_GRACE: Duration = Duration::from_secs(6);
/// A manager that cannot report to a leader for so long gives its sessions up, so that the nodes find a manager that can.
pub const ISOLATION: Duration = Duration::from_secs(5);

/// A session is flushed at most once in this time, but at once after idleness.
pub const FLUSH_INTERVAL: Duration = Duration::from_millis(10);
/// Messages that wait for a slow receiver; further changes coalesce in the session, which holds one set alone.
pub const SESSION_QUEUE: usize = 2;
/// The first message of a session must come within this time.
pub const HELLO_DEADLINE: Duration = Duration::from_secs(5);
/// Sessions that one manager serves.
pub const SESSIONS: usize = 20_000;

/// How often a read-check-propose is tried when somebody else's change came in between.
pub const CONFLICT_RETRIES: usize = 5;
/// Deadline of a request between managers.
pub const PEER_DEADLINE: Duration = Duration::from_secs(2);

/// Operations in one transaction of the leader's; the state machine takes 1,000, and 1 MiB.
pub const OPS_PER_TXN: usize = 500;
/// How often the leader looks for nodes that have fallen silent, when no report wakes it.
pub const LIVENESS_TICK: Duration = Duration::from_millis(250);
/// How often the leader looks whether Raft's membership is as it should be.
pub const MEMBERSHIP_TICK: Duration = Duration::from_millis(200);
/// How often the leader removes expired tokens.
pub const TOKENS_TICK: Duration = Duration::from_secs(60);
/// Voters beyond this number cost writes and add no safety that people want.
pub const MAX_VOTERS: usize = 7;

/// Failed joins that one address may have in [`JOIN_FAILURE_WINDOW`].
pub const JOIN_FAILURES: u32 = 10;
/// Failed joins from all addresses in that window, also those that no longer fit into the table.
pub const JOIN_FAILURES_TOTAL: u32 = 1_000;
/// The window of both counters.
pub const JOIN_FAILURE_WINDOW: Duration = Duration::from_secs(60);
/// Addresses whose failures are remembered apart.
pub const JOIN_FAILURE_ADDRESSES: usize = 4_096;

/// Endpoints that one request may give back.
pub const DETACH_BATCH: usize = 500;
/// Join tokens with limits that may be outstanding.
pub const LIMITED_TOKENS: usize = 1_000;
/// Longest life of a join token: ten years.
pub const TOKEN_LIFE_S: u64 = 10 * 366 * 86_400;

/// The smallest MTU of a network: what IPv6 needs (RFC 8200 §5).
pub const MTU_MIN: u32 = rcon_state::limits::MIN_MTU;
/// What fits into an IP packet with the overheads of an encrypted overlay.
pub const MTU_MAX: u32 = 65_535 - rcon_types::Mtu::ENCRYPTED_OVERHEAD;
/// The underlay's MTU where no node has told its own: Ethernet's.
pub const UNDERLAY_MTU_DEFAULT: u32 = 1500;
/// Things that one warning names; the rest would not be read.
pub const NAMED_IN_WARNING: usize = 3;
/// The least time between two reports of sessions to the leader: sessions that begin together are reported together.
pub const REPORT_PAUSE: Duration = Duration::from_millis(20);
/// How long a removal waits until the leader has taken the node out of Raft.
pub const RETIREMENT_DEADLINE: Duration = Duration::from_secs(30);
