//! Managers compare a digest of their states as of the same entries, to notice what should be impossible.
//!
//! Digests travel with Raft's messages. The leader, who hears from everybody, finds what a majority of the voters has: a manager
//! that has something else stops, be it the leader itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How many own digests are remembered.
const REMEMBERED: usize = 16;

/// Digest of the state as of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest {
    pub(crate) index: u64,
    pub(crate) sha256: [u8; 32],
}

/// Own digests and the latest of the others.
#[derive(Debug, Default)]
pub(crate) struct Digests {
    own: VecDeque<Digest>,
    heard: BTreeMap<u64, Digest>,
    agreed: Option<Digest>,
}

impl Digests {
    pub(crate) fn add(&mut self, digest: Digest) {
        self.own.push_back(digest);
        if self.own.len() > REMEMBERED {
            self.own.pop_front();
        }
    }

    /// What goes with a message: our latest, or on a leader the latest that a majority has.
    pub(crate) fn to_send(&self, leads: bool) -> Option<(Digest, bool)> {
        if leads { self.agreed.map(|digest| (digest, true)) } else { self.own.back().map(|digest| (*digest, false)) }
    }

    /// On the leader `me`: a manager has this digest. True when most voters contradict us.
    pub(crate) fn hear(&mut self, from: u64, digest: Digest, me: u64, voters: &BTreeSet<u64>) -> bool {
        self.heard.insert(from, digest);
        let Some(own) = self.own.iter().find(|own| own.index == digest.index).copied() else { return false };
        let same_entry = self.heard.iter().filter(|(id, other)| **id != me && voters.contains(id) && other.index == own.index);
        let (agree, contradict): (Vec<_>, Vec<_>) = same_entry.partition(|(_, other)| other.sha256 == own.sha256);
        let majority = voters.len() / 2 + 1;
        if agree.len() + usize::from(voters.contains(&me)) >= majority {
            self.agreed = Some(own);
        }
        contradict.len() >= majority
    }

    /// On a follower: a majority has this digest. True when ours of the same entry differs.
    pub(crate) fn contradicts(&self, agreed: Digest) -> bool {
        self.own.iter().any(|own| own.index == agreed.index && own.sha256 != agreed.sha256)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(index: u64, byte: u8) -> Digest {
        Digest { index, sha256: [byte; 32] }
    }

    #[test]
    fn the_majority_is_right_and_the_one_that_differs_stops() {
        let voters = BTreeSet::from([1, 2, 3]);
        let mut leader = Digests::default();
        leader.add(digest(10, 1));
        assert!(!leader.hear(3, digest(10, 9), 1, &voters) && leader.to_send(true).is_none());
        assert!(!leader.hear(2, digest(10, 1), 1, &voters));
        assert_eq!(leader.to_send(true), Some((digest(10, 1), true)));
        let mut follower = Digests::default();
        follower.add(digest(10, 9));
        assert!(follower.contradicts(digest(10, 1)) && !follower.contradicts(digest(11, 1)));
    }

    #[test]
    fn a_leader_that_most_voters_contradict_is_wrong() {
        let voters = BTreeSet::from([1, 2, 3]);
        let mut leader = Digests::default();
        leader.add(digest(10, 9));
        assert!(!leader.hear(4, digest(10, 1), 1, &voters), "a learner has no say");
        assert!(!leader.hear(2, digest(10, 1), 1, &voters));
        assert!(leader.hear(3, digest(10, 1), 1, &voters));
    }
}
