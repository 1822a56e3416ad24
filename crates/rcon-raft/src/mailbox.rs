//! Who is told of what changed.
//!
//! Applied entries flow in with the nodes they interest; each node's subscribers remember, in bounded memory, which objects
//! changed since they last looked. Nobody waits for a subscriber, and a subscriber that is slow sees one larger change.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use rcon_state::{Dirty, ObjectKey};
use rcon_types::{NodeId, Revision};
use tokio::sync::Notify;

/// The most keys that a mailbox remembers; beyond that it only knows that much has changed.
const MAX_KEYS: usize = 1_024;

/// What changed for a node since it last looked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// The state is at least at this revision.
    pub revision: Revision,
    /// Written or removed objects, unless `everything`.
    pub keys: BTreeSet<ObjectKey>,
    /// More changed than could be remembered, or a snapshot was installed: compare everything.
    pub everything: bool,
}

/// One subscriber's view of what changed for one node.
#[derive(Debug)]
pub struct Mailbox {
    slot: Arc<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    pending: Mutex<Option<Changes>>,
    arrived: Notify,
}

/// All mailboxes of a manager.
#[derive(Debug, Default)]
pub(crate) struct Mailboxes {
    slots: Mutex<BTreeMap<NodeId, Vec<Weak<Slot>>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mailbox {
    /// Waits until something of interest has changed, and takes it. Cancel safe: what was not returned stays.
    pub async fn changed(&mut self) -> Changes {
        loop {
            let arrived = self.slot.arrived.notified();
            if let Some(changes) = lock(&self.slot.pending).take() {
                return changes;
            }
            arrived.await;
        }
    }

    /// Takes what changed, if anything did.
    pub fn take(&mut self) -> Option<Changes> {
        lock(&self.slot.pending).take()
    }
}

impl Slot {
    fn put(&self, revision: Revision, keys: Option<&BTreeSet<ObjectKey>>) {
        {
            let mut pending = lock(&self.pending);
            let changes = pending.get_or_insert_default();
            changes.revision = revision;
            match keys {
                Some(keys) if !changes.everything => changes.keys.extend(keys),
                Some(_) => {}
                None => changes.everything = true,
            }
            changes.everything |= changes.keys.len() > MAX_KEYS;
            if changes.everything {
                changes.keys.clear();
            }
        }
        self.arrived.notify_one();
    }
}

impl Mailboxes {
    /// A new mailbox for a node. It is empty: subscribe first, then read the state.
    pub(crate) fn subscribe(&self, node: NodeId) -> Mailbox {
        let slot = Arc::new(Slot::default());
        let mut slots = lock(&self.slots);
        let list = slots.entry(node).or_default();
        list.retain(|weak| weak.strong_count() > 0);
        list.push(Arc::downgrade(&slot));
        Mailbox { slot }
    }

    /// Tells the nodes that an applied entry interests.
    pub(crate) fn deliver(&self, revision: Revision, dirty: &Dirty) {
        if dirty.is_empty() {
            return;
        }
        let mut slots = lock(&self.slots);
        if dirty.everyone {
            slots.retain(|_, list| put_all(list, revision, Some(&dirty.keys)));
            return;
        }
        for node in &dirty.nodes {
            if let Some(list) = slots.get_mut(node)
                && !put_all(list, revision, Some(&dirty.keys))
            {
                slots.remove(node);
            }
        }
    }

    /// Tells everybody that the whole state was replaced.
    pub(crate) fn deliver_everything(&self, revision: Revision) {
        lock(&self.slots).retain(|_, list| put_all(list, revision, None));
    }
}

/// Puts into each living slot; false when none is left.
fn put_all(list: &mut Vec<Weak<Slot>>, revision: Revision, keys: Option<&BTreeSet<ObjectKey>>) -> bool {
    list.retain(|weak| weak.upgrade().map(|slot| slot.put(revision, keys)).is_some());
    !list.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 16])
    }

    #[tokio::test]
    async fn only_interested_nodes_are_told_and_changes_add_up() {
        let boxes = Mailboxes::default();
        let (mut one, mut two) = (boxes.subscribe(node(1)), boxes.subscribe(node(2)));
        let dirty = |n: u8| Dirty { everyone: false, nodes: [node(1)].into(), keys: [ObjectKey::Node(node(n))].into() };
        boxes.deliver(Revision(5), &dirty(7));
        boxes.deliver(Revision(6), &dirty(8));
        let changes = one.changed().await;
        assert_eq!((changes.revision, changes.keys.len(), changes.everything), (Revision(6), 2, false));
        assert!(one.take().is_none() && two.take().is_none());
        boxes.deliver_everything(Revision(9));
        assert!(one.changed().await.everything && two.changed().await.everything);
    }

    #[test]
    fn a_mailbox_has_bounded_memory() {
        let boxes = Mailboxes::default();
        let mut mailbox = boxes.subscribe(node(1));
        for n in 0..=u16::try_from(MAX_KEYS).unwrap() {
            let mut id = [0; 16];
            id[..2].copy_from_slice(&n.to_be_bytes());
            let keys = [ObjectKey::Node(NodeId::from_bytes(id))].into();
            boxes.deliver(Revision(1), &Dirty { everyone: true, nodes: BTreeSet::new(), keys });
        }
        let changes = mailbox.take().unwrap();
        assert!(changes.everything && changes.keys.is_empty());
    }
}
