//! The service `Swarm`.

use std::sync::Arc;

use rcon_proto::v1;
use rcon_rpc::{
    failure_to_status,
    tonic::{self, Request, Response, Status},
    v1::swarm_server::Swarm,
};
use rcon_types::{Failure, FailureKind};

use crate::membership::Membership;

/// Founding, joining and leaving clusters.
pub struct SwarmService {
    membership: Arc<Membership>,
}

impl SwarmService {
    /// The service over this host's membership.
    #[must_use]
    pub fn new(membership: Arc<Membership>) -> Self {
        Self { membership }
    }
}

/// Runs a change of membership to its end also when whoever asked for it has gone: half a change is worse than one nobody waits for.
async fn to_the_end<T: Send + 'static>(change: impl Future<Output = Result<T, Failure>> + Send + 'static) -> Result<Response<T>, Status> {
    match tokio::spawn(change).await {
        Ok(outcome) => outcome.map(Response::new).map_err(failure_to_status),
        Err(error) => Err(failure_to_status(Failure::from_error(FailureKind::Internal, &error))),
    }
}

#[tonic::async_trait]
impl Swarm for SwarmService {
    async fn init(&self, request: Request<v1::SwarmInitRequest>) -> Result<Response<v1::SwarmInitResponse>, Status> {
        let (membership, asked) = (self.membership.clone(), request.into_inner());
        to_the_end(async move { membership.init(asked).await }).await
    }

    async fn join(&self, request: Request<v1::SwarmJoinRequest>) -> Result<Response<v1::SwarmJoinResponse>, Status> {
        let (membership, asked) = (self.membership.clone(), request.into_inner());
        to_the_end(async move { membership.join(asked).await }).await
    }

    async fn leave(&self, request: Request<v1::SwarmLeaveRequest>) -> Result<Response<v1::SwarmLeaveResponse>, Status> {
        let (membership, force) = (self.membership.clone(), request.into_inner().force);
        to_the_end(async move { membership.leave(force).await.map(|()| v1::SwarmLeaveResponse {}) }).await
    }

    async fn root_certificates(&self, _: Request<v1::RootCertificatesRequest>) -> Result<Response<v1::RootCertificatesResponse>, Status> {
        let view = self.membership.view().ok_or_else(|| {
            let failure = Failure::new(FailureKind::FailedPrecondition, "this node is not part of a cluster");
            failure_to_status(failure.hint("`rconctl swarm init` or `rconctl swarm join`"))
        })?;
        Ok(Response::new(v1::RootCertificatesResponse { pem: view.identity.roots().to_pem().into_bytes().into() }))
    }
}
