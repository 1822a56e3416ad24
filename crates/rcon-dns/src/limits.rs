//! Every bound and constant of the DNS server, in one place.

use std::time::Duration;

/// The life of an answer in a resolver's cache, in seconds: short, because endpoints move.
pub const TTL_S: u32 = 5;
/// How long one upstream may take; Docker's too.
pub const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(4);
/// How many queries of one container may wait for upstreams; one more gets SERVFAIL.
pub const MAX_FORWARDED_PER_CONTAINER: usize = 256;
/// How many queries of all containers may: each holds a descriptor.
pub const MAX_FORWARDED: usize = 4096;
/// How many TCP connections a container may have open.
pub const MAX_TCP_PER_CONTAINER: usize = 32;
/// How long a TCP connection may be silent (RFC 7766 §6.2.3 asks for seconds).
pub const TCP_IDLE: Duration = Duration::from_secs(10);
/// The largest UDP message without EDNS, in bytes (RFC 1035 §4.2.1).
pub const UDP_PLAIN: usize = 512;
/// The largest UDP message that is sent, in bytes, whatever the client allows.
pub const UDP_MOST: usize = 4096;
/// The largest UDP message that this server announces, in bytes (the value of the DNS flag day of 2020).
pub const EDNS_PAYLOAD: u16 = 1232;
/// The largest query that is looked at, in bytes: a name of 255 bytes and an OPT record leave room in it.
pub const MAX_QUERY: usize = 4096;
/// The largest snapshot that is read, in bytes.
pub const MAX_SNAPSHOT: u64 = 256 * 1024 * 1024;
/// How often everything is looked at again without being told to: failed namespaces, vanished ones, a missed reload.
pub const RESYNC: Duration = Duration::from_secs(5);
/// The longest line on the control socket, in bytes.
pub const MAX_CONTROL_LINE: u64 = 4096;
/// The longest reply on the control socket, in bytes.
pub const MAX_CONTROL_REPLY: u64 = 16 * 1024 * 1024;
/// How long either side of the control socket waits for the other.
pub const CONTROL_TIMEOUT: Duration = Duration::from_secs(10);
/// How many clients of the control socket are served at a moment.
pub const MAX_CONTROL_CLIENTS: usize = 16;
/// How long a step of a handover may take.
pub const HANDOVER_TIMEOUT: Duration = Duration::from_secs(3);
/// How many containers are handed over with one message: two descriptors each, and the kernel takes at most 253
/// (SCM_MAX_FD, `include/net/scm.h`).
pub const HANDOVER_BATCH: usize = 64;
/// How long a predecessor goes on with the queries that it has taken: three upstreams may be asked for each.
pub const DRAIN: Duration = Duration::from_secs(13);
/// How long a serving loop rests after the system refused a connection (no more descriptors).
pub const REST: Duration = Duration::from_millis(100);
