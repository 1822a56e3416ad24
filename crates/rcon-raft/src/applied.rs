//! What this manager has applied, as readers and watchers see it.

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use rcon_state::State;
use rcon_types::Revision;
use tokio::sync::watch;

use crate::{RaftError, digest::Digests, mailbox::Mailboxes};

/// Shared by the state-machine driver, which writes, and everybody who reads. Survives a restart of the core.
#[derive(Debug)]
pub(crate) struct Applied {
    state: ArcSwap<State>,
    revision: watch::Sender<Revision>,
    pub(crate) mailboxes: Mailboxes,
    pub(crate) digests: Mutex<Digests>,
    /// Why nothing will be applied any more.
    halted: watch::Sender<Option<Arc<RaftError>>>,
}

impl Applied {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: ArcSwap::from_pointee(State::new()),
            revision: watch::Sender::new(Revision(0)),
            mailboxes: Mailboxes::default(),
            digests: Mutex::default(),
            halted: watch::Sender::new(None),
        })
    }

    pub(crate) fn state(&self) -> State {
        State::clone(&self.state.load())
    }

    /// Looks at the state without cloning it.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.load())
    }

    pub(crate) fn revision(&self) -> watch::Receiver<Revision> {
        self.revision.subscribe()
    }

    /// Returns when the state is at this index or later.
    pub(crate) async fn reached(&self, index: u64) {
        // On the leader it always is: no need to wait in line with those who follow.
        if self.with(State::revision).0 >= index {
            return;
        }
        let mut revision = self.revision.subscribe();
        // The sender is in `self`, so it cannot be gone.
        drop(revision.wait_for(|revision| revision.0 >= index).await);
    }

    /// Shows a newer state. An older one, as a core that was started again replays its log, is not shown: nobody reads backwards.
    pub(crate) fn publish(&self, state: &State) {
        let revision = state.revision();
        if revision < self.with(State::revision) {
            return;
        }
        self.state.store(Arc::new(state.clone()));
        self.revision.send_if_modified(|known| std::mem::replace(known, revision) != revision);
    }

    pub(crate) fn halt(&self, why: RaftError) {
        self.halted.send_if_modified(|halted| {
            let first = halted.is_none();
            if first {
                tracing::error!(error = %why.failure(), "consensus stops on this manager");
                *halted = Some(Arc::new(why));
            }
            first
        });
    }

    pub(crate) fn halted(&self) -> watch::Receiver<Option<Arc<RaftError>>> {
        self.halted.subscribe()
    }
}
