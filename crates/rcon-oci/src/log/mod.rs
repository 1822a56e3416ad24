//! A container's log: JSON lines as Docker's `json-file` has them, cut from the bytes of its streams.

mod record;
mod splitter;
mod timestamp;

pub use record::{LogRecord, LogRecordError, LogStream, encode_record};
pub use splitter::{LineSplitter, MAX_LINE_BYTES};
pub use timestamp::{TimestampError, format_timestamp, parse_timestamp};

/// Size at which a log file is closed and the next begun, bytes.
pub const ROTATE_AT_BYTES: u64 = 10 * 1024 * 1024;

/// Files kept: the one that is written and the older ones, `<log>.1` being the youngest of these.
pub const KEPT_FILES: u32 = 3;

/// The name of an older file, or of the log itself for 0.
#[must_use]
pub fn rotated_name(log: &std::path::Path, age: u32) -> std::path::PathBuf {
    if age == 0 {
        return log.to_owned();
    }
    let mut name = log.as_os_str().to_owned();
    name.push(format!(".{age}"));
    name.into()
}
