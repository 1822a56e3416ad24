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
        .find(|(_, node)| convert::role(node.role) != Some(Role::Manager) && node.manager.as_ref().is_some_and(|m| !present.contains(&m.raft_id)))
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
    let odd = if count % 2 == 0 { count.saturating_sub(1) } else { count };
    ranked.into_iter().take(odd).map(|(_, raft_id)| raft_id).collect()
}
