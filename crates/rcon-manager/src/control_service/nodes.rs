//! Members as people see them: what the state says, who leads, and what is heard of them now.

use std::collections::BTreeMap;

use rcon_proto::{convert, v1};
use rcon_raft::{MembershipView, Participant};
use rcon_state::State;
use rcon_types::{Failure, NodeId, NodeState};

use crate::{liveness::core::Heard, reports::heard_everywhere, shared::Shared};

/// What a view is made of besides the state.
struct Sight {
    membership: MembershipView,
    heard: BTreeMap<NodeId, Heard>,
    own: NodeId,
}

impl Sight {
    async fn of(shared: &Shared) -> Self {
        Self { membership: shared.replica.membership(), heard: heard_everywhere(shared).await, own: shared.identity.node_id() }
    }

    fn view(&self, id: NodeId, node: &v1::Node) -> v1::NodeView {
        let heard = self.heard.get(&id);
        let participant = self.membership.participants.iter().find(|p| p.node_id == id);
        v1::NodeView {
            node: Some(node.clone()),
            rank: participant.map_or(v1::ManagerRank::None, |p| rank(p, node, self.membership.from_leader)).into(),
            applied_revision: heard.map_or(0, |h| h.applied_revision),
            is_self: id == self.own,
            last_beat_ms: heard.map_or(0, |h| h.silent_ms.max(1)),
        }
    }
}

/// What a manager is in Raft.
fn rank(participant: &Participant, node: &v1::Node, from_leader: bool) -> v1::ManagerRank {
    match (participant.leads, participant.votes) {
        (true, _) => v1::ManagerRank::Leader,
        _ if !lives(participant, node, from_leader) => v1::ManagerRank::Unreachable,
        (false, true) => v1::ManagerRank::Reachable,
        (false, false) => v1::ManagerRank::Learner,
    }
}

/// Whether a manager answers: the leader knows at once, others go by what the leader has noted in the state.
pub(super) fn lives(participant: &Participant, node: &v1::Node, from_leader: bool) -> bool {
    match from_leader {
        true => participant.leads || participant.reachable,
        false => participant.leads || convert::node_state(node.state) == NodeState::Ready,
    }
}

pub(super) async fn list(shared: &Shared, stale: bool) -> Result<v1::ListNodesResponse, Failure> {
    let state = if stale { shared.replica.state() } else { shared.replica.read().await? };
    let sight = Sight::of(shared).await;
    let mut nodes: Vec<v1::NodeView> = state.nodes().map(|(id, node)| sight.view(id, node)).collect();
    nodes.sort_by(|a, b| hostname(a).cmp(hostname(b)));
    Ok(v1::ListNodesResponse { nodes, stale })
}

fn hostname(view: &v1::NodeView) -> &str {
    view.node.as_ref().and_then(|n| n.description.as_ref()).map_or("", |d| d.hostname.as_str())
}

pub(super) async fn inspect(shared: &Shared, reference: &str) -> Result<v1::NodeView, Failure> {
    let state = shared.replica.read().await?;
    let id = find(shared, &state, reference)?;
    view(shared, &state, id).await
}

pub(super) async fn view(shared: &Shared, state: &State, id: NodeId) -> Result<v1::NodeView, Failure> {
    let sight = Sight::of(shared).await;
    let node = state.node(id).ok_or_else(|| gone(id))?;
    Ok(sight.view(id, node))
}

fn gone(id: NodeId) -> Failure {
    Failure::new(rcon_types::FailureKind::NotFound, format!("node {id} was removed meanwhile"))
}

/// The node of a reference; `self` is the node that answers.
pub(super) fn find(shared: &Shared, state: &State, reference: &str) -> Result<NodeId, Failure> {
    match reference {
        "self" => Ok(shared.identity.node_id()),
        _ => state.node_by_reference(reference).map(|(id, _)| id),
    }
}
