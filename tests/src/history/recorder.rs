//! Notes what clients do while they do it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::operation::{Operation, Value};

/// The history as it grows, shared by all clients.
#[derive(Debug)]
pub struct Recorder {
    begin: Instant,
    last_value: AtomicU64,
    operations: Mutex<Vec<Operation>>,
    unanswered: AtomicU64,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { begin: Instant::now(), last_value: AtomicU64::new(0), operations: Mutex::default(), unanswered: AtomicU64::new(0) }
    }
}

impl Recorder {
    /// A moment of the history.
    pub fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    /// A value that was never written.
    pub fn new_value(&self) -> Value {
        self.last_value.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Notes what came of an operation.
    pub fn note(&self, operation: Operation) {
        self.operations().push(operation);
    }

    /// Notes a read that nobody answered; it says nothing about any register.
    pub fn note_unanswered(&self) {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads that nobody answered.
    pub fn unanswered(&self) -> usize {
        self.unanswered.load(Ordering::Relaxed) as usize
    }

    /// All of it.
    pub fn history(&self) -> Vec<Operation> {
        self.operations().clone()
    }

    fn operations(&self) -> MutexGuard<'_, Vec<Operation>> {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
