//! The sessions that this manager serves, in memory: who beats, since when not, and how far each node has come.
//!
//! Sessions write here, the report to the leader reads here. Nothing of it reaches the log. One entry a node: a newer session of the same
//! node takes the place of an older one, which then ends.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use rcon_types::{Failure, FailureKind, NodeId};
use tokio::sync::{Notify, watch};

use crate::{
    limits::SESSIONS,
    liveness::core::{Heard, Monotonic},
};

/// All sessions of this manager.
#[derive(Debug)]
pub struct Sessions {
    started: Instant,
    table: Mutex<Table>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    entries: BTreeMap<NodeId, Entry>,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    last_beat: Monotonic,
    applied_revision: u64,
    displaced: watch::Sender<bool>,
}

/// One session's place in the table; leaves it when dropped.
#[derive(Debug)]
pub struct Registration<'a> {
    sessions: &'a Sessions,
    node: NodeId,
    number: u64,
    displaced: watch::Receiver<bool>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { started: Instant::now(), table: Mutex::default(), changed: Notify::new() }
    }
}

impl Sessions {
    /// This process's monotonic clock.
    #[must_use]
    pub fn now(&self) -> Monotonic {
        Monotonic(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Notes that a node has a session here, and that it beats now. An older session of the node is told to end.
    ///
    /// # Errors
    /// When this manager serves as many as it may.
    pub fn begin(&self, node: NodeId) -> Result<Registration<'_>, Failure> {
        let (sender, displaced) = watch::channel(false);
        let mut table = self.lock();
        if table.entries.len() >= SESSIONS && !table.entries.contains_key(&node) {
            return Err(Failure::new(FailureKind::ResourceExhausted, format!("this manager serves {SESSIONS} sessions already"))
                .hint("the node tries another manager by itself"));
        }
        table.next += 1;
        let number = table.next;
        let entry = Entry { number, last_beat: self.now(), applied_revision: 0, displaced: sender };
        if let Some(older) = table.entries.insert(node, entry) {
            older.displaced.send_replace(true);
        }
        drop(table);
        self.changed.notify_one();
        Ok(Registration { sessions: self, node, number, displaced })
    }

    /// What this manager hears now.
    #[must_use]
    pub fn heard(&self) -> Vec<Heard> {
        let now = self.now();
        let heard = |(node, entry): (&NodeId, &Entry)| Heard {
            node: *node,
            silent_ms: now.since(entry.last_beat),
            applied_revision: entry.applied_revision,
        };
        self.lock().entries.iter().map(heard).collect()
    }

    /// Waits until a session has begun or ended since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Ends all sessions: their nodes look for another manager.
    pub fn end_all(&self) {
        for entry in self.lock().entries.values() {
            entry.displaced.send_replace(true);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, node: NodeId, number: u64, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.lock().entries.get_mut(&node).filter(|entry| entry.number == number) {
            change(entry);
        }
    }
}

impl Registration<'_> {
    /// The node has beaten.
    pub fn beat(&self) {
        let now = self.sessions.now();
        self.sessions.update(self.node, self.number, |entry| entry.last_beat = now);
    }

    /// The node's networks follow the state up to here.
    pub fn applied(&self, revision: u64) {
        self.sessions.update(self.node, self.number, |entry| entry.applied_revision = revision);
    }

    /// Waits until this session has to end, since there is a newer one or this manager gives its sessions up.
    pub async fn displaced(&mut self) {
        // An error says that the entry is gone, which is the same.
        let _ = self.displaced.wait_for(|displaced| *displaced).await;
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        let mut table = self.sessions.lock();
        if table.entries.get(&self.node).is_some_and(|entry| entry.number == self.number) {
            table.entries.remove(&self.node);
        }
        drop(table);
        self.sessions.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 16])
    }

    #[tokio::test]
    async fn a_newer_session_of_a_node_ends_the_older_and_survives_its_end() {
        let sessions = Sessions::default();
        let mut older = sessions.begin(node(1)).unwrap();
        let newer = sessions.begin(node(1)).unwrap();
        older.displaced().await;
        older.applied(7);
        newer.applied(9);
        drop(older);
        assert_eq!(sessions.heard().iter().map(|h| (h.node, h.applied_revision)).collect::<Vec<_>>(), [(node(1), 9)]);
        drop(newer);
        assert!(sessions.heard().is_empty());
    }

    #[tokio::test]
    async fn giving_all_sessions_up_ends_each() {
        let sessions = Sessions::default();
        let (mut one, mut two) = (sessions.begin(node(1)).unwrap(), sessions.begin(node(2)).unwrap());
        sessions.end_all();
        one.displaced().await;
        two.displaced().await;
    }
}
