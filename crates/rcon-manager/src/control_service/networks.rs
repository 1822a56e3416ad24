//! Cluster-wide networks, as people make, see and remove them.

use std::time::SystemTime;

use rcon_proto::{convert, v1};
use rcon_state::State;
use rcon_types::{Failure, FailureKind, NetworkId, NodeId};

use crate::{
    network_spec::{normalise, warnings},
    random::{self, RandomError},
    replica::Change,
    reports::heard_everywhere,
    shared::Shared,
    transaction::milliseconds,
};

pub(super) async fn create(shared: &Shared, request: v1::CreateNetworkRequest) -> Result<v1::CreateNetworkResponse, Failure> {
    let spec = normalise(request.spec)?;
    let id: NetworkId = random::id().map_err(RandomError::failure)?;
    let network =
        v1::Network { id: convert::id_bytes(id), created_ms: milliseconds(SystemTime::now()), spec: Some(spec), ..v1::Network::default() };
    // Nothing is relied on: whether the name and the subnets are free is decided where the entry is applied.
    let state = shared.replica.state();
    let applied = shared.replica.propose(Change::new(vec![v1::op::Op::CreateNetwork(network)]), &state).await?;
    let network = written(applied).ok_or_else(|| Failure::new(FailureKind::Internal, "the state machine wrote no network"))?;
    let state = shared.replica.state();
    let warnings = warnings(&network, &state, shared.underlay(&state));
    tracing::info!(network = %id, vni = network.vni, "a network was created");
    Ok(v1::CreateNetworkResponse { network: Some(network), warnings })
}

fn written(applied: v1::Applied) -> Option<v1::Network> {
    applied.written.into_iter().find_map(|written| match written.object {
        Some(v1::written::Object::Network(network)) => Some(network),
        _ => None,
    })
}

pub(super) async fn list(shared: &Shared) -> Result<v1::ListNetworksResponse, Failure> {
    let state = shared.replica.read().await?;
    let mut networks: Vec<v1::Network> = state.networks().map(|(_, network)| network.clone()).collect();
    networks.sort_by(|a, b| name(a).cmp(name(b)));
    Ok(v1::ListNetworksResponse { networks })
}

fn name(network: &v1::Network) -> &str {
    network.spec.as_ref().map_or("", |spec| spec.name.as_str())
}

pub(super) async fn inspect(shared: &Shared, reference: &str) -> Result<v1::NetworkView, Failure> {
    let state = shared.replica.read().await?;
    let (id, network) = state.network_by_reference(reference)?;
    let nodes: Vec<NodeId> = state.nodes_of_network(id).collect();
    let heard = heard_everywhere(shared).await;
    Ok(v1::NetworkView {
        network: Some(network.clone()),
        endpoints: state.endpoints_of_network(id).map(|(_, endpoint)| endpoint.clone()).collect(),
        nodes: nodes.iter().filter_map(|node| state.node(*node).cloned()).collect(),
        mtu: network.spec.as_ref().map_or(0, |spec| shared.underlay(&state).mtu_of(spec).0),
        revision: state.revision().0,
        applied_revisions: nodes.iter().map(|node| heard.get(node).map_or(0, |h| h.applied_revision)).collect(),
    })
}

pub(super) async fn remove(shared: &Shared, reference: &str) -> Result<v1::RemoveNetworkResponse, Failure> {
    let mut removed = None;
    let decide = |state: &State| {
        // A network that went away between two tries is as gone as was asked.
        let found = match (state.network_by_reference(reference), removed) {
            (Ok((id, _)), _) => id,
            (Err(_), Some(_)) => return Ok(None),
            (Err(failure), None) => return Err(failure),
        };
        removed = Some(found);
        Ok(Some(Change::new(vec![v1::op::Op::RemoveNetwork(convert::id_bytes(found))])))
    };
    shared.replica.change(decide).await?;
    tracing::info!(network = ?removed, "a network was removed");
    Ok(v1::RemoveNetworkResponse {})
}
