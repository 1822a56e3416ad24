//! Every bound of this crate, in one place. Deadlines of requests are in [`crate::deadline`].

use std::time::Duration;

/// The largest message either side takes, in bytes: tonic's own default, four times the largest transaction. Whoever sends
/// more (snapshots, images) cuts it into chunks.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;
/// How long it may take to reach a peer: name, TCP and TLS together.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How many addresses of one host name are tried.
pub const MAX_ADDRESSES_TRIED: usize = 4;
/// How long a client may take for its TLS handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// How many clients may be in their handshake at a moment; more wait in the kernel's queue.
pub const MAX_HANDSHAKES: usize = 128;
/// How many clients without a certificate (joiners) may be connected at a moment; more are closed.
pub const MAX_ANONYMOUS: usize = 64;
/// How long a client without a certificate may stay.
pub const ANONYMOUS_LIFE: Duration = Duration::from_secs(60);
/// How many clients of the unix socket may be connected at a moment; more wait in the kernel's queue.
pub const MAX_LOCAL: usize = 512;
/// Connections that are accepted and not yet served.
pub const ACCEPTED_QUEUE: usize = 32;
/// Requests in flight on one connection.
pub const MAX_STREAMS: u32 = 1024;
/// The largest header list of a request or a response, in bytes; a failure with all its causes fits.
pub const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// The window of one stream, in bytes: large enough that a snapshot fills a link of 1 Gbit/s and 8 ms.
pub const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// The window of one connection, in bytes.
pub const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// How often a client asks whether the connection lives.
pub const CLIENT_KEEPALIVE: Duration = Duration::from_secs(1);
/// How long it waits for the answer.
pub const CLIENT_KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a server asks; it only has to find connections to hosts that vanished.
pub const SERVER_KEEPALIVE: Duration = Duration::from_secs(10);
/// How long it waits for the answer.
pub const SERVER_KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long open requests may go on after a server is told to stop.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
/// How long the accept loop rests after the system refused a connection (no more descriptors).
pub const ACCEPT_REST: Duration = Duration::from_millis(100);
/// The buffer of each direction of an in-process connection, in bytes.
pub const IN_PROCESS_BUFFER_BYTES: usize = 256 * 1024;

/// The most characters of a status message.
pub const MAX_STATUS_MESSAGE: usize = 512;
/// The most characters of a failure's message or hint.
pub const MAX_FAILURE_TEXT: usize = 1024;
/// The most characters of one cause.
pub const MAX_CAUSE: usize = 512;
/// The most causes.
pub const MAX_CAUSES: usize = 6;
/// The most bytes of a failure in the details of a status: base64 of it leaves room in [`MAX_HEADER_BYTES`].
pub const MAX_DETAIL_BYTES: usize = 8 * 1024;
