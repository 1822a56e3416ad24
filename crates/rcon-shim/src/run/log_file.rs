//! The container's log on disk: appended, rotated, never waited for.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

use rcon_oci::log::{KEPT_FILES, LineSplitter, LogStream, ROTATE_AT_BYTES, encode_record, rotated_name};

use super::error::RunError;

/// An open log. What cannot be written (a full disk) is counted and forgotten: a container does not stop for its log.
pub struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
    rotate_at: u64,
    stdout: LineSplitter,
    stderr: LineSplitter,
    buffer: Vec<u8>,
    lost_records: u64,
}

impl LogFile {
    /// Opens the log at `path` for appending.
    pub fn open(path: PathBuf) -> Result<Self, RunError> {
        Self::open_rotating(path, ROTATE_AT_BYTES)
    }

    fn open_rotating(path: PathBuf, rotate_at: u64) -> Result<Self, RunError> {
        let failed = |source| RunError::File { action: "open the log", path: path.clone(), source };
        let file = open(&path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        let (stdout, stderr) = (LineSplitter::new(), LineSplitter::new());
        Ok(Self { path, file, size, rotate_at, stdout, stderr, buffer: Vec::new(), lost_records: 0 })
    }

    /// Records what was read from a stream at `time_ns`.
    pub fn write(&mut self, stream: LogStream, bytes: &[u8], time_ns: u64) {
        let (splitter, buffer) = match stream {
            LogStream::Stdout => (&mut self.stdout, &mut self.buffer),
            LogStream::Stderr => (&mut self.stderr, &mut self.buffer),
        };
        let mut records = 0;
        splitter.push(bytes, |text| {
            records += 1;
            let _ = encode_record(text, stream, time_ns, buffer);
        });
        self.flush(records);
    }

    /// Records lines without an end; nothing follows.
    pub fn finish(&mut self, time_ns: u64) {
        let buffer = &mut self.buffer;
        let mut records = 0;
        for (splitter, stream) in [(&mut self.stdout, LogStream::Stdout), (&mut self.stderr, LogStream::Stderr)] {
            splitter.finish(|text| {
                records += 1;
                let _ = encode_record(text, stream, time_ns, buffer);
            });
        }
        self.flush(records);
    }

    /// Records that could not be written.
    pub fn lost_records(&self) -> u64 {
        self.lost_records
    }

    fn flush(&mut self, records: u64) {
        if self.buffer.is_empty() {
            return;
        }
        if self.size > 0 && self.size + self.buffer.len() as u64 > self.rotate_at {
            // Where rotation fails, the log grows: better than losing it.
            let _ = self.rotate();
        }
        match self.file.write_all(&self.buffer) {
            Ok(()) => self.size += self.buffer.len() as u64,
            Err(_) => {
                self.lost_records += records;
                // What was written of a record is cut off, so that the next one begins a line.
                let _ = self.file.set_len(self.size);
            }
        }
        self.buffer.clear();
        self.buffer.shrink_to(256 * 1024);
    }

    fn rotate(&mut self) -> io::Result<()> {
        for age in (0..KEPT_FILES - 1).rev() {
            match fs::rename(rotated_name(&self.path, age), rotated_name(&self.path, age + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.file = open(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

fn open(path: &std::path::Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcon_oci::log::LogRecord;

    #[test]
    fn a_log_is_rotated_at_whole_records_and_three_files_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogFile::open_rotating(path.clone(), 1000).unwrap();
        for number in 0..100 {
            log.write(LogStream::Stdout, format!("line {number}\n").as_bytes(), 1);
        }
        log.write(LogStream::Stderr, b"no end", 2);
        log.finish(3);
        let mut texts = Vec::new();
        for age in (0..KEPT_FILES).rev() {
            let content = fs::read(rotated_name(&path, age)).unwrap();
            assert!(content.len() <= 1000);
            texts.extend(content.split_inclusive(|b| *b == b'\n').map(|line| LogRecord::parse(line).unwrap().log));
        }
        assert!(!rotated_name(&path, KEPT_FILES).exists());
        assert_eq!(texts.pop().unwrap(), "no end");
        let expected: Vec<String> = (100 - texts.len()..100).map(|number| format!("line {number}\n")).collect();
        assert_eq!(texts, expected);
        assert_eq!(log.lost_records(), 0);
    }

    #[test]
    fn a_full_disk_loses_records_and_not_the_container() {
        let mut log = LogFile::open("/dev/full".into()).unwrap();
        log.write(LogStream::Stdout, b"a\nb\n", 1);
        assert_eq!(log.lost_records(), 2);
    }
}
