//! Group commit: whoever waits for the disk while it syncs shares the next fsync.
//!
//! raft-log gives each flush its own fsync when it may not linger, and lingering costs a lone write a millisecond. So here one
//! flush is under way at a time; what is appended meanwhile goes with the next, which starts as the one before ends.

use std::{
    io,
    sync::{Arc, PoisonError, RwLock, Weak},
};

use openraft::storage::IOFlushed;
use raft_log::{RaftLog, api::raft_log_writer::RaftLogWriter as _, codeq::Span as _};
use tokio::sync::oneshot;

use super::{
    mark::{Mark, Synced},
    record::LogTypes,
};
use crate::types::TypeConfig;

/// The open log. `None` once it is closed.
pub(crate) type Shared = RwLock<Option<OpenLog>>;

/// The log and who waits for its disk.
pub(crate) struct OpenLog {
    pub(crate) log: RaftLog<LogTypes>,
    waiting: Vec<Waiter>,
    /// Records that nobody waits for (the committed index), not handed to the disk yet.
    unsent: bool,
    flushing: bool,
    /// Why nothing will be synced any more: raft-log's thread ends with the first error.
    broken: Option<(io::ErrorKind, String)>,
    mark: Arc<Mark>,
    end: u64,
}

/// Somebody who waits for the disk.
pub(crate) enum Waiter {
    /// openraft, for appended entries.
    Append(IOFlushed<TypeConfig>),
    /// A saved vote, or the log's end.
    Done(oneshot::Sender<io::Result<()>>),
    /// Only that it happens matters.
    Nobody,
}

impl Waiter {
    fn tell(self, result: io::Result<()>) {
        match self {
            Self::Append(flushed) => flushed.io_completed(result),
            Self::Done(done) => drop(done.send(result)),
            Self::Nobody => {}
        }
    }
}

fn copy(result: &io::Result<()>) -> io::Result<()> {
    result.as_ref().copied().map_err(|e| io::Error::new(e.kind(), e.to_string()))
}

impl OpenLog {
    pub(crate) fn new(log: RaftLog<LogTypes>, mark: Arc<Mark>, end: u64) -> Self {
        Self { log, waiting: Vec::new(), unsent: false, flushing: false, broken: None, mark, end }
    }

    /// Notes where the log ends after a record was written.
    pub(crate) fn wrote(&mut self, segment: raft_log::types::Segment) {
        self.end = self.end.max(segment.end().0);
        self.unsent = true;
    }

    /// Has `waiter` told once all that was written so far is on disk.
    pub(crate) fn sync(&mut self, waiter: Waiter, shared: &Arc<Shared>) -> io::Result<()> {
        self.waiting.push(waiter);
        self.pump(&Arc::downgrade(shared))
    }

    /// Hands what was written to the operating system without waiting for the disk.
    pub(crate) fn write_out(&mut self, shared: &Arc<Shared>) -> io::Result<()> {
        self.pump(&Arc::downgrade(shared))
    }

    fn pump(&mut self, shared: &Weak<Shared>) -> io::Result<()> {
        if let Some((kind, why)) = &self.broken {
            let error = io::Error::new(*kind, why.clone());
            for waiter in std::mem::take(&mut self.waiting) {
                waiter.tell(Err(io::Error::new(*kind, why.clone())));
            }
            return Err(error);
        }
        if self.flushing {
            return Ok(());
        }
        if self.waiting.is_empty() {
            return if std::mem::take(&mut self.unsent) { self.log.flush(false, None) } else { Ok(()) };
        }
        self.unsent = false;
        self.flushing = true;
        let index = self.log.log_state().last().map_or(0, |id| id.index());
        let done = FlushDone {
            shared: Weak::clone(shared),
            waiters: std::mem::take(&mut self.waiting),
            mark: Arc::clone(&self.mark),
            synced: Synced { offset: self.end, index },
        };
        self.log.flush(true, Some(done))
    }
}

/// What raft-log's thread does after an fsync.
pub(crate) struct FlushDone {
    shared: Weak<Shared>,
    waiters: Vec<Waiter>,
    mark: Arc<Mark>,
    synced: Synced,
}

impl raft_log::Callback for FlushDone {
    fn send(self, result: Result<(), io::Error>) {
        // The mark is first: nothing is acknowledged that it does not cover.
        let result = result.and_then(|()| self.mark.advance(self.synced));
        for waiter in self.waiters {
            waiter.tell(copy(&result));
        }
        let Some(shared) = self.shared.upgrade() else { return };
        let mut guard = shared.write().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = guard.as_mut() else { return };
        open.flushing = false;
        open.broken = result.err().map(|error| (error.kind(), error.to_string()));
        if let Err(error) = open.pump(&self.shared) {
            tracing::error!(%error, "the log cannot be synced any more");
        }
    }
}
