//! Leases of endpoints: a node attaches its containers to networks of the cluster, and detaches them.
//!
//! Whether a name or an address is free is decided where the entry is applied, so that nodes that attach at the same moment never wait for
//! each other: one round trip, without a read before it.

use std::time::SystemTime;

use rcon_proto::{
    convert::{self, Malformed},
    v1,
};
use rcon_state::{ObjectKey, State};
use rcon_types::{EndpointId, Failure, FailureKind, NetworkId, NodeId};

use crate::{limits::DETACH_BATCH, replica::Change, shared::Shared, transaction::milliseconds};

fn malformed(error: &Malformed) -> Failure {
    Failure::from_error(FailureKind::InvalidArgument, error)
}

pub(super) async fn attach(shared: &Shared, node: NodeId, request: v1::AttachRequest) -> Result<v1::AttachResponse, Failure> {
    let id: EndpointId = convert::id("endpoint_id", &request.endpoint_id).map_err(|e| malformed(&e))?;
    let (state, network) = find(shared, &request.network).await?;
    if let Some(existing) = state.endpoint(id) {
        return repeated(existing, node, network, &request, &state);
    }
    let described = state.network(network).cloned().unwrap_or_default();
    check(&described, state.node(node))?;
    let endpoint = v1::Endpoint {
        id: request.endpoint_id.clone(),
        created_ms: milliseconds(SystemTime::now()),
        network_id: convert::id_bytes(network),
        node_id: convert::id_bytes(node),
        container_id: request.container_id.clone(),
        name: request.name.clone(),
        aliases: request.aliases.clone(),
        ipv4: request.ipv4.clone(),
        ipv6: request.ipv6.clone(),
        ..v1::Endpoint::default()
    };
    match shared.replica.propose(Change::new(vec![v1::op::Op::CreateEndpoint(endpoint)]), &state).await {
        Ok(applied) => {
            let revision = applied.index;
            let endpoint = written(applied).ok_or_else(|| Failure::new(FailureKind::Internal, "the state machine wrote no endpoint"))?;
            Ok(v1::AttachResponse { endpoint: Some(endpoint), network: Some(described), revision })
        }
        // The same request may have come through before, by another manager.
        Err(failure) if failure.kind == FailureKind::AlreadyExists => {
            let state = shared.replica.state();
            match state.endpoint(id) {
                Some(existing) => repeated(existing, node, network, &request, &state),
                None => Err(failure),
            }
        }
        Err(failure) => Err(failure),
    }
}

/// A network as it is applied here; where it is not known, a quorum is asked: it may be younger than what is applied here.
async fn find(shared: &Shared, reference: &str) -> Result<(State, NetworkId), Failure> {
    let applied = shared.replica.state();
    if let Ok((id, _)) = applied.network_by_reference(reference) {
        return Ok((applied, id));
    }
    let state = shared.replica.read().await?;
    let (id, _) = state.network_by_reference(reference)?;
    Ok((state, id))
}

fn check(network: &v1::Network, node: Option<&v1::Node>) -> Result<(), Failure> {
    let spec = network.spec.clone().unwrap_or_default();
    let refuse = |message: String, hint: &str| Err(Failure::new(FailureKind::FailedPrecondition, message).hint(hint));
    if !spec.attachable {
        let message = format!("network `{}` does not take single containers", spec.name);
        return refuse(message, "create it with `--attachable`");
    }
    let description = node.and_then(|n| n.description.clone()).unwrap_or_default();
    if spec.encrypted && description.wireguard_public_key.len() != 32 {
        let message = format!("network `{}` is encrypted, and node `{}` has no tunnel key", spec.name, description.hostname);
        return refuse(message, "restart rcond there; it makes its key and tells the cluster");
    }
    Ok(())
}

