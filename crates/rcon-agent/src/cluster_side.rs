//! What the agent asks of the process around it: to serve other nodes and, where this node is one, to be a manager.
//!
//! The agent itself knows neither Raft nor the replicated state; `rcond` wires an implementation of this to it.

use std::sync::Arc;

use rcon_identity::Identity;
use rcon_proto::v1;
use rcon_rpc::tonic;
use rcon_types::Failure;

use crate::{link::LocalManager, settings::NodeSettings};

/// How a node starts to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// As a worker.
    Worker,
    /// As a manager that takes part in Raft for the first time, with the help of these others.
    NewManager {
        /// HOST:PORT of managers.
        managers: Vec<String>,
    },
    /// As a manager that took part before.
    Manager,
}

/// A cluster that was just made.
pub struct Founded {
    /// This node in it; also on disk.
    pub identity: Arc<Identity>,
    /// Lets workers join.
    pub worker_token: String,
}

/// The part of a node that other nodes speak to.
#[tonic::async_trait]
pub trait ClusterSide: LocalManager {
    /// Makes a cluster with this node as its only manager, and serves it. Leaves nothing behind where it fails.
    async fn found(
        &self,
        request: &v1::SwarmInitRequest,
        settings: &NodeSettings,
        description: v1::NodeDescription,
    ) -> Result<Founded, Failure>;

    /// Serves other nodes, in place of what was served before.
    async fn serve(&self, identity: Arc<Identity>, settings: &NodeSettings, entry: Entry) -> Result<(), Failure>;

    /// Takes this manager out of Raft; the cluster must go on without it.
    async fn resign(&self) -> Result<(), Failure>;

    /// Serves nobody any more; with `forget`, what Raft kept on disk goes too.
    async fn stop(&self, forget: bool) -> Result<(), Failure>;
}
