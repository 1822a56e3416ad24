//! The way to the agent: one channel over its unix socket, opened when first used. Every request has the deadline of its method.

use std::{future::Future, path::Path};

use crate::report::{Report, invalid};
use rcon_rpc::{
    Channel,
    tonic::{Response, Status},
    v1::{
        containers_client::ContainersClient, control_client::ControlClient, host_networks_client::HostNetworksClient,
        images_client::ImagesClient, swarm_client::SwarmClient, system_client::SystemClient,
    },
};

/// The agent of a host.
pub struct Agent {
    channel: Channel,
}

impl Agent {
    /// The agent behind `host`, a path or `unix://` and a path; nothing is opened yet.
    pub fn new(host: &str) -> Result<Self, Report> {
        let path = host.strip_prefix("unix://").unwrap_or(host);
        if path.is_empty() || path.contains("://") {
            return Err(invalid(format!("`{host}` is not the socket of an agent: give a path or unix:///path")));
        }
        Ok(Self { channel: rcon_rpc::connect_unix(Path::new(path)) })
    }

    /// What the agent says of itself.
    pub fn system(&self) -> SystemClient<Channel> {
        SystemClient::new(self.channel.clone())
    }
    /// Joining and leaving.
    pub fn swarm(&self) -> SwarmClient<Channel> {
        SwarmClient::new(self.channel.clone())
    }
    /// The cluster, where the agent's host is a manager.
    pub fn control(&self) -> ControlClient<Channel> {
        ControlClient::new(self.channel.clone())
    }
    /// Images of the host.
    pub fn images(&self) -> ImagesClient<Channel> {
        ImagesClient::new(self.channel.clone())
    }
    /// Containers of the host.
    pub fn containers(&self) -> ContainersClient<Channel> {
        ContainersClient::new(self.channel.clone())
    }
    /// Networks of the host.
    pub fn host_networks(&self) -> HostNetworksClient<Channel> {
        HostNetworksClient::new(self.channel.clone())
    }
}

/// Waits for an answer and unwraps it.
pub async fn answer<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Report> {
    Ok(call.await?.into_inner())
}
