//! Every way in which a log can be cut or a bit of it can flip, and what opening it must then say.
//!
//! The short run samples; `RCON_LONG=1` takes every byte and every bit.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use openraft::{
    storage::{IOFlushed, RaftLogReader as _, RaftLogStorage as _},
    type_config::TypeConfigExt as _,
};
use rcon_types::NodeId;
use tempfile::TempDir;

use super::{LogStore, mark::Mark, scan};
use crate::{
    RaftError,
    seal::Sealer,
    types::{Entry, LeaderId, LogId, Payload, Proposal, TypeConfig, Vote},
};

/// A closed log of a vote and ten entries, with the state of its file and mark before the last entry.
struct Written {
    directory: TempDir,
    sealer: Sealer,
    log: Vec<u8>,
    mark: Vec<u8>,
    /// Where each entry's record starts, and where the last ends.
    records: Vec<usize>,
    mark_before_last: Vec<u8>,
}

const ENTRIES: u64 = 10;

fn is_long() -> bool {
    std::env::var_os("RCON_LONG").is_some()
}

fn log_id(index: u64) -> LogId {
    LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index }
}

fn entry(index: u64) -> Entry {
    let text = format!("transaction {index}");
    Entry { log_id: log_id(index), payload: Payload::Normal(Proposal(Bytes::from(text))) }
}

impl Written {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let sealer = Sealer::open(&directory.path().join("seal.key"), NodeId::from_bytes([1; 16]), true).unwrap();
        LogStore::create(directory.path()).unwrap();
        let mut store = LogStore::open(directory.path(), sealer.clone(), false).unwrap();
        store.save_vote(&Vote { leader_id: LeaderId { term: 1, node_id: 1 }, committed: true }).await.unwrap();
        let (mut records, mut mark_before_last) = (Vec::new(), Vec::new());
        for index in 0..ENTRIES {
            records.push(fs::read(file(directory.path())).unwrap().len());
            mark_before_last = fs::read(directory.path().join("synced")).unwrap();
            let (done, synced) = TypeConfig::oneshot();
            store.append([entry(index)], IOFlushed::signal(done)).await.unwrap();
            synced.await.unwrap().unwrap();
        }
        drop(store);
        let log = fs::read(file(directory.path())).unwrap();
        records.push(log.len());
        let mark = fs::read(directory.path().join("synced")).unwrap();
        Self { directory, sealer, log, mark, records, mark_before_last }
    }

    /// Puts these bytes in place of the log, and of what an earlier opening made of it.
    fn put(&self, log: &[u8], mark: &[u8]) {
        let path = self.directory.path();
        let first = file(path);
        for entry in fs::read_dir(path.join("log")).unwrap() {
            let entry = entry.unwrap().path();
            if entry != first && entry.extension().is_some_and(|extension| extension == "wal") {
                fs::remove_file(entry).unwrap();
            }
        }
        fs::write(first, log).unwrap();
        fs::write(path.join("synced"), mark).unwrap();
    }

    /// Opens the log as if this were on disk, and gives the entries it has.
    async fn open(&self, log: &[u8], mark: &[u8]) -> Result<Vec<Entry>, RaftError> {
        let path = self.directory.path();
        self.put(log, mark);
        let mut store = LogStore::open(path, self.sealer.clone(), false)?;
        let entries = store.get_log_reader().await.try_get_log_entries(..).await.expect("what was opened can be read");
        drop(store);
        Ok(entries)
    }

    /// The verdict alone, without opening: what the sweep over bits asks thousands of times.
    fn verdict(&self, log: &[u8], mark: &[u8]) -> Result<scan::Scanned, RaftError> {
        let path = self.directory.path();
        self.put(log, mark);
        scan::scan(&path.join("log"), &self.sealer, Mark::open(&path.join("synced"))?.synced())
    }
}

/// The first file of the log.
fn file(directory: &Path) -> PathBuf {
    let files = fs::read_dir(directory.join("log")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "wal")).min().expect("a file of the log")
}

