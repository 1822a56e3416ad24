//! What survives a power-off: a directory of the machine with one record an inode, and the bytes of files beside it.
//!
//! The server may be killed at any moment: a record is replaced whole, and bytes that were half written belong to an fsync that has
//! not returned.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// The number of the root directory, as FUSE has it.
pub(super) const ROOT: u64 = 1;

/// An inode without a file's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Permissions, without the type.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub modified: SystemTime,
    pub kind: Kind,
}

/// What an inode is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    File,
    Symlink { target: String },
    Directory { entries: BTreeMap<String, u64> },
}

/// The directory of the machine.
#[derive(Debug)]
pub(super) struct Medium {
    directory: PathBuf,
    recorded: BTreeSet<u64>,
}

impl Medium {
    /// Reads all that can be reached from the root, and removes the rest. A new medium has an empty root.
    pub fn open(directory: &Path) -> io::Result<(Self, BTreeMap<u64, Record>)> {
        let mut medium = Self { directory: directory.to_owned(), recorded: BTreeSet::new() };
        let mut records = BTreeMap::new();
        let mut next = vec![ROOT];
        while let Some(number) = next.pop() {
            if records.contains_key(&number) {
                continue;
            }
            let record = match fs::read(medium.record_path(number)) {
                Ok(text) => serde_json::from_slice(&text)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound && number == ROOT => empty_root(),
                Err(error) => return Err(error),
            };
            if let Record { kind: Kind::Directory { entries }, .. } = &record {
                next.extend(entries.values());
            }
            records.insert(number, record);
        }
        medium.recorded = records.keys().copied().collect();
        medium.remove_unreachable()?;
        Ok((medium, records))
    }

    fn remove_unreachable(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok());
            if number.is_none_or(|number| !self.recorded.contains(&number)) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Whether it knows the inode at all.
    pub fn has(&self, number: u64) -> bool {
        self.recorded.contains(&number)
    }

    /// A file's bytes.
    pub fn bytes(&self, number: u64) -> io::Result<Vec<u8>> {
        match fs::read(self.bytes_path(number)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            outcome => outcome,
        }
    }

    /// Writes what was changed of a file's bytes, and how many there are.
    pub fn write_bytes(&self, number: u64, changed: &[(u64, &[u8])], length: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(self.bytes_path(number))?;
        for (offset, bytes) in changed {
            file.write_all_at(bytes, *offset)?;
        }
        file.set_len(length)
    }

    /// Replaces an inode's record.
    pub fn record(&mut self, number: u64, record: &Record) -> io::Result<()> {
        let path = self.record_path(number);
        let draft = path.with_extension("new");
        serde_json::to_writer(File::create(&draft)?, record)?;
        fs::rename(draft, path)?;
        self.recorded.insert(number);
        Ok(())
    }

    /// Free bytes and all bytes of the machine's file system.
    pub fn space(&self) -> io::Result<(u64, u64)> {
        let stat = nix::sys::statvfs::statvfs(&self.directory)?;
        Ok((stat.blocks_available() * stat.fragment_size(), stat.blocks() * stat.fragment_size()))
    }

    fn record_path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number}.inode"))
    }

    fn bytes_path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number}.bytes"))
    }
}

fn empty_root() -> Record {
    Record { mode: 0o755, uid: 0, gid: 0, modified: SystemTime::UNIX_EPOCH, kind: Kind::Directory { entries: BTreeMap::new() } }
}