fn repeated(
    existing: &v1::Endpoint,
    node: NodeId,
    network: NetworkId,
    request: &v1::AttachRequest,
    state: &State,
) -> Result<v1::AttachResponse, Failure> {
    let same = existing.node_id == convert::id_bytes(node)
        && existing.network_id == convert::id_bytes(network)
        && existing.container_id == request.container_id;
    if !same {
        return Err(Failure::new(FailureKind::AlreadyExists, "another endpoint has this id already"));
    }
    let network = state.network(network).cloned();
    Ok(v1::AttachResponse { endpoint: Some(existing.clone()), network, revision: existing.version })
}

fn written(applied: v1::Applied) -> Option<v1::Endpoint> {
    applied.written.into_iter().find_map(|written| match written.object {
        Some(v1::written::Object::Endpoint(endpoint)) => Some(endpoint),
        _ => None,
    })
}

pub(super) async fn detach(shared: &Shared, node: NodeId, request: &v1::DetachRequest) -> Result<v1::DetachResponse, Failure> {
    if request.endpoint_ids.len() > DETACH_BATCH {
        return Err(Failure::new(FailureKind::InvalidArgument, format!("at most {DETACH_BATCH} endpoints are detached at once")));
    }
    let ids: Result<Vec<EndpointId>, Malformed> = request.endpoint_ids.iter().map(|id| convert::id("endpoint_ids", id)).collect();
    let ids = ids.map_err(|e| malformed(&e))?;
    let changed = shared.replica.change(|state| release(state, node, &ids)).await?;
    let revision = changed.applied.map_or_else(|| changed.before.revision().0, |applied| applied.index);
    Ok(v1::DetachResponse { revision })
}

/// Removes those that are there; each must be the node's own, and must still be when the change is applied.
fn release(state: &State, node: NodeId, ids: &[EndpointId]) -> Result<Option<Change>, Failure> {
    let mut change = Change::default();
    for id in ids {
        let Some(endpoint) = state.endpoint(*id) else { continue };
        if endpoint.node_id != convert::id_bytes(node) {
            return Err(Failure::new(FailureKind::PermissionDenied, format!("endpoint {id} is another node's")));
        }
        if !change.relies_on.contains(&ObjectKey::Endpoint(*id)) {
            change.ops.push(v1::op::Op::RemoveEndpoint(convert::id_bytes(*id)));
            change = change.relying_on(ObjectKey::Endpoint(*id));
        }
    }
    Ok((!change.ops.is_empty()).then_some(change))
}

pub(super) async fn find_network(shared: &Shared, reference: &str) -> Result<v1::FindNetworkResponse, Failure> {
    let (state, id) = find(shared, reference).await?;
    Ok(v1::FindNetworkResponse { network: state.network(id).cloned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Fixture;
    use rcon_types::Role;

    #[test]
    fn a_node_gives_back_its_own_endpoints_alone_and_each_once() {
        let mut fixture = Fixture::new();
        let (one, two) = (fixture.add_node(2, Role::Worker), fixture.add_node(3, Role::Worker));
        let network = fixture.add_network("backend", false);
        let (mine, theirs) = (fixture.add_endpoint(one, network, "web"), fixture.add_endpoint(two, network, "db"));
        let absent = EndpointId::from_bytes([7; 16]);
        let change = release(&fixture.state, one, &[mine, absent, mine]).unwrap().unwrap();
        assert_eq!(change.ops.len(), 1);
        assert_eq!(release(&fixture.state, one, &[absent]).unwrap(), None);
        assert_eq!(release(&fixture.state, one, &[mine, theirs]).unwrap_err().kind, FailureKind::PermissionDenied);
    }

    #[test]
    fn a_container_is_not_attached_where_it_could_not_talk() {
        let network = |attachable, encrypted| v1::Network {
            spec: Some(v1::NetworkSpec { attachable, encrypted, ..Default::default() }),
            ..Default::default()
        };
        let keyed = v1::Node { description: Some(crate::fixture::description(2)), ..Default::default() };
        check(&network(true, true), Some(&keyed)).unwrap();
        assert!(check(&network(false, false), Some(&keyed)).unwrap_err().message.contains("single containers"));
        assert!(check(&network(true, true), Some(&v1::Node::default())).unwrap_err().message.contains("no tunnel key"));
    }
}
