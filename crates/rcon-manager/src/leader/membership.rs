//! Which managers vote. Pure: Raft's membership and the state in, the next step out; the leader takes one step at a time and asks again.
//!
//! Voters are kept odd, since an even number costs a vote and saves nobody; a spare stays a warm learner, and takes the place of a voter
//! that is DOWN. A manager that was demoted loses its vote, then its place in Raft, then its mark in the state.

use std::collections::BTreeSet;

use rcon_proto::convert;
use rcon_raft::Participant;
use rcon_state::State;
use rcon_types::{NodeId, NodeState, Role};

use crate::limits::MAX_VOTERS;

/// What the leader does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// We are to leave Raft: hand the leadership to this node first.
    HandOver(NodeId),
    /// Exactly these Raft ids vote; all others become, or stay, learners.
    SetVoters(BTreeSet<u64>),
    /// Take a learner out of Raft.
    Remove(u64),
    /// Note in the state that a node has left Raft.
    Clear(NodeId),
}

/// The next step, or none when all is as it should be.
#[must_use]
pub fn plan(participants: &[Participant], state: &State) -> Option<Step> {
    let standing: Vec<Standing<'_>> = participants.iter().map(|p| Standing::of(p, state)).collect();
    let voters: BTreeSet<u64> = participants.iter().filter(|p| p.votes).map(|p| p.raft_id).collect();
    let chosen = choose(&standing);
    if let Some(leaving_leader) = standing.iter().find(|s| s.it.leads && !s.stays) {
        let heir = standing.iter().find(|s| s.it.votes && s.stays && s.lives && s.it.raft_id != leaving_leader.it.raft_id);
        // Without a voter that could follow, one is made first, and we wait until there is.
        return match heir {
            Some(heir) => Some(Step::HandOver(heir.it.node_id)),
            None => {
                let with_us: BTreeSet<u64> = chosen.iter().copied().chain([leaving_leader.it.raft_id]).collect();
                (with_us != voters && !chosen.is_empty()).then_some(Step::SetVoters(with_us))
            }
        };
    }
    if !chosen.is_empty() && chosen != voters {
        return Some(Step::SetVoters(chosen));
    }
    if let Some(gone) = standing.iter().find(|s| !s.stays && !s.it.votes) {
        return Some(Step::Remove(gone.it.raft_id));
    }
    let present: BTreeSet<u64> = participants.iter().map(|p| p.raft_id).collect();
    state
        .managers()
        .find(|(_, node)| {
            convert::role(node.role) != Some(Role::Manager) && node.manager.as_ref().is_some_and(|m| !present.contains(&m.raft_id))
        })
        .map(|(id, _)| Step::Clear(id))
}

/// A participant, and what the state says of its node.
struct Standing<'a> {
    it: &'a Participant,
    /// Its node is a manager, and this is its Raft id.
    stays: bool,
    /// Raft or its session hears it; both have their own patience, and a vote is taken away only when both lost it.
    lives: bool,
}

impl<'a> Standing<'a> {
    fn of(it: &'a Participant, state: &State) -> Self {
        let node = state.node_by_raft_id(it.raft_id).and_then(|id| state.node(id));
        let ready = node.is_some_and(|n| convert::node_state(n.state) == NodeState::Ready);
        Self { it, stays: node.is_some_and(|n| convert::role(n.role) == Some(Role::Manager)), lives: it.leads || it.reachable || ready }
    }

    /// Whom to prefer as a voter, lowest first; `None` for whom cannot be one.
    fn rank(&self) -> Option<u8> {
        match (self.it.leads, self.it.votes) {
            _ if !self.stays => None,
            (true, _) => Some(0),
            (false, true) if self.lives => Some(1),
            (false, false) if self.it.reachable && self.it.caught_up => Some(2),
            (false, true) => Some(3),
            (false, false) => None,
        }
    }
}

