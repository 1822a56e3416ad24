//! Whether a node may become a manager, or stop being one. Pure: the state and Raft's membership in, a verdict out.

use rcon_proto::{convert, v1};
use rcon_raft::{MembershipView, Participant};
use rcon_state::State;
use rcon_types::{Failure, FailureKind, NodeId, Role};

use super::nodes::lives;
use crate::assignments::control_address;

/// Whether a node may become a manager.
///
/// # Errors
/// When nobody can reach it, or its version cannot do what the cluster does.
pub fn check_promotion(node: &v1::Node, state: &State) -> Result<(), Failure> {
    let refuse = |message: String, hint: &str| Err(Failure::new(FailureKind::FailedPrecondition, message).hint(hint));
    let description = node.description.clone().unwrap_or_default();
    let name = &description.hostname;
    if control_address(node).is_empty() {
        return refuse(
            format!("node `{name}` has no address at which other managers reach it"),
            "set one: `rconctl node update --addr HOST:PORT`",
        );
    }
    let level = state.cluster().map_or(0, |c| c.feature_level);
    if description.feature_level < level {
        let message = format!("node `{name}` supports feature level {}, the cluster is at {level}", description.feature_level);
        return refuse(message, "upgrade rcond on that node first");
    }
    Ok(())
}

/// Whether a manager may go, demoted or removed: never the last one, and never so that those who are left have no quorum.
///
/// # Errors
/// When it may not.
pub fn check_departure(id: NodeId, state: &State, membership: &MembershipView) -> Result<(), Failure> {
    let refuse = |message: String, hint: String| Err(Failure::new(FailureKind::FailedPrecondition, message).hint(hint));
    let name = |id: NodeId| state.node(id).and_then(|n| n.description.as_ref()).map_or_else(|| id.short(), |d| d.hostname.clone());
    let is_manager = |node: &v1::Node| convert::role(node.role) == Some(Role::Manager);
    if !state.nodes().any(|(other, node)| other != id && is_manager(node)) {
        return refuse(format!("node `{}` is the only manager", name(id)), "promote another node first: `rconctl node promote`".to_owned());
    }
    let rest: Vec<(&Participant, bool)> = membership
        .participants
        .iter()
        .filter(|p| p.node_id != id)
        .filter_map(|p| state.node(p.node_id).filter(|n| is_manager(n)).map(|n| (p, lives(p, n, membership.from_leader))))
        .collect();
    let dead: Vec<String> = rest.iter().filter(|(_, lives)| !lives).map(|(p, _)| name(p.node_id)).collect();
    let voters = rest.iter().filter(|(p, _)| p.votes).count();
    let living = rest.iter().filter(|(p, lives)| p.votes && *lives).count();
    let enough = if voters == 0 { rest.iter().any(|(_, lives)| *lives) } else { 2 * living > voters };
    match (enough, dead.is_empty()) {
        (true, _) => Ok(()),
        (false, true) => refuse(
            format!("without node `{}` there is no manager that can lead", name(id)),
            "wait until another manager has joined Raft (`rconctl node ls`)".to_owned(),
        ),
        (false, false) => refuse(
            format!("without node `{}` the managers have no quorum: {} do not answer", name(id), dead.join(", ")),
            format!("bring {} back, or demote those first", dead.join(", ")),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Fixture;

    /// Managers h1 (leader), h2 and h3; `reachable` says who answers, `votes` who votes.
    fn cluster(reachable: [bool; 3], votes: [bool; 3]) -> (Fixture, [NodeId; 3], MembershipView) {
        let mut fixture = Fixture::new();
        let ids = [fixture.founded.node_id, fixture.add_manager(2), fixture.add_manager(3)];
        let participants = (0..3).map(|n| Participant {
            raft_id: n as u64 + 1,
            node_id: ids[n],
            votes: votes[n],
            leads: n == 0,
            caught_up: true,
            reachable: reachable[n],
        });
        let view = MembershipView { participants: participants.collect(), from_leader: true };
        (fixture, ids, view)
    }

    #[test]
    fn any_of_three_living_managers_may_go() {
        let (fixture, ids, view) = cluster([true; 3], [true; 3]);
        for id in ids {
            check_departure(id, &fixture.state, &view).unwrap();
        }
    }

    #[test]
    fn the_dead_one_of_three_may_go_and_no_other() {
        let (fixture, ids, view) = cluster([true, true, false], [true; 3]);
        check_departure(ids[2], &fixture.state, &view).unwrap();
        let failure = check_departure(ids[1], &fixture.state, &view).unwrap_err();
        assert_eq!(failure.kind, FailureKind::FailedPrecondition);
        assert!(failure.message.contains("h3 do not answer"), "{failure}");
    }

    #[test]
    fn the_only_voter_may_go_when_a_learner_can_follow() {
        let (mut fixture, ids, view) = cluster([true; 3], [true, false, false]);
        check_departure(ids[0], &fixture.state, &view).unwrap();
        fixture.set_role(ids[1], Role::Worker);
        fixture.set_role(ids[2], Role::Worker);
        let failure = check_departure(ids[0], &fixture.state, &view).unwrap_err();
        assert!(failure.message.contains("only manager"), "{failure}");
    }

    #[test]
    fn a_node_that_nobody_can_reach_is_not_promoted() {
        let mut fixture = Fixture::new();
        let id = fixture.add_node(2, Role::Worker);
        let mut node = fixture.state.node(id).unwrap().clone();
        check_promotion(&node, &fixture.state).unwrap();
        node.description.as_mut().unwrap().feature_level = 0;
        assert!(check_promotion(&node, &fixture.state).unwrap_err().message.contains("feature level"));
        node.description.as_mut().unwrap().control_address.clear();
        assert!(check_promotion(&node, &fixture.state).unwrap_err().message.contains("no address"));
    }
}
