//! Changes of members: role, availability, labels, address; removal; who leads.

use rcon_proto::{convert, v1};
use rcon_state::{ObjectKey, State};
use rcon_types::{Failure, FailureKind, NodeId, NodeState, Role};
use tokio::time::timeout;

use super::{
    nodes::{find, view},
    roles::{check_departure, check_promotion},
};
use crate::{limits::RETIREMENT_DEADLINE, replica::Change, shared::Shared};

pub(super) async fn update(shared: &Shared, request: &v1::UpdateNodeRequest) -> Result<v1::NodeView, Failure> {
    let mut target = None;
    let decide = |state: &State| {
        let id = find(shared, state, &request.node)?;
        target = Some(id);
        let node = state.node(id).ok_or_else(|| unknown(id))?;
        let next = updated(node, request)?;
        if next == *node {
            return Ok(None);
        }
        match (convert::role(node.role), convert::role(next.role)) {
            (Some(Role::Manager), Some(Role::Worker)) => check_departure(id, state, &shared.replica.membership())?,
            (Some(Role::Worker), Some(Role::Manager)) => check_promotion(&next, state)?,
            _ => {}
        }
        Ok(Some(Change::new(vec![v1::op::Op::UpdateNodeSpec(next)]).relying_on(ObjectKey::Node(id))))
    };
    shared.replica.change(decide).await?;
    let id = target.ok_or_else(|| Failure::new(FailureKind::Internal, "no node was looked at"))?;
    tracing::info!(node = %id, "a node was updated");
    view(shared, &shared.replica.state(), id).await
}

fn unknown(id: NodeId) -> Failure {
    Failure::new(FailureKind::NotFound, format!("there is no node {id}"))
}

/// The node with the wishes of the request.
fn updated(node: &v1::Node, request: &v1::UpdateNodeRequest) -> Result<v1::Node, Failure> {
    let invalid = |message: &str| Failure::new(FailureKind::InvalidArgument, message);
    let mut next = node.clone();
    if let Some(role) = request.role {
        let role = convert::role(role).ok_or_else(|| invalid("a node's role is worker or manager"))?;
        next.role = v1::Role::from(role).into();
    }
    if let Some(availability) = request.availability {
        match v1::Availability::try_from(availability) {
            Ok(v1::Availability::Unspecified) | Err(_) => return Err(invalid("a node's availability is active, pause or drain")),
            Ok(availability) => next.availability = availability.into(),
        }
    }
    if let Some(address) = &request.control_address {
        next.control_address_override.clone_from(address);
    }
    next.labels.retain(|key, _| !request.labels_remove.contains(key));
    next.labels.extend(request.labels_add.clone());
    Ok(next)
}

pub(super) async fn remove(shared: &Shared, request: &v1::RemoveNodeRequest) -> Result<v1::RemoveNodeResponse, Failure> {
    let state = shared.replica.read().await?;
    let id = find(shared, &state, &request.node)?;
    let node = state.node(id).ok_or_else(|| unknown(id))?;
    let name = node.description.as_ref().map_or("", |d| d.hostname.as_str());
    let refuse = |message: String, hint: String| Err(Failure::new(FailureKind::FailedPrecondition, message).hint(hint));
    if id == shared.identity.node_id() {
        return refuse(
            format!("node `{name}` is this one"),
            "leave: `rconctl swarm leave --force`; or remove it on another manager".to_owned(),
        );
    }
    if convert::role(node.role) == Some(Role::Manager) && !request.force {
        return refuse(format!("node `{name}` is a manager"), format!("demote it first: `rconctl node demote {name}`, or use `--force`"));
    }
    if convert::node_state(node.state) == NodeState::Ready && !request.force {
        let hint = format!("run `rconctl swarm leave` there and wait until it is down, or `rconctl node rm --force {name}`");
        return refuse(format!("node `{name}` is up"), hint);
    }
    retire(shared, id).await?;
    Ok(v1::RemoveNodeResponse {})
}

/// The calling node leaves. A manager only by force; the last one takes the cluster with it, which needs no entry in a log that nobody will read.
pub(crate) async fn leave(shared: &Shared, id: NodeId, force: bool) -> Result<v1::LeaveResponse, Failure> {
    let state = shared.replica.read().await?;
    let node = state.node(id).ok_or_else(|| unknown(id))?;
    if convert::role(node.role) == Some(Role::Manager) {
        if !force {
            return Err(Failure::new(FailureKind::FailedPrecondition, "this node is a manager")
                .hint("demote it first (`rconctl node demote` on another manager), or use `--force`"));
        }
        if !state.nodes().any(|(other, node)| other != id && convert::role(node.role) == Some(Role::Manager)) {
            return Ok(v1::LeaveResponse {});
        }
    }
    if id == shared.identity.node_id() {
        return shared.peers.leave(another_manager(shared, &state)?, &state).await;
    }
    retire(shared, id).await?;
    Ok(v1::LeaveResponse {})
}

