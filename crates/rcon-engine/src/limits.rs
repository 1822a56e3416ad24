//! Every limit and deadline of this crate, in one place.

use std::time::Duration;

/// Events that a receiver may lag behind.
pub const EVENTS: usize = 1024;
/// Frames in flight in each direction of an exec or attach.
pub const STREAM_FRAMES: usize = 32;
/// Pieces of a log read ahead.
pub const LOG_ENTRIES: usize = 256;
/// Bytes of a log read at a time.
pub const LOG_BATCH_BYTES: usize = 256 * 1024;
/// Writes that wait for the store.
pub const STORE_QUEUE: usize = 256;
/// Bytes of an archive between its stream and the import, in pieces.
pub const IMPORT_PIECES: usize = 16;
/// Most bytes of `/etc/passwd` or `/etc/group` of an image.
pub const ACCOUNT_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// Most bytes of arguments and environment together: a quarter of the kernel's `ARG_MAX` of 2 MiB would be too little for real use,
/// half of the shim's longest message is enough.
pub const COMMAND_BYTES: usize = 512 * 1024;
/// Most containers on a host.
pub const CONTAINERS: usize = 16 * 1024;
/// Containers waiting to be attached to before they start, each.
pub const PENDING_ATTACHMENTS: usize = 16;

/// Seconds between a stop signal and SIGKILL, as Docker's.
pub const STOP_TIMEOUT_S: u32 = 10;
/// How long a shim may take to create a container.
pub const CREATE_DEADLINE: Duration = Duration::from_secs(60);
/// How long a shim may take to answer anything else but a wait.
pub const SHIM_DEADLINE: Duration = Duration::from_secs(15);
/// How long SIGKILL may take to show.
pub const KILL_DEADLINE: Duration = Duration::from_secs(15);
/// How long [`crate::Engine::close`] waits for work in flight.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(10);
/// Between tries to reach a shim that lives but does not answer.
pub const RECONNECT_INTERVAL: Duration = Duration::from_millis(200);
