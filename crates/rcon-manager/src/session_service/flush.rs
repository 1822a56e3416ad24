//! What to send next on a session. Pure: the node's set as it should be in, a message, or none, out.
//!
//! The last set that was sent is all that is remembered, so a receiver that is slow costs one set, and gets one larger change.

use rcon_proto::{
    assignments::{delta, is_empty},
    v1::{self, session_down::Down},
};

/// The memory of one session.
#[derive(Debug)]
pub struct Outbox {
    /// What the node says that it has.
    claimed: (u64, u64),
    sent: Option<v1::Assignments>,
    /// Up to which revision the sent set is all that there is to know.
    complete: u64,
}

impl Outbox {
    /// The memory of a session that begins so.
    #[must_use]
    pub const fn new(hello: &v1::Hello) -> Self {
        Self { claimed: (hello.epoch, hello.last_revision), sent: None, complete: 0 }
    }

    /// What the node must be sent so that it has this set.
    pub fn next(&mut self, set: v1::Assignments) -> Option<v1::SessionDown> {
        self.complete = set.revision;
        let down = match self.sent.take() {
            // A set is a function of its revision: what the node has is what we would send.
            None if self.claimed == (set.epoch, set.revision) => None,
            Some(sent) if sent.epoch == set.epoch => {
                let change = delta(&sent, &set);
                if is_empty(&change) {
                    // The node keeps the revision that it has: the next delta starts there.
                    self.sent = Some(sent);
                    return None;
                }
                Some(Down::Delta(change))
            }
            _ => Some(Down::Full(set.clone())),
        };
        self.sent = Some(set);
        down.map(|down| v1::SessionDown { down: Some(down) })
    }

    /// Nothing of interest has happened up to this revision.
    pub fn quiet_until(&mut self, revision: u64) {
        self.complete = self.complete.max(revision);
    }

    /// Up to which revision the sent set is complete.
    #[must_use]
    pub const fn complete(&self) -> u64 {
        self.complete
    }

    /// Up to which revision the node follows the state, when it has applied the message of revision `applied`: what does not concern it
    /// is not sent to it, and it is not behind for that.
    #[must_use]
    pub fn follows(&self, applied: u64) -> u64 {
        match &self.sent {
            Some(sent) if applied >= sent.revision => self.complete,
            _ => applied,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(epoch: u64, revision: u64, own_version: u64) -> v1::Assignments {
        v1::Assignments { epoch, revision, node: Some(v1::Node { version: own_version, ..Default::default() }), ..Default::default() }
    }

    fn hello(epoch: u64, last_revision: u64) -> v1::Hello {
        v1::Hello { epoch, last_revision, description: None }
    }

    #[test]
    fn a_full_set_comes_first_and_then_what_changed() {
        let mut outbox = Outbox::new(&hello(1, 0));
        assert!(matches!(outbox.next(set(1, 5, 1)).unwrap().down, Some(Down::Full(full)) if full.revision == 5));
        assert_eq!(outbox.next(set(1, 6, 1)), None);
        let Some(Down::Delta(change)) = outbox.next(set(1, 8, 2)).unwrap().down else { panic!("no delta") };
        assert_eq!((change.from_revision, change.revision), (5, 8));
    }

    #[test]
    fn a_node_that_has_it_all_is_sent_nothing_until_something_changes() {
        let mut outbox = Outbox::new(&hello(1, 5));
        assert_eq!(outbox.next(set(1, 5, 1)), None);
        let Some(Down::Delta(change)) = outbox.next(set(1, 6, 2)).unwrap().down else { panic!("no delta") };
        assert_eq!(change.from_revision, 5);
    }

    #[test]
    fn another_epoch_or_revision_asks_for_the_whole() {
        for claimed in [hello(2, 5), hello(1, 4), hello(0, 0)] {
            assert!(matches!(Outbox::new(&claimed).next(set(1, 5, 1)).unwrap().down, Some(Down::Full(_))), "{claimed:?}");
        }
        let mut outbox = Outbox::new(&hello(1, 0));
        outbox.next(set(1, 5, 1));
        assert!(matches!(outbox.next(set(2, 6, 1)).unwrap().down, Some(Down::Full(_))));
    }

    #[test]
    fn a_node_is_not_behind_for_what_does_not_concern_it() {
        let mut outbox = Outbox::new(&hello(1, 0));
        outbox.next(set(1, 5, 1));
        outbox.quiet_until(40);
        assert_eq!((outbox.follows(4), outbox.follows(5)), (4, 40));
        outbox.next(set(1, 50, 2));
        assert_eq!((outbox.follows(5), outbox.follows(50)), (5, 50));
    }
}