/// A living manager besides this one, the leader if that is another.
fn another_manager(shared: &Shared, state: &State) -> Result<NodeId, Failure> {
    let own = shared.identity.node_id();
    let ready = |id: &NodeId| state.node(*id).is_some_and(|n| convert::node_state(n.state) == NodeState::Ready);
    let leader = shared.replica.membership().leader().filter(|leader| *leader != own);
    let other = leader.or_else(|| state.managers().map(|(id, _)| id).filter(|id| *id != own).find(ready));
    other.ok_or_else(|| {
        Failure::new(FailureKind::Unavailable, "no other manager answers")
            .hint("bring one back; or leave it to the others: `rconctl swarm leave --force` here, then `rconctl node rm` there")
    })
}

/// Removes a member; one that takes part in Raft is demoted, and seen out by the leader, first. Each step may be repeated after a failure.
async fn retire(shared: &Shared, id: NodeId) -> Result<(), Failure> {
    let demote = |state: &State| {
        let node = state.node(id).ok_or_else(|| unknown(id))?;
        if convert::role(node.role) != Some(Role::Manager) {
            return Ok(None);
        }
        check_departure(id, state, &shared.replica.membership())?;
        let worker = v1::Node { role: v1::Role::Worker.into(), ..node.clone() };
        Ok(Some(Change::new(vec![v1::op::Op::UpdateNodeSpec(worker)]).relying_on(ObjectKey::Node(id))))
    };
    shared.replica.change(demote).await?;
    out_of_raft(shared, id).await?;
    let remove = |state: &State| Ok(state.node(id).map(|_| Change::new(vec![v1::op::Op::RemoveNode(convert::id_bytes(id))])));
    shared.replica.change(remove).await?;
    tracing::info!(node = %id, "a node was removed");
    Ok(())
}

/// Waits until the leader has taken a demoted node out of Raft.
async fn out_of_raft(shared: &Shared, id: NodeId) -> Result<(), Failure> {
    let mut revision = shared.replica.revision();
    let is_out = |_: &_| shared.replica.state().node(id).is_none_or(|node| node.manager.is_none());
    match timeout(RETIREMENT_DEADLINE, revision.wait_for(is_out)).await {
        Ok(_) => Ok(()),
        Err(_) => {
            let seconds = RETIREMENT_DEADLINE.as_secs();
            Err(Failure::new(FailureKind::DeadlineExceeded, format!("the node was demoted, but is still in Raft after {seconds} s"))
                .hint("`rconctl node ls` shows which managers answer; repeat this when they do"))
        }
    }
}

pub(super) async fn transfer_leader(shared: &Shared, reference: &str) -> Result<v1::TransferLeaderResponse, Failure> {
    let state = shared.replica.read().await?;
    let id = find(shared, &state, reference)?;
    let membership = shared.replica.membership();
    if !membership.voters().contains(&id) {
        let name = state.node(id).and_then(|n| n.description.as_ref()).map_or_else(|| id.short(), |d| d.hostname.clone());
        return Err(Failure::new(FailureKind::FailedPrecondition, format!("node `{name}` does not vote, so it cannot lead"))
            .hint("`rconctl node ls` shows who votes; promote a node first"));
    }
    if membership.leader() != Some(id) {
        shared.replica.consensus().transfer_leader(id).await?;
        tracing::info!(node = %id, "the leadership was handed over");
    }
    Ok(v1::TransferLeaderResponse { leader: convert::id_bytes(id) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_changes_what_it_names_and_nothing_else() {
        let labels = [("zone".to_owned(), "a".to_owned()), ("disk".to_owned(), "ssd".to_owned())];
        let node = v1::Node { role: v1::Role::Worker.into(), labels: labels.into(), ..Default::default() };
        let request = v1::UpdateNodeRequest {
            availability: Some(v1::Availability::Drain.into()),
            labels_add: [("zone".to_owned(), "b".to_owned())].into(),
            labels_remove: vec!["disk".to_owned(), "absent".to_owned()],
            ..Default::default()
        };
        let next = updated(&node, &request).unwrap();
        assert_eq!((next.role(), next.availability()), (v1::Role::Worker, v1::Availability::Drain));
        assert_eq!(next.labels, [("zone".to_owned(), "b".to_owned())].into());
        assert_eq!(updated(&node, &v1::UpdateNodeRequest::default()).unwrap(), node);
        assert!(updated(&node, &v1::UpdateNodeRequest { role: Some(7), ..Default::default() }).is_err());
        assert!(updated(&node, &v1::UpdateNodeRequest { availability: Some(0), ..Default::default() }).is_err());
    }
}
