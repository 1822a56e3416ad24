//! The service `CertificateAuthority`: hosts become members, and members renew their certificates.
//!
//! Joiners have no identity yet: what they show is a token's secret, which only a hash is compared with, and a request signed by their key.
//! Of the request nothing but that key reaches the certificate; id, role and cluster are the state's.

mod join;
pub mod limiter;

use std::time::{Duration, SystemTime};

use rcon_identity::{CertificateChain, RequestedKey, Subject};
use rcon_proto::{convert, v1};
use rcon_rpc::{
    remote_address,
    tonic::{Request, Response, Status},
    v1::certificate_authority_server::CertificateAuthority,
};
use rcon_state::State;
use rcon_types::{Failure, FailureKind, NodeId, Role};

use crate::{
    assignments::managers,
    authorise::table,
    authority::{authority, roots},
    shared::{ManagerGate, Shared, reply},
};

/// The service behind a gate.
#[derive(Clone)]
pub struct AuthorityService {
    gate: ManagerGate,
}

impl AuthorityService {
    /// The service behind a gate.
    #[must_use]
    pub const fn new(gate: ManagerGate) -> Self {
        Self { gate }
    }
}

#[rcon_rpc::tonic::async_trait]
impl CertificateAuthority for AuthorityService {
    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        let at = self.gate.admit(&table::JOIN, &request).await?;
        let from = remote_address(&request).map(|address| address.ip());
        reply(join::join(&at.shared, request.into_inner(), from).await)
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        let at = self.gate.admit(&table::RENEW, &request).await?;
        let renewed = match at.caller.node() {
            Ok(node) => renew(&at.shared, node, &request.into_inner()).await,
            Err(failure) => Err(failure),
        };
        reply(renewed)
    }
}

/// A new certificate for a member, with the role that the state has for it now. The key must be the one on record: a node that wants
/// another key joins anew.
async fn renew(shared: &Shared, node: NodeId, request: &v1::RenewRequest) -> Result<v1::RenewResponse, Failure> {
    let key = RequestedKey::from_request(&request.csr)?;
    let state = shared.replica.read().await?;
    let issued = issue(&state, node, &key, SystemTime::now())?;
    tracing::info!(%node, role = %issued.role, "a certificate was renewed");
    Ok(v1::RenewResponse {
        certificate_pem: issued.certificate.to_pem().into(),
        root_certificates_pem: roots(&state)?.to_pem().into(),
        role: v1::Role::from(issued.role).into(),
    })
}

/// A certificate, and the role that is in it.
struct Issued {
    certificate: CertificateChain,
    role: Role,
}

/// Signs a certificate for a member and its key.
fn issue(state: &State, node: NodeId, key: &RequestedKey, now: SystemTime) -> Result<Issued, Failure> {
    let record =
        state.node(node).ok_or_else(|| Failure::new(FailureKind::PermissionDenied, format!("node {node} is not in the cluster")))?;
    if record.public_key_digest != key.digest().as_slice() {
        return Err(Failure::new(FailureKind::PermissionDenied, "the certificate request is not for the key on record")
            .hint("a node keeps its key for as long as it is a member; leave and join again to change it"));
    }
    let role = convert::role(record.role).ok_or_else(|| Failure::new(FailureKind::Internal, format!("node {node} has no role")))?;
    let authority = authority(state)?;
    let subject = Subject { node_id: node, role, cluster_id: authority.cluster_id() };
    let life = Duration::from_secs(state.cluster().map_or(0, |c| c.certificate_life_s));
    Ok(Issued { certificate: authority.issue(key, subject, life, now)?, role })
}

/// The answer to a joiner who is a member now.
fn welcome(state: &State, node: NodeId, key: &RequestedKey, now: SystemTime) -> Result<v1::JoinResponse, Failure> {
    let issued = issue(state, node, key, now)?;
    Ok(v1::JoinResponse {
        node_id: convert::id_bytes(node),
        role: v1::Role::from(issued.role).into(),
        certificate_pem: issued.certificate.to_pem().into(),
        root_certificates_pem: roots(state)?.to_pem().into(),
        cluster_id: state.cluster_id().map(convert::id_bytes).unwrap_or_default(),
        manager_addresses: managers(state).into_iter().map(|m| m.address).collect(),
    })
}
