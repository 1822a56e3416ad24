//! The service `HostNetworks`: what this host's kernel has of its networks.

use std::sync::Arc;

use rcon_netplan::EncryptedBackend;
use rcon_proto::v1;
use rcon_rpc::{
    failure_to_status,
    tonic::{self, Request, Response, Status},
    v1::host_networks_server::HostNetworks,
};
use rcon_types::{Failure, FailureKind, NetworkId};

use crate::networking::Networking;

/// The networks of this host.
pub struct HostNetworksService {
    networking: Arc<Networking>,
    backend: EncryptedBackend,
}

impl HostNetworksService {
    /// The service over the agent's networking.
    #[must_use]
    pub fn new(networking: Arc<Networking>, backend: EncryptedBackend) -> Self {
        Self { networking, backend }
    }

    fn networks(&self) -> Vec<(v1::HostNetwork, Option<v1::NetworkAssignment>)> {
        let none =
            v1::HostNetwork { id: "none".into(), name: "none".into(), driver: "null".into(), scope: "local".into(), encrypted: false };
        let set = self.networking.ledger.current();
        let overlays = set.networks.iter().filter_map(|assignment| {
            let network = assignment.network.as_ref()?;
            let spec = network.spec.clone().unwrap_or_default();
            let shown = v1::HostNetwork {
                id: NetworkId::from_slice(&network.id).ok()?.to_string(),
                name: spec.name,
                driver: spec.driver,
                scope: "swarm".into(),
                encrypted: spec.encrypted,
            };
            Some((shown, Some(assignment.clone())))
        });
        std::iter::once((none, None)).chain(overlays).collect()
    }

    fn backend(&self, encrypted: bool) -> &'static str {
        match (encrypted, self.backend) {
            (false, _) => "vxlan",
            (true, EncryptedBackend::Kernel) => "wireguard-kernel",
            (true, EncryptedBackend::Userspace) => "wireguard-userspace",
        }
    }
}

#[tonic::async_trait]
impl HostNetworks for HostNetworksService {
    async fn list(&self, _: Request<v1::ListHostNetworksRequest>) -> Result<Response<v1::ListHostNetworksResponse>, Status> {
        let networks = self.networks().into_iter().map(|(network, _)| network).collect();
        Ok(Response::new(v1::ListHostNetworksResponse { networks }))
    }

    async fn inspect(&self, request: Request<v1::InspectHostNetworkRequest>) -> Result<Response<v1::HostNetworkView>, Status> {
        let asked = request.into_inner().network;
        let found = self.networks().into_iter().find(|(network, _)| network.name == asked || network.id == asked);
        let Some((network, assignment)) = found else {
            let failure = Failure::new(FailureKind::NotFound, format!("this host has no part in a network `{asked}`"));
            return Err(failure_to_status(failure.hint("a host takes part in a cluster's network while one of its containers is on it")));
        };
        let Some(assignment) = assignment else {
            return Ok(Response::new(v1::HostNetworkView { network: Some(network), ..Default::default() }));
        };
        let set = self.networking.ledger.current();
        let id: NetworkId = network.id.parse().map_err(|_| Status::internal("a network's id makes no sense"))?;
        let applied = self.networking.passes.borrow().revision;
        Ok(Response::new(v1::HostNetworkView {
            backend: self.backend(network.encrypted).to_owned(),
            network: Some(network),
            problems: self.networking.problems(id).iter().map(ToString::to_string).collect(),
            revision: set.revision,
            applied_revision: applied.0,
            tunnel_peers: self.networking.tunnel.peers(&set, id).await,
            mtu: assignment.mtu,
        }))
    }
}
