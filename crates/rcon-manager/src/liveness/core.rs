//! Who is READY and who is DOWN, decided from what the managers hear. Pure: reports and a clock reading in, decisions out.
//!
//! Every manager keeps the beats of the sessions it serves in memory and reports them to the leader each second. The leader alone
//! decides, so that a node that moves from one manager to another is never both; nothing but a change of state reaches the log.
//! A new leader starts with an empty table and declares nobody DOWN before all had time to be heard: a failover writes nothing per node.

use std::collections::BTreeMap;

use rcon_types::{NodeId, NodeState};

use crate::limits::{RECONNECT_GRACE, SILENCE, TAKEOVER_GRACE};

/// A reading of this process's monotonic clock, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Monotonic(pub u64);

impl Monotonic {
    /// The reading `span` later.
    #[must_use]
    pub fn after(self, span: std::time::Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Milliseconds since an earlier reading; 0 where that is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// One node as a manager hears it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// The node.
    pub node: NodeId,
    /// Milliseconds since its last beat, when the report was made.
    pub silent_ms: u64,
    /// Revision up to which its networks follow the state.
    pub applied_revision: u64,
}

/// A change of a node's state that the leader must propose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It beats.
    Ready(NodeId),
    /// Nobody has heard it for too long.
    Down {
        /// The node.
        node: NodeId,
        /// Milliseconds since anybody heard it; `None` where nobody did since this leader began.
        silent_ms: Option<u64>,
    },
}

/// The leader's table.
#[derive(Debug)]
pub struct Liveness {
    began: Monotonic,
    nodes: BTreeMap<NodeId, Latest>,
    reports: BTreeMap<NodeId, Monotonic>,
}

#[derive(Debug, Clone, Copy)]
struct Latest {
    at: Monotonic,
    by: NodeId,
    applied_revision: u64,
}

impl Liveness {
    /// The table of a leadership that begins `now`.
    #[must_use]
    pub fn new(now: Monotonic) -> Self {
        Self { began: now, nodes: BTreeMap::new(), reports: BTreeMap::new() }
    }

    /// Takes in what manager `by` hears. Of two managers that know a node, the one that heard it last counts.
    pub fn report(&mut self, by: NodeId, sessions: impl IntoIterator<Item = Heard>, now: Monotonic) {
        self.reports.insert(by, now);
        for heard in sessions {
            let at = Monotonic(now.0.saturating_sub(heard.silent_ms));
            let latest = Latest { at, by, applied_revision: heard.applied_revision };
            self.nodes.entry(heard.node).and_modify(|known| *known = if known.at <= at { latest } else { *known }).or_insert(latest);
        }
    }

    /// What must change, given the members and their states as the log has them. Nodes that are no members are forgotten.
    pub fn decide(&mut self, members: impl IntoIterator<Item = (NodeId, NodeState)>, now: Monotonic) -> Vec<Decision> {
        let members: BTreeMap<NodeId, NodeState> = members.into_iter().collect();
        self.nodes.retain(|node, _| members.contains_key(node));
        self.reports.retain(|node, _| members.contains_key(node));
        members.into_iter().filter_map(|(node, state)| self.decide_one(node, state, now)).collect()
    }