fn expected(count: u64) -> Vec<u64> {
    (0..count).collect()
}

fn indexes(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.log_id.index).collect()
}

#[tokio::test]
async fn a_log_that_is_whole_opens_whole() {
    let written = Written::new().await;
    assert_eq!(indexes(&written.open(&written.log, &written.mark).await.unwrap()), expected(ENTRIES));
}

#[tokio::test]
async fn a_log_cut_before_its_mark_is_refused_at_every_byte() {
    let written = Written::new().await;
    let step = if is_long() { 1 } else { 7 };
    for cut in (0..written.log.len()).step_by(step) {
        let result = written.open(&written.log[..cut], &written.mark).await;
        assert!(matches!(result, Err(RaftError::LogTooShort { .. })), "cut at {cut}: {:?}", result.map(|e| indexes(&e)));
        assert_eq!(fs::read(file(written.directory.path())).unwrap().len(), cut, "a refused log is not touched");
    }
}

#[tokio::test]
async fn a_torn_record_behind_the_mark_is_cut_at_every_byte() {
    let written = Written::new().await;
    let [start, end] = *written.records.last_chunk::<2>().unwrap();
    for cut in start..end {
        let entries = written.open(&written.log[..cut], &written.mark_before_last).await.unwrap();
        assert_eq!(indexes(&entries), expected(ENTRIES - 1), "cut at {cut}");
    }
    let zeros = [&written.log[..start], &[0; 300]].concat();
    assert_eq!(indexes(&written.open(&zeros, &written.mark_before_last).await.unwrap()), expected(ENTRIES - 1));
    let entries = written.open(&written.log, &written.mark_before_last).await.unwrap();
    assert_eq!(indexes(&entries), expected(ENTRIES), "a whole record behind the mark stays");
}

#[tokio::test]
async fn a_flipped_bit_of_the_last_or_a_middle_record_is_never_lost_silently() {
    let written = Written::new().await;
    let step = if is_long() { 1 } else { 5 };
    for record in [4, written.records.len() - 2] {
        let (start, end) = (written.records[record], written.records[record + 1]);
        for bit in (start * 8..end * 8).step_by(step) {
            let mut flipped = written.log.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let result = written.verdict(&flipped, &written.mark);
            assert!(
                matches!(result, Err(RaftError::Damaged { .. } | RaftError::LogTooShort { .. })),
                "record {record}, bit {bit}: {result:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_complete_last_record_with_a_broken_seal_is_damage_even_behind_the_mark() {
    let written = Written::new().await;
    let [start, end] = *written.records.last_chunk::<2>().unwrap();
    // Type, log id: 28 bytes. Then our frame; at the end raft-log's own checksum of 8 bytes.
    for bit in ((start + 28) * 8..end * 8).step_by(if is_long() { 1 } else { 3 }) {
        let mut flipped = written.log.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let result = written.verdict(&flipped, &written.mark_before_last);
        assert!(matches!(result, Err(RaftError::Damaged { .. })), "bit {bit}: {result:?}");
    }
}

#[tokio::test]
async fn an_entry_moved_to_another_place_is_damage() {
    let written = Written::new().await;
    let (a, b, c) = (written.records[3], written.records[4], written.records[5]);
    let swapped = [&written.log[..a], &written.log[b..c], &written.log[a..b], &written.log[c..]].concat();
    assert!(written.open(&swapped, &written.mark).await.is_err());
}

#[tokio::test]
async fn a_log_without_its_mark_or_its_key_is_refused() {
    let written = Written::new().await;
    fs::remove_file(written.directory.path().join("synced")).unwrap();
    assert!(matches!(LogStore::open(written.directory.path(), written.sealer.clone(), false), Err(RaftError::Io { .. })));
    let other = Sealer::open(&written.directory.path().join("other.key"), NodeId::from_bytes([1; 16]), true).unwrap();
    fs::write(written.directory.path().join("synced"), &written.mark).unwrap();
    assert!(matches!(LogStore::open(written.directory.path(), other, false), Err(RaftError::Damaged { .. })));
}
