//! One line of a log file: `{"log":"text\n","stream":"stdout","time":"…"}`.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{TimestampError, format_timestamp, parse_timestamp};

/// Where output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// Standard output, and everything of a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A record as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// The text; ends with a newline but for a part of a longer line.
    pub log: String,
    /// Where it came from.
    pub stream: LogStream,
    /// When it was read from the container, nanoseconds since 1970.
    pub time_ns: u64,
}

/// A line that is no record.
#[derive(Debug, Error)]
pub enum LogRecordError {
    /// No JSON, or another object; a line cut short by a full disk or a crash is one.
    #[error("a line of the log is not a record")]
    Malformed {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A record without a time.
    #[error("a record of the log has no time")]
    Time {
        /// Why.
        #[source]
        source: TimestampError,
    },
}

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    log: std::borrow::Cow<'a, str>,
    stream: LogStream,
    #[serde(borrow)]
    time: std::borrow::Cow<'a, str>,
}

/// Appends the line of a record, with its end. Bytes that are no UTF-8 become U+FFFD, as in Docker.
///
/// # Errors
/// Never in practice: every text has a JSON form.
pub fn encode_record(text: &[u8], stream: LogStream, time_ns: u64, out: &mut Vec<u8>) -> Result<(), LogRecordError> {
    let line = Line { log: String::from_utf8_lossy(text), stream, time: format_timestamp(time_ns).into() };
    serde_json::to_writer(&mut *out, &line).map_err(|source| LogRecordError::Malformed { source })?;
    out.push(b'\n');
    Ok(())
}

impl LogRecord {
    /// From a line, with or without its end.
    ///
    /// # Errors
    /// When it is no record.
    pub fn parse(line: &[u8]) -> Result<Self, LogRecordError> {
        let line: Line<'_> = serde_json::from_slice(line).map_err(|source| LogRecordError::Malformed { source })?;
        let time_ns = parse_timestamp(&line.time).map_err(|source| LogRecordError::Time { source })?;
        Ok(Self { log: line.log.into_owned(), stream: line.stream, time_ns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_a_line_of_dockers_json_file() {
        let mut out = Vec::new();
        encode_record(b"a \"b\"\t\xff\n", LogStream::Stderr, 1_500_000_000, &mut out).unwrap();
        let expected = "{\"log\":\"a \\\"b\\\"\\t\u{fffd}\\n\",\"stream\":\"stderr\",\"time\":\"1970-01-01T00:00:01.500000000Z\"}\n";
        assert_eq!(String::from_utf8(out.clone()).unwrap(), expected);
        let record = LogRecord::parse(&out).unwrap();
        assert_eq!(record, LogRecord { log: "a \"b\"\t\u{fffd}\n".into(), stream: LogStream::Stderr, time_ns: 1_500_000_000 });
        assert!(LogRecord::parse(&out[..out.len() - 9]).is_err());
    }
}