/// The voters there should be: an odd number of the best.
fn choose(standing: &[Standing<'_>]) -> BTreeSet<u64> {
    let mut ranked: Vec<(u8, u64)> = standing.iter().filter_map(|s| s.rank().map(|rank| (rank, s.it.raft_id))).collect();
    ranked.sort_unstable();
    let count = ranked.len().min(MAX_VOTERS);
    let odd = if count.is_multiple_of(2) { count.saturating_sub(1) } else { count };
    ranked.into_iter().take(odd).map(|(_, raft_id)| raft_id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Fixture;
    use rcon_proto::v1;

    /// A cluster of h1 (leader) and more managers, all voting, alive and caught up.
    struct Managers {
        fixture: Fixture,
        ids: Vec<NodeId>,
        participants: Vec<Participant>,
    }

    impl Managers {
        fn new(count: u8) -> Self {
            let mut fixture = Fixture::new();
            let ids: Vec<NodeId> = std::iter::once(fixture.founded.node_id).chain((2..=count).map(|n| fixture.add_manager(n))).collect();
            let raft_id = |id: &NodeId| fixture.state.node(*id).and_then(|n| n.manager.as_ref()).map_or(0, |m| m.raft_id);
            let participant = |(n, id): (usize, &NodeId)| Participant {
                raft_id: raft_id(id),
                node_id: *id,
                votes: true,
                leads: n == 0,
                caught_up: true,
                reachable: true,
            };
            let participants = ids.iter().enumerate().map(participant).collect();
            Self { fixture, ids, participants }
        }

        fn raft_ids(&self, numbers: &[usize]) -> BTreeSet<u64> {
            numbers.iter().map(|n| self.participants[n - 1].raft_id).collect()
        }

        fn learner(mut self, number: usize) -> Self {
            self.participants[number - 1].votes = false;
            self
        }

        fn dead(mut self, number: usize) -> Self {
            self.participants[number - 1].reachable = false;
            self.fixture.set_state(self.ids[number - 1], v1::NodeState::Down);
            self
        }

        fn demoted(mut self, number: usize) -> Self {
            self.fixture.set_role(self.ids[number - 1], Role::Worker);
            self
        }

        fn step(&self) -> Option<Step> {
            plan(&self.participants, &self.fixture.state)
        }

        fn voters(&self, numbers: &[usize]) -> Option<Step> {
            Some(Step::SetVoters(self.raft_ids(numbers)))
        }
    }

    #[test]
    fn an_odd_number_of_voters_is_left_alone() {
        for count in [1, 3, 5] {
            assert_eq!(Managers::new(count).step(), None, "{count}");
        }
    }

    #[test]
    fn the_second_manager_is_a_warm_learner_until_there_is_a_third() {
        assert_eq!(Managers::new(2).learner(2).step(), None);
        let three = Managers::new(3).learner(2).learner(3);
        assert_eq!(three.step(), three.voters(&[1, 2, 3]));
        let two_vote = Managers::new(2);
        assert_eq!(two_vote.step(), two_vote.voters(&[1]));
    }

    #[test]
    fn a_learner_that_lags_or_does_not_answer_gets_no_vote() {
        let mut lagging = Managers::new(3).learner(2).learner(3);
        lagging.participants[2].caught_up = false;
        assert_eq!(lagging.step(), None);
        assert_eq!(Managers::new(3).learner(2).learner(3).dead(3).step(), None);
    }

    #[test]
    fn a_spare_takes_the_place_of_a_dead_voter_and_keeps_it() {
        let spare = Managers::new(4).learner(4);
        assert_eq!(spare.step(), None);
        let dead = Managers::new(4).learner(4).dead(2);
        assert_eq!(dead.step(), dead.voters(&[1, 3, 4]));
        assert_eq!(Managers::new(4).learner(2).step(), None);
    }

    #[test]
    fn a_dead_voter_keeps_its_vote_while_there_is_no_spare() {
        assert_eq!(Managers::new(3).dead(3).step(), None);
    }

    #[test]
    fn a_voter_that_one_of_session_and_raft_still_hears_keeps_its_vote() {
        let mut cluster = Managers::new(4).learner(4);
        cluster.participants[1].reachable = false;
        assert_eq!(cluster.step(), None);
    }

    #[test]
    fn a_demoted_manager_loses_its_vote_then_its_place_then_its_mark() {
        let mut cluster = Managers::new(3).demoted(3);
        assert_eq!(cluster.step(), cluster.voters(&[1]));
        cluster = cluster.learner(2).learner(3);
        assert_eq!(cluster.step(), Some(Step::Remove(cluster.participants[2].raft_id)));
        cluster.participants.pop();
        assert_eq!(cluster.step(), Some(Step::Clear(cluster.ids[2])));
    }

    #[test]
    fn a_leader_that_is_demoted_hands_over_first() {
        let cluster = Managers::new(3).demoted(1);
        assert_eq!(cluster.step(), Some(Step::HandOver(cluster.ids[1])));
    }

    #[test]
    fn a_demoted_only_voter_makes_its_heir_a_voter_first() {
        let cluster = Managers::new(2).learner(2).demoted(1);
        assert_eq!(cluster.step(), cluster.voters(&[1, 2]));
        let both_vote = Managers::new(2).demoted(1);
        assert_eq!(both_vote.step(), Some(Step::HandOver(both_vote.ids[1])));
        assert_eq!(Managers::new(2).learner(2).dead(2).demoted(1).step(), None);
    }

    #[test]
    fn there_are_at_most_seven_voters() {
        let cluster = Managers::new(9);
        assert!(matches!(cluster.step(), Some(Step::SetVoters(voters)) if voters.len() == MAX_VOTERS));
    }
}
