//! Every limit and interval of the agent, in one place.

use std::time::Duration;

/// A node says every second that it lives; three missed ones make it DOWN.
pub const BEAT: Duration = Duration::from_secs(1);
/// A manager that has said nothing for this long is left for another one: three of its `alive`s.
pub const MANAGER_SILENCE: Duration = Duration::from_secs(3);
/// Opening a session, from the first byte to the first set.
pub const SESSION_OPEN: Duration = Duration::from_secs(3);
/// Pauses between attempts to find a manager, doubled from the first to the second.
pub const RECONNECT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Messages waiting to go up in a session.
pub const SESSION_QUEUE: usize = 16;
/// A question to a manager (attach, detach), with all its retries on other managers.
pub const MANAGER_CALL: Duration = Duration::from_secs(8);
/// One attempt of it.
pub const MANAGER_ATTEMPT: Duration = Duration::from_secs(3);
/// From an endpoint's allocation to its place in this host's kernel.
pub const APPLY: Duration = Duration::from_secs(10);
/// How long an encrypted network's peers may take for their handshakes before a command warns of those without one.
pub const HANDSHAKE: Duration = Duration::from_secs(1);
/// The kernel is compared with what it should be at least this often.
pub const RESYNC: Duration = Duration::from_secs(30);
/// After a pass that failed, the next one comes after the first pause, doubled up to the second.
pub const PASS_RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// A leased endpoint without a container is given back after this long: a start may be under way.
pub const LEASE_GRACE: Duration = Duration::from_secs(20);
/// Networks that one container may join.
pub const NETWORKS_A_CONTAINER: usize = 64;
/// Aliases that one container may have on one network.
pub const ALIASES_A_NETWORK: usize = 64;
/// The largest ledger that is read back.
pub const LEDGER_BYTES: u64 = 256 * 1024 * 1024;
/// What belongs to no living container is looked for this often.
pub const TIDY: Duration = Duration::from_secs(5);
/// How long `swarm join` waits for the first assignments before it returns all the same.
pub const FIRST_SET: Duration = Duration::from_secs(5);
/// A tunnel without networks is ended after this long: containers often come back.
pub const TUNNEL_IDLE: Duration = Duration::from_secs(60);
/// A tunnel or a name server that was killed is missed for no longer than this.
pub const HELPER_LOOK: Duration = Duration::from_millis(250);
