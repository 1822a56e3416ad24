//! The records of a log and of the older files beside it, in order, however the files are renamed meanwhile.
//!
//! Files are told apart by their inode: a rotation renames `log` to `log.1` and so on, and begins a new one. Only whole
//! lines are records; what a crash has cut short is passed over.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use rcon_oci::log::{KEPT_FILES, LogRecord, LogStream, rotated_name};

use crate::{
    limits::LOG_BATCH_BYTES,
    request::LogQuery,
    stream::{LogEntry, StreamKind},
};

/// Longest line of a log file: a line of 16 KiB of a container, each byte escaped as `\u0000`, with what is around it.
const LINE_BYTES: usize = 128 * 1024;

/// A log being read. Blocks only on the disk.
#[derive(Debug)]
pub(super) struct LogReader {
    path: PathBuf,
    /// Files that are still to be read after the current one, oldest first.
    next: VecDeque<File>,
    current: Option<BufReader<File>>,
    /// Inode of the newest file that was taken up.
    newest: Option<u64>,
    /// The start of a line whose end is not written yet.
    partial: Vec<u8>,
    /// Records to pass over, for `tail`.
    skip: u64,
    since_ns: u64,
    until_ns: u64,
    ended: bool,
}

impl LogReader {
    /// Opens a log; one that is not there yet is empty.
    pub(super) fn open(path: &Path, query: &LogQuery) -> io::Result<Self> {
        let mut reader = Self {
            path: path.to_owned(),
            next: VecDeque::new(),
            current: None,
            newest: None,
            partial: Vec::new(),
            skip: 0,
            since_ns: query.since_ms.saturating_mul(1_000_000),
            until_ns: if query.until_ms == 0 { u64::MAX } else { query.until_ms.saturating_mul(1_000_000) },
            ended: false,
        };
        reader.take_up_new_files()?;
        if let Some(tail) = query.tail {
            let lines = reader.next.iter().map(count_lines).sum::<io::Result<u64>>()?;
            reader.skip = lines.saturating_sub(tail);
        }
        Ok(reader)
    }

    /// The next wanted records, some at a time; empty when there is nothing more for now.
    pub(super) fn batch(&mut self) -> io::Result<Vec<LogEntry>> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        while bytes < LOG_BATCH_BYTES && !self.ended {
            let Some(line) = self.line()? else { break };
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            let Ok(record) = LogRecord::parse(&line) else { continue };
            if record.time_ns > self.until_ns {
                self.ended = true;
            } else if record.time_ns >= self.since_ns {
                bytes += line.len();
                entries.push(entry(record));
            }
        }
        Ok(entries)
    }

    /// Whether nothing wanted can follow any more.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// The next whole line.
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if self.current.is_none() {
                match self.next.pop_front() {
                    Some(file) => self.current = Some(BufReader::new(file)),
                    None => {
                        self.take_up_new_files()?;
                        if self.next.is_empty() {
                            return Ok(None);
                        }
                        continue;
                    }
                }
            }
            let Some(current) = &mut self.current else { continue };
            let limit = (LINE_BYTES - self.partial.len().min(LINE_BYTES)) as u64;
            let read = current.by_ref().take(limit.max(1)).read_until(b'\n', &mut self.partial)?;
            if self.partial.ends_with(b"\n") {
                return Ok(Some(std::mem::take(&mut self.partial)));
            }
            if self.partial.len() >= LINE_BYTES {
                // No record; its rest will be none either.
                self.partial.clear();
                continue;
            }
            if read == 0 && !self.advance()? {
                return Ok(None);
            }
        }
    }

    /// At the end of the current file: goes on to the next one, if this one has got a successor.
    fn advance(&mut self) -> io::Result<bool> {
        if self.next.is_empty() {
            self.take_up_new_files()?;
            if self.next.is_empty() {
                return Ok(false);
            }
            // It was turned over after we read to its end, so what was written in between must be read first.
            if let Some(current) = &mut self.current
                && !current.fill_buf()?.is_empty()
            {
                return Ok(true);
            }
        }
        // A cut line at the end of a file that nobody writes any more.
        self.partial.clear();
        self.current = None;
        Ok(true)
    }

    /// Opens what is newer than the newest that was taken up, from the newest back to that one.
    fn take_up_new_files(&mut self) -> io::Result<()> {
        let mut found: VecDeque<(u64, File)> = VecDeque::new();
        for age in 0..KEPT_FILES {
            let file = match File::open(rotated_name(&self.path, age)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            let inode = file.metadata()?.ino();
            if Some(inode) == self.newest {
                break;
            }
            // Renamed between two looks, a file comes twice.
            if found.iter().all(|(known, _)| *known != inode) {
                found.push_front((inode, file));
            }
        }
        if let Some((inode, _)) = found.back() {
            self.newest = Some(*inode);
        }
        self.next.extend(found.into_iter().map(|(_, file)| file));
        Ok(())
    }
}

