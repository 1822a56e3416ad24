//! Every constant that bounds or paces the datapath.

use std::time::Duration;

/// How often the timers of all peers are looked at. WireGuard's own are whole seconds.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// How long a thread may sleep in the kernel before it looks whether it must end.
pub(crate) const STOP_CHECK: Duration = Duration::from_millis(100);

/// Age at which the side that initiated a session replaces it (REKEY_AFTER_TIME, WireGuard paper §6.1), traffic or not, so that
/// a session is there when traffic comes.
pub(crate) const REKEY_INITIATOR: Duration = Duration::from_secs(120);

/// The other side's turn, should the first not have done so.
pub(crate) const REKEY_RESPONDER: Duration = Duration::from_secs(140);

/// Handshake messages a second above which strangers must prove their address by a cookie; each peer adds to it.
pub(crate) const HANDSHAKES_PER_SECOND: u64 = 100;

/// Bytes of a socket's send and receive buffer.
pub(crate) const SOCKET_BUFFER: libc::c_int = 16 << 20;

/// Most bytes of one UDP send over IPv4: 65,535 less the IP and UDP headers.
pub(crate) const MAX_UDP_PAYLOAD: usize = 65_507;

/// Most segments of one send (`UDP_MAX_SEGMENTS` in `include/linux/udp.h` before Linux 6.9).
pub(crate) const MAX_UDP_SEGMENTS: usize = 64;

/// Bytes of sealed messages that are gathered before they are sent: one 64 KiB frame in segments, with room for a second start.
pub(crate) const SEND_BUFFER: usize = 160 << 10;

/// Most sends of one system call.
pub(crate) const MAX_RUNS: usize = 64;

/// Bytes for one frame from a TAP: virtio header, Ethernet with tags, 64 KiB.
pub(crate) const FRAME_BUFFER: usize = 10 + 22 + (64 << 10);

/// Bytes for one receive: the kernel never merges beyond 64 KiB.
pub(crate) const RECEIVE_SLOT: usize = 64 << 10;

/// Receives of one system call while they are small; when the kernel merges, fewer, so that a batch stays in the cache.
pub(crate) const RECEIVE_SLOTS: usize = 64;
/// Receives of one system call while they are large.
pub(crate) const RECEIVE_SLOTS_MERGED: usize = 12;
/// What counts as large: bytes in each receive, on average.
pub(crate) const MERGED_RECEIVE: usize = 16 << 10;

/// Frames taken from one TAP before the next one has its turn.
pub(crate) const FRAMES_PER_TURN: usize = 64;

/// Most threads that send, and so most queues of a TAP.
pub(crate) const MAX_SENDERS: usize = 8;

/// How long a smaller path MTU is believed (RFC 1191 §6.3 recommends ten minutes).
pub(crate) const PATH_MTU_LIFE: Duration = Duration::from_secs(600);

/// Control connections at the same time.
pub(crate) const MAX_CONNECTIONS: usize = 16;

/// How long the rest of a control message may take.
pub(crate) const MESSAGE_DEADLINE: Duration = Duration::from_secs(10);

/// Most bytes of a private key's file.
pub(crate) const MAX_KEY_FILE: u64 = 4096;
