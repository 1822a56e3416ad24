//! The service `Control`: what administrators ask of the cluster.
//!
//! Thin: each call is authorised by the table and handed on. Reads are linearizable unless stale ones are asked for; changes are read, decided
//! and proposed with what they relied on.

mod cluster;
mod networks;
mod node_changes;
mod nodes;
pub mod roles;

use rcon_proto::v1;
use rcon_rpc::{
    tonic::{Request, Response, Status},
    v1::control_server::Control,
};

pub(crate) use node_changes::leave;

use crate::{
    authorise::table,
    shared::{ManagerGate, reply},
};

/// The service behind a gate.
#[derive(Clone)]
pub struct ControlService {
    gate: ManagerGate,
}

impl ControlService {
    /// The service behind a gate.
    #[must_use]
    pub const fn new(gate: ManagerGate) -> Self {
        Self { gate }
    }
}

#[rcon_rpc::tonic::async_trait]
impl Control for ControlService {
    async fn get_cluster(&self, request: Request<v1::GetClusterRequest>) -> Result<Response<v1::GetClusterResponse>, Status> {
        let at = self.gate.admit(&table::GET_CLUSTER, &request).await?;
        reply(cluster::get(&at.shared).await)
    }

    async fn get_join_token(&self, request: Request<v1::GetJoinTokenRequest>) -> Result<Response<v1::GetJoinTokenResponse>, Status> {
        let at = self.gate.admit(&table::GET_JOIN_TOKEN, &request).await?;
        reply(cluster::join_token(&at.shared, request.into_inner()).await)
    }

    async fn list_nodes(&self, request: Request<v1::ListNodesRequest>) -> Result<Response<v1::ListNodesResponse>, Status> {
        let at = self.gate.admit(&table::LIST_NODES, &request).await?;
        reply(nodes::list(&at.shared, request.into_inner().stale).await)
    }

    async fn inspect_node(&self, request: Request<v1::NodeReference>) -> Result<Response<v1::NodeView>, Status> {
        let at = self.gate.admit(&table::INSPECT_NODE, &request).await?;
        reply(nodes::inspect(&at.shared, &request.into_inner().node).await)
    }

    async fn update_node(&self, request: Request<v1::UpdateNodeRequest>) -> Result<Response<v1::NodeView>, Status> {
        let at = self.gate.admit(&table::UPDATE_NODE, &request).await?;
        reply(node_changes::update(&at.shared, &request.into_inner()).await)
    }

    async fn remove_node(&self, request: Request<v1::RemoveNodeRequest>) -> Result<Response<v1::RemoveNodeResponse>, Status> {
        let at = self.gate.admit(&table::REMOVE_NODE, &request).await?;
        reply(node_changes::remove(&at.shared, &request.into_inner()).await)
    }

    async fn transfer_leader(&self, request: Request<v1::NodeReference>) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        let at = self.gate.admit(&table::TRANSFER_LEADER, &request).await?;
        reply(node_changes::transfer_leader(&at.shared, &request.into_inner().node).await)
    }

    async fn create_network(&self, request: Request<v1::CreateNetworkRequest>) -> Result<Response<v1::CreateNetworkResponse>, Status> {
        let at = self.gate.admit(&table::CREATE_NETWORK, &request).await?;
        reply(networks::create(&at.shared, request.into_inner()).await)
    }

    async fn list_networks(&self, request: Request<v1::ListNetworksRequest>) -> Result<Response<v1::ListNetworksResponse>, Status> {
        let at = self.gate.admit(&table::LIST_NETWORKS, &request).await?;
        reply(networks::list(&at.shared).await)
    }

    async fn inspect_network(&self, request: Request<v1::NetworkReference>) -> Result<Response<v1::NetworkView>, Status> {
        let at = self.gate.admit(&table::INSPECT_NETWORK, &request).await?;
        reply(networks::inspect(&at.shared, &request.into_inner().network).await)
    }

    async fn remove_network(&self, request: Request<v1::NetworkReference>) -> Result<Response<v1::RemoveNetworkResponse>, Status> {
        let at = self.gate.admit(&table::REMOVE_NETWORK, &request).await?;
        reply(networks::remove(&at.shared, &request.into_inner().network).await)
    }
}
