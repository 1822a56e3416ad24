//! The service `Control` on the local socket: passed on to the manager in this process, or refused with a hint where there is none.

use std::sync::Arc;

use rcon_agent::LocalManager;
use rcon_proto::v1;
use rcon_rpc::{
    Channel, failure_to_status,
    tonic::{self, Request, Response, Status},
    v1::{control_client::ControlClient, control_server::Control},
};
use rcon_types::{Failure, FailureKind};

/// HOST:PORT of the managers; nothing where this host is in no cluster.
pub type KnownManagers = Box<dyn Fn() -> Option<Vec<String>> + Send + Sync>;

/// Cluster administration from this host.
pub struct LocalControl {
    /// The manager in this process.
    pub manager: Arc<dyn LocalManager>,
    /// Whom a worker's user should ask instead.
    pub others: KnownManagers,
}

impl LocalControl {
    fn client(&self) -> Result<ControlClient<Channel>, Status> {
        if let Some(channel) = self.manager.channel() {
            return Ok(ControlClient::new(channel));
        }
        let failure = match (self.others)() {
            None => Failure::new(FailureKind::FailedPrecondition, "this node is not part of a cluster")
                .hint("`rconctl swarm init` or `rconctl swarm join`"),
            Some(managers) => {
                Failure::new(FailureKind::FailedPrecondition, "this node is not a manager, and cannot administer the cluster")
                    .hint(format!("run the command on a manager ({}), or promote this node there", managers.join(", ")))
            }
        };
        Err(failure_to_status(failure))
    }
}

#[tonic::async_trait]
impl Control for LocalControl {
    async fn get_cluster(&self, request: Request<v1::GetClusterRequest>) -> Result<Response<v1::GetClusterResponse>, Status> {
        self.client()?.get_cluster(request.into_inner()).await
    }
    async fn get_join_token(&self, request: Request<v1::GetJoinTokenRequest>) -> Result<Response<v1::GetJoinTokenResponse>, Status> {
        self.client()?.get_join_token(request.into_inner()).await
    }
    async fn list_nodes(&self, request: Request<v1::ListNodesRequest>) -> Result<Response<v1::ListNodesResponse>, Status> {
        self.client()?.list_nodes(request.into_inner()).await
    }
    async fn inspect_node(&self, request: Request<v1::NodeReference>) -> Result<Response<v1::NodeView>, Status> {
        self.client()?.inspect_node(request.into_inner()).await
    }
    async fn update_node(&self, request: Request<v1::UpdateNodeRequest>) -> Result<Response<v1::NodeView>, Status> {
        self.client()?.update_node(request.into_inner()).await
    }
    async fn remove_node(&self, request: Request<v1::RemoveNodeRequest>) -> Result<Response<v1::RemoveNodeResponse>, Status> {
        self.client()?.remove_node(request.into_inner()).await
    }
    async fn transfer_leader(&self, request: Request<v1::NodeReference>) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        self.client()?.transfer_leader(request.into_inner()).await
    }
    async fn create_network(&self, request: Request<v1::CreateNetworkRequest>) -> Result<Response<v1::CreateNetworkResponse>, Status> {
        self.client()?.create_network(request.into_inner()).await
    }
    async fn list_networks(&self, request: Request<v1::ListNetworksRequest>) -> Result<Response<v1::ListNetworksResponse>, Status> {
        self.client()?.list_networks(request.into_inner()).await
    }
    async fn inspect_network(&self, request: Request<v1::NetworkReference>) -> Result<Response<v1::NetworkView>, Status> {
        self.client()?.inspect_network(request.into_inner()).await
    }
    async fn remove_network(&self, request: Request<v1::NetworkReference>) -> Result<Response<v1::RemoveNetworkResponse>, Status> {
        self.client()?.remove_network(request.into_inner()).await
    }
}
