//! openraft's log storage: entries, vote and committed index.

use std::{
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use openraft::{
    OptionalSend,
    storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage},
};
use raft_log::{RaftLog, api::raft_log_writer::RaftLogWriter as _};
use tokio::sync::oneshot;

use super::{
    group::{OpenLog, Shared, Waiter},
    mark::Mark,
    record::{LogTypes, RecordId, SealedPayload},
    scan,
};
use crate::{
    RaftError,
    seal::Sealer,
    types::{Entry, LogId, TypeConfig, Vote},
};

/// The largest file of the log; one is removed when all its entries are in a snapshot.
const CHUNK_BYTES: usize = 32 << 20;
/// The most records in a file.
const CHUNK_RECORDS: usize = 64 << 10;
/// Memory for entries that followers still need.
const CACHE_BYTES: usize = 64 << 20;
/// Buffer for reading a file when the log is opened.
const READ_BUFFER: usize = 1 << 20;

/// The log store. One a process and directory.
pub(crate) struct LogStore {
    reader: LogReader,
    acknowledge_early: bool,
}

/// Reads entries; clones share the log.
#[derive(Clone)]
pub(crate) struct LogReader {
    owner: Arc<Owner>,
    sealer: Sealer,
}

/// Closes the log when the last reader is gone, on that one's thread and never on raft-log's own.
struct Owner {
    shared: Arc<Shared>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        let open = self.shared.write().unwrap_or_else(PoisonError::into_inner).take();
        drop(open);
    }
}

impl LogStore {
    /// Makes the directory of an empty log.
    pub(crate) fn create(directory: &Path) -> Result<(), RaftError> {
        let log = directory.join("log");
        std::fs::create_dir_all(&log).map_err(|source| RaftError::Io { what: "create", path: log.clone(), source })?;
        Mark::create(&directory.join("synced"))
    }

    /// Opens the log of a Raft directory after every record was looked at.
    pub(crate) fn open(directory: &Path, sealer: Sealer, acknowledge_early: bool) -> Result<Self, RaftError> {
        let path = directory.join("log");
        let mark = Mark::open(&directory.join("synced"))?;
        let scanned = scan::scan(&path, &sealer, mark.synced())?;
        if scanned.torn {
            tracing::warn!(path = %path.display(), end = scanned.end, "the last record of the log is incomplete and was never acknowledged; it is cut off");
        }
        let mut config = raft_log::Config::new(path.display());
        config.wal.chunk_max_size = Some(CHUNK_BYTES);
        config.wal.chunk_max_records = Some(CHUNK_RECORDS);
        config.wal.read_buffer_size = Some(READ_BUFFER);
        config.wal.flush_batch_wait = Some(Duration::ZERO);
        config.log_cache_capacity = Some(CACHE_BYTES);
        let log = RaftLog::<LogTypes>::open(Arc::new(config)).map_err(|source| match source.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::Other => {
                RaftError::Damaged { path: path.clone(), offset: 0, why: source.to_string() }
            }
            _ => RaftError::Io { what: "open", path: path.clone(), source },
        })?;
        let shared = Arc::new(RwLock::new(Some(OpenLog::new(log, Arc::new(mark), scanned.end))));
        Ok(Self { reader: LogReader { owner: Arc::new(Owner { shared }), sealer }, acknowledge_early })
    }

    fn write<T>(&self, write: impl FnOnce(&mut OpenLog, &Arc<Shared>) -> io::Result<T>) -> io::Result<T> {
        let shared = &self.reader.owner.shared;
        let mut guard = shared.write().unwrap_or_else(PoisonError::into_inner);
        write(guard.as_mut().ok_or_else(closed)?, shared)
    }

    async fn write_and_sync(&self, write: impl FnOnce(&mut OpenLog) -> io::Result<()>) -> io::Result<()> {
        let (done, synced) = oneshot::channel();
        self.write(|open, shared| {
            write(open)?;
            open.sync(Waiter::Done(done), shared)
        })?;
        synced.await.map_err(|_| closed())?
    }
}

impl LogReader {
    fn read<T>(&self, read: impl FnOnce(&OpenLog) -> io::Result<T>) -> io::Result<T> {
        let guard = self.owner.shared.read().unwrap_or_else(PoisonError::into_inner);
        read(guard.as_ref().ok_or_else(closed)?)
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the log is closed")
}

/// What one message of entries may hold, so that it stays below the largest message of gRPC.
const MESSAGE_BYTES: usize = 1 << 20;

impl RaftLogReader<TypeConfig> for LogReader {
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let mut left = MESSAGE_BYTES;
        self.read(|open| {
            let mut entries = Vec::new();
            for record in open.log.read(start, end) {
                let (id, sealed) = record?;
                // The first one goes in any case.
                if !entries.is_empty() && sealed.len() > left {
                    break;
                }
                left = left.saturating_sub(sealed.len());
                entries.push(Entry { log_id: id.into(), payload: sealed.open(&self.sealer, id)? });
            }
            Ok(entries)
        })
    }

    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(&mut self, range: RB) -> io::Result<Vec<Entry>> {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(to) => *to,
            Bound::Unbounded => u64::MAX,
        };
        self.read(|open| {
            let entry = |record: io::Result<(RecordId, SealedPayload)>| {
                let (id, sealed) = record?;
                Ok(Entry { log_id: id.into(), payload: sealed.open(&self.sealer, id)? })
            };
            open.log.read(from, to).map(entry).collect()
        })
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        self.read(|open| Ok(open.log.log_state().vote().copied().map(Vote::from)))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        self.reader.read(|open| {
            let state = open.log.log_state();
            Ok(LogState {
                last_purged_log_id: state.purged().copied().map(LogId::from),
                last_log_id: state.last().copied().map(LogId::from),
            })
        })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        self.reader.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let vote = *vote;
        self.write_and_sync(move |open| open.log.save_vote(vote.into()).map(|segment| open.wrote(segment))).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        let Some(id) = committed.as_ref().map(RecordId::from) else { return Ok(()) };
        self.write(|open, shared| {
            // After a snapshot was installed, this comes before the log is moved up to it.
            if open.log.log_state().last() < Some(&id) {
                return Ok(());
            }
            let segment = open.log.commit(id)?;
            open.wrote(segment);
            open.write_out(shared)
        })
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        self.reader.read(|open| Ok(open.log.log_state().committed().copied().map(LogId::from)))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let sealed = entries.into_iter().map(|entry| {
            let id = RecordId::from(&entry.log_id);
            (id, SealedPayload::seal(&self.reader.sealer, id, entry.payload))
        });
        // Sealed before the log is locked: readers never wait for the cipher.
        let sealed: Vec<(RecordId, SealedPayload)> = sealed.collect();
        self.write(|open, shared| {
            let segment = open.log.append(sealed)?;
            open.wrote(segment);
            if self.acknowledge_early {
                callback.io_completed(Ok(()));
                return open.write_out(shared);
            }
            open.sync(Waiter::Append(callback), shared)
        })
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let from = last.map_or(0, |id| id.index + 1);
        self.write(|open, _| {
            // Nothing there to cut.
            if open.log.log_state().last().is_none_or(|id| id.index() < from) {
                return Ok(());
            }
            open.log.truncate(from).map(|segment| open.wrote(segment))
        })
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        // Files go once the record of the purge is on disk; nobody has to wait for that.
        self.write(|open, shared| {
            let segment = open.log.purge(RecordId::from(&upto))?;
            open.wrote(segment);
            open.sync(Waiter::Nobody, shared)
        })
    }
}