    /// Everything heard so far, as of `now`.
    pub fn heard(&self, now: Monotonic) -> impl Iterator<Item = Heard> + '_ {
        self.nodes.iter().map(move |(node, latest)| Heard {
            node: *node,
            silent_ms: now.since(latest.at),
            applied_revision: latest.applied_revision,
        })
    }

    fn decide_one(&self, node: NodeId, state: NodeState, now: Monotonic) -> Option<Decision> {
        let latest = self.nodes.get(&node);
        let beats = latest.is_some_and(|l| now < l.at.after(SILENCE));
        match state {
            NodeState::Ready if !beats && now >= self.deadline(node, latest) => {
                Some(Decision::Down { node, silent_ms: latest.map(|l| now.since(l.at)) })
            }
            NodeState::Unknown | NodeState::Down if beats => Some(Decision::Ready(node)),
            _ => None,
        }
    }

    /// From when on a node that does not beat is DOWN.
    ///
    /// The manager that heard it last must confirm the silence. Where that one falls silent too, the node may be on its way to another
    /// manager and gets time for that; not so the manager's own node, which went with it.
    fn deadline(&self, node: NodeId, latest: Option<&Latest>) -> Monotonic {
        let takeover = self.began.after(TAKEOVER_GRACE);
        let Some(latest) = latest else { return takeover };
        let silent = latest.at.after(SILENCE);
        let confirmed = latest.by == node || self.reports.get(&latest.by).is_some_and(|last| *last >= silent);
        takeover.max(if confirmed { silent } else { silent.after(RECONNECT_GRACE) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAKEOVER: u64 = 6_000;

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 16])
    }

    fn heard(number: u8, silent_ms: u64) -> Heard {
        Heard { node: node(number), silent_ms, applied_revision: 0 }
    }

    fn at(ms: u64) -> Monotonic {
        Monotonic(100_000 + ms)
    }

    /// Managers 1 and 2, whose own state is no matter, and nodes that are READY.
    fn ready(numbers: &[u8]) -> Vec<(NodeId, NodeState)> {
        let managers = [1, 2].map(|n| (node(n), NodeState::Down));
        managers.into_iter().chain(numbers.iter().map(|n| (node(*n), NodeState::Ready))).collect()
    }

    /// Managers 1 and 2 report each second from 0 to `until_ms`; `sessions` says what each hears.
    fn reports(table: &mut Liveness, until_ms: u64, sessions: impl Fn(u8, u64) -> Vec<Heard>) {
        for ms in (0..=until_ms).step_by(1000) {
            for manager in [1, 2] {
                table.report(node(manager), sessions(manager, ms), at(ms));
            }
        }
    }

    #[test]
    fn a_node_that_beats_becomes_ready_at_once() {
        let mut table = Liveness::new(at(0));
        table.report(node(1), [heard(7, 0)], at(10));
        let members = [(node(7), NodeState::Unknown), (node(8), NodeState::Down), (node(9), NodeState::Unknown)];
        assert_eq!(table.decide(members, at(10)), [Decision::Ready(node(7))]);
    }

    #[test]
    fn three_missed_beats_are_down_while_the_serving_manager_lives() {
        let silent = |manager, ms: u64| if manager == 2 { vec![heard(7, ms.saturating_sub(10_000))] } else { vec![] };
        let mut table = Liveness::new(at(0));
        reports(&mut table, 12_000, silent);
        assert_eq!(table.decide(ready(&[7]), at(12_999)), []);
        reports(&mut table, 13_000, silent);
        assert_eq!(table.decide(ready(&[7]), at(13_000)), [Decision::Down { node: node(7), silent_ms: Some(3_000) }]);
    }

    #[test]
    fn a_session_that_was_closed_counts_from_its_last_beat() {
        let mut table = Liveness::new(at(0));
        reports(&mut table, 12_000, |manager, ms| if manager == 2 && ms <= 10_000 { vec![heard(7, 0)] } else { vec![] });
        assert_eq!(table.decide(ready(&[7]), at(12_999)), []);
        table.report(node(2), [], at(13_000));
        assert_eq!(table.decide(ready(&[7]), at(13_000)), [Decision::Down { node: node(7), silent_ms: Some(3_000) }]);
    }

    #[test]
    fn a_node_that_moves_to_another_manager_stays_ready() {
        let mut table = Liveness::new(at(0));
        reports(&mut table, 20_000, |manager, ms| match manager {
            1 if ms >= 11_000 => vec![heard(7, 0)],
            2 => vec![heard(7, ms.saturating_sub(10_000))],
            _ => vec![],
        });
        assert_eq!(table.decide(ready(&[7]), at(20_000)), []);
    }

    #[test]
    fn nodes_of_a_lost_manager_get_time_to_find_another() {
        let mut table = Liveness::new(at(0));
        reports(&mut table, 10_000, |manager, _| if manager == 2 { vec![heard(2, 0), heard(7, 0)] } else { vec![] });
        for ms in (11_000..=20_000).step_by(1000) {
            table.report(node(1), [], at(ms));
        }
        assert_eq!(table.decide(ready(&[2, 7]), at(13_000)), [Decision::Down { node: node(2), silent_ms: Some(3_000) }]);
        assert_eq!(table.decide(ready(&[7]), at(17_999)), []);
        assert_eq!(table.decide(ready(&[7]), at(18_000)), [Decision::Down { node: node(7), silent_ms: Some(8_000) }]);
    }

    #[test]
    fn a_new_leader_writes_nothing_for_nodes_that_go_on_beating() {
        let mut table = Liveness::new(at(0));
        let members: Vec<u8> = (1..=200).collect();
        assert_eq!(table.decide(ready(&members), at(TAKEOVER - 1)), []);
        table.report(node(1), members.iter().map(|n| heard(*n, 900)), at(TAKEOVER - 1));
        assert_eq!(table.decide(ready(&members), at(TAKEOVER)), []);
    }

    #[test]
    fn a_node_that_nobody_hears_after_a_failover_is_down_when_the_grace_ends() {
        let mut table = Liveness::new(at(0));
        assert_eq!(table.decide(ready(&[7]), at(TAKEOVER - 1)), []);
        assert_eq!(table.decide(ready(&[7]), at(TAKEOVER)), [Decision::Down { node: node(7), silent_ms: None }]);
    }

    #[test]
    fn a_leftover_session_does_not_hide_the_newer_one() {
        let mut table = Liveness::new(at(0));
        table.report(node(1), [heard(7, 0)], at(10_000));
        table.report(node(2), [heard(7, 9_000)], at(10_001));
        assert_eq!(table.decide(ready(&[7]), at(12_000)), []);
        assert_eq!(table.heard(at(12_000)).next().map(|h| h.silent_ms), Some(2_000));
    }

    #[test]
    fn removed_nodes_are_forgotten() {
        let mut table = Liveness::new(at(0));
        table.report(node(1), [heard(7, 0), heard(8, 0)], at(0));
        table.decide(ready(&[8]), at(1));
        assert_eq!(table.heard(at(1)).map(|h| h.node).collect::<Vec<_>>(), [node(8)]);
    }
}
