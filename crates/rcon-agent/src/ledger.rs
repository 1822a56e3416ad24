//! What this node was told to be: its assignments, in memory for readers and on disk for the time when no manager answers.
//!
//! A set or a delta of the session comes in; whoever waits on [`Ledger::watch`] sees the new set at once, and the file follows
//! behind. That the file may lag is no loss: the session asks for what is missing. An older set than the one at hand is refused.

use std::{fs, io, path::PathBuf, sync::Arc};

use rcon_proto::{
    Message,
    assignments::{self, Refused},
    v1::{Assignments, AssignmentsDelta},
};
use thiserror::Error;
use tokio::sync::watch;
use tracing::warn;

use crate::{
    file::{self, Durability},
    limits,
};

/// Why an assignment was not taken.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// A manager that lags, or one of an older life of the cluster.
    #[error("a set of epoch {got_epoch}, revision {got} is older than this node's epoch {have_epoch}, revision {have}")]
    Older {
        /// Epoch of the set at hand.
        have_epoch: u64,
        /// Revision of the set at hand.
        have: u64,
        /// Epoch of the refused set.
        got_epoch: u64,
        /// Revision of the refused set.
        got: u64,
    },
    /// A delta that does not fit; a full set mends it.
    #[error("a change does not fit this node's ledger")]
    Delta(#[source] Refused),
    /// The file cannot be read.
    #[error("could not read the ledger `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The node's assignments. Cheap to share behind an `Arc`.
pub struct Ledger {
    path: PathBuf,
    current: watch::Sender<Arc<Assignments>>,
}

impl Ledger {
    /// The ledger kept at `path`; an absent or unreadable one is empty, and the next session fills it.
    ///
    /// # Errors
    /// When a file is there but cannot be read.
    pub fn open(path: PathBuf) -> Result<Self, LedgerError> {
        let set = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Assignments::default(),
            Err(source) => return Err(LedgerError::Read { path, source }),
            Ok(metadata) if metadata.len() > limits::LEDGER_BYTES => {
                warn!(path = %path.display(), bytes = metadata.len(), "ledger is larger than any this node wrote; starting empty");
                Assignments::default()
            }
            Ok(_) => {
                let bytes = fs::read(&path).map_err(|source| LedgerError::Read { path: path.clone(), source })?;
                Assignments::decode(&bytes[..]).unwrap_or_else(|error| {
                    warn!(path = %path.display(), %error, "ledger is damaged; starting empty, the next session fills it");
                    Assignments::default()
                })
            }
        };
        Ok(Self { path, current: watch::Sender::new(Arc::new(set)) })
    }

    /// The set at hand.
    #[must_use]
    pub fn current(&self) -> Arc<Assignments> {
        self.current.borrow().clone()
    }

    /// Sees every later set; sets that follow each other quickly may be seen as one.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Assignments>> {
        self.current.subscribe()
    }

    /// Takes a full set.
    ///
    /// # Errors
    /// When it is older than the one at hand.
    pub fn take_full(&self, mut set: Assignments) -> Result<(), LedgerError> {
        let have = self.current();
        if (set.epoch, set.revision) < (have.epoch, have.revision) {
            return Err(LedgerError::Older { have_epoch: have.epoch, have: have.revision, got_epoch: set.epoch, got: set.revision });
        }
        assignments::sort(&mut set);
        self.current.send_replace(Arc::new(set));
        Ok(())
    }

    /// Takes a change.
    ///
    /// # Errors
    /// When it does not start from the set at hand; the session then asks for a full set.
    pub fn take_delta(&self, delta: AssignmentsDelta) -> Result<(), LedgerError> {
        let set = assignments::apply_delta((*self.current()).clone(), delta).map_err(LedgerError::Delta)?;
        self.current.send_replace(Arc::new(set));
        Ok(())
    }

    /// Forgets everything: the node has left its cluster.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn clear(&self) -> io::Result<()> {
        self.current.send_replace(Arc::new(Assignments::default()));
        file::remove(&self.path)
    }

    /// Keeps the file up with the set until the ledger is dropped; one write a change at most, fewer when they come quickly.
    pub async fn persist(self: Arc<Self>) {
        let mut changes = self.watch();
        let weak = Arc::downgrade(&self);
        drop(self);
        while changes.changed().await.is_ok() {
            let Some(ledger) = weak.upgrade() else { return };
            let set = changes.borrow_and_update().clone();
            if set.node.is_none() {
                continue;
            }
            let written = tokio::task::spawn_blocking(move || {
                let outcome = file::replace(&ledger.path, &set.encode_to_vec(), Durability::Synced);
                outcome.map_err(|error| (ledger.path.clone(), error))
            });
            if let Ok(Err((path, error))) = written.await {
                warn!(path = %path.display(), %error, "could not write the ledger; a restart without a manager would use an older one");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(revision: u64) -> Assignments {
        Assignments { epoch: 1, revision, node: Some(rcon_proto::v1::Node::default()), ..Default::default() }
    }

    #[test]
    fn an_older_set_is_refused_and_a_newer_one_taken() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(directory.path().join("ledger")).unwrap();
        ledger.take_full(set(7)).unwrap();
        assert!(matches!(ledger.take_full(set(6)), Err(LedgerError::Older { .. })));
        assert!(matches!(ledger.take_full(Assignments { epoch: 0, revision: 99, ..set(0) }), Err(LedgerError::Older { .. })));
        ledger.take_full(Assignments { epoch: 2, ..set(1) }).unwrap();
        assert_eq!(ledger.current().revision, 1);
        let delta = AssignmentsDelta { epoch: 2, revision: 3, from_revision: 2, ..Default::default() };
        assert!(matches!(ledger.take_delta(delta), Err(LedgerError::Delta(_))));
    }

    #[tokio::test]
    async fn a_restarted_node_has_its_ledger_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        let ledger = Arc::new(Ledger::open(path.clone()).unwrap());
        let keeper = tokio::spawn(ledger.clone().persist());
        tokio::task::yield_now().await;
        ledger.take_full(set(9)).unwrap();
        tokio::time::timeout(std::time::Duration::from_secs(5), async {
            while Ledger::open(path.clone()).unwrap().current().revision != 9 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("the file follows");
        drop(ledger);
        keeper.await.unwrap();
        fs::write(&path, b"\xff\xff\xff").unwrap();
        assert_eq!(Ledger::open(path).unwrap().current().revision, 0);
    }
}