fn count_lines(file: &File) -> io::Result<u64> {
    let mut reader = BufReader::with_capacity(LOG_BATCH_BYTES, file);
    let mut lines = 0;
    loop {
        let chunk = reader.fill_buf()?;
        if chunk.is_empty() {
            break;
        }
        lines += chunk.iter().filter(|byte| **byte == b'\n').count() as u64;
        let length = chunk.len();
        reader.consume(length);
    }
    let mut file = file;
    file.rewind()?;
    Ok(lines)
}

fn entry(record: LogRecord) -> LogEntry {
    let stream = match record.stream {
        LogStream::Stdout => StreamKind::Stdout,
        LogStream::Stderr => StreamKind::Stderr,
    };
    LogEntry { stream, data: Bytes::from(record.log), time_ns: record.time_ns }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use rcon_oci::log::encode_record;

    use super::*;

    fn append(path: &Path, times: impl IntoIterator<Item = u64>) {
        let mut text = Vec::new();
        for time in times {
            encode_record(format!("line {time}\n").as_bytes(), LogStream::Stdout, time * 1_000_000, &mut text).unwrap();
        }
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(&text).unwrap();
    }

    fn rotate(path: &Path) {
        for age in (1..KEPT_FILES).rev() {
            let _ = fs::rename(rotated_name(path, age - 1), rotated_name(path, age));
        }
    }

    fn times(reader: &mut LogReader) -> Vec<u64> {
        let mut times = Vec::new();
        loop {
            let batch = reader.batch().unwrap();
            if batch.is_empty() {
                return times;
            }
            times.extend(batch.iter().map(|entry| entry.time_ns / 1_000_000));
        }
    }

    fn log() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("container.log");
        (dir, path)
    }

    #[test]
    fn rotated_files_are_read_oldest_first() {
        let (_dir, path) = log();
        append(&path, 0..10);
        rotate(&path);
        append(&path, 10..20);
        rotate(&path);
        append(&path, 20..30);
        let mut reader = LogReader::open(&path, &LogQuery::default()).unwrap();
        assert_eq!(times(&mut reader), (0..30).collect::<Vec<_>>());
    }

    #[test]
    fn tail_since_and_until_choose_across_files() {
        let (_dir, path) = log();
        append(&path, 0..10);
        rotate(&path);
        append(&path, 10..20);
        let read = |query| times(&mut LogReader::open(&path, &query).unwrap());
        assert_eq!(read(LogQuery { tail: Some(13), ..LogQuery::default() }), (7..20).collect::<Vec<_>>());
        assert_eq!(read(LogQuery { tail: Some(0), ..LogQuery::default() }), Vec::<u64>::new());
        assert_eq!(read(LogQuery { tail: Some(u64::MAX), ..LogQuery::default() }).len(), 20);
        assert_eq!(read(LogQuery { since_ms: 8, until_ms: 11, ..LogQuery::default() }), [8, 9, 10, 11]);
    }

    #[test]
    fn what_is_passed_over_is_not_taken_for_the_end() {
        let (_dir, path) = log();
        append(&path, 0..10_000);
        let read = |query| times(&mut LogReader::open(&path, &query).unwrap());
        assert_eq!(read(LogQuery { tail: Some(1), ..LogQuery::default() }), [9_999]);
        assert_eq!(read(LogQuery { since_ms: 9_998, ..LogQuery::default() }), [9_998, 9_999]);
        assert_eq!(read(LogQuery::default()).len(), 10_000);
    }

    #[test]
    fn what_is_written_later_is_read_later_without_a_gap_across_rotations() {
        let (_dir, path) = log();
        let mut reader = LogReader::open(&path, &LogQuery::default()).unwrap();
        assert_eq!(times(&mut reader), Vec::<u64>::new());
        append(&path, 0..3);
        assert_eq!(times(&mut reader), [0, 1, 2]);
        append(&path, 3..5);
        rotate(&path);
        append(&path, 5..7);
        assert_eq!(times(&mut reader), [3, 4, 5, 6]);
        rotate(&path);
        append(&path, 7..8);
        rotate(&path);
        append(&path, 8..9);
        assert_eq!(times(&mut reader), [7, 8]);
    }

    #[test]
    fn a_line_comes_when_it_is_whole_and_a_cut_one_never() {
        let (_dir, path) = log();
        append(&path, 0..1);
        let mut whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        let mut reader = LogReader::open(&path, &LogQuery::default()).unwrap();
        assert_eq!(times(&mut reader), Vec::<u64>::new());
        let rest = whole.split_off(whole.len() - 5);
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(&rest).unwrap();
        assert_eq!(times(&mut reader), [0]);
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"log\":\"cut").unwrap();
        rotate(&path);
        append(&path, 1..2);
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"garbage\n").unwrap();
        append(&path, 2..3);
        assert_eq!(times(&mut reader), [1, 2]);
    }
}
