//! A cluster of certificates, and a service that tells its callers who they are.
#![allow(dead_code, missing_docs)]

use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use rcon_identity::{CertificateAuthority, DEFAULT_CERTIFICATE_LIFE, Identity, Membership, NodeKey, RequestedKey, Subject};
use rcon_proto::v1 as wire;
use rcon_rpc::{
    Address, Caller, Routes, failure_to_status,
    tonic::{Request, Response, Status},
    v1::certificate_authority_server::{CertificateAuthority as Service, CertificateAuthorityServer},
};
use rcon_types::{ClusterId, Failure, FailureKind, NodeId, Role};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

pub const HOUR: Duration = Duration::from_secs(3600);

pub struct Cluster(pub CertificateAuthority);

impl Cluster {
    pub fn new(number: u8) -> Self {
        Self(CertificateAuthority::generate(ClusterId::from_bytes([number; 16]), SystemTime::now() - 1000 * HOUR).unwrap())
    }

    pub fn member(&self, number: u8, role: Role) -> Arc<Identity> {
        self.member_at(number, role, SystemTime::now(), DEFAULT_CERTIFICATE_LIFE)
    }

    pub fn member_at(&self, number: u8, role: Role, at: SystemTime, life: Duration) -> Arc<Identity> {
        let key = NodeKey::generate().unwrap();
        let requested = RequestedKey::from_request(&key.certificate_request().unwrap()).unwrap();
        let subject = Subject { node_id: node(number), role, cluster_id: self.0.cluster_id() };
        let certificate = self.0.issue(&requested, subject, life, at).unwrap();
        Arc::new(Identity::new(Membership { key, certificate, roots: self.0.roots().unwrap() }).unwrap())
    }
}

pub fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

/// Join records the secret; Renew fails with a failure that names the caller.
#[derive(Clone, Default)]
pub struct Echo {
    pub secrets: Arc<Mutex<Vec<Vec<u8>>>>,
    /// Requests wait until this is dropped.
    pub hold: Option<Arc<tokio::sync::Notify>>,
}

impl Echo {
    pub fn routes(&self) -> Routes {
        Routes::new(CertificateAuthorityServer::new(self.clone()))
    }
}

#[rcon_rpc::tonic::async_trait]
impl Service for Echo {
    async fn join(&self, request: Request<wire::JoinRequest>) -> Result<Response<wire::JoinResponse>, Status> {
        if let Some(hold) = &self.hold {
            hold.notified().await;
        }
        self.secrets.lock().unwrap().push(request.get_ref().token_secret.to_vec());
        Ok(Response::new(wire::JoinResponse::default()))
    }

    async fn renew(&self, request: Request<wire::RenewRequest>) -> Result<Response<wire::RenewResponse>, Status> {
        let renewing = rcon_rpc::renewing_caller(&request)?;
        let strict = rcon_rpc::caller(&request).map(|_| ()).map_err(|s| s.message().to_owned());
        let who = match renewing {
            Caller::Local => "local".to_owned(),
            Caller::Node(peer) => format!("{} {} expired={}", peer.node_id, peer.role, peer.expired),
        };
        Err(failure_to_status(
            Failure::new(FailureKind::Conflict, format!("{strict:?}")).during(who).during("outermost").hint("this is a test"),
        ))
    }
}

/// What [`Echo`] says of its caller: who, and what a strict look at it gives.
pub fn told(failure: &Failure) -> (&str, &str) {
    assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Conflict, "outermost"), "{failure:?}");
    assert_eq!(failure.hint.as_deref(), Some("this is a test"));
    (&failure.causes[0], &failure.causes[1])
}

pub struct Running {
    pub address: Address,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), rcon_rpc::ServeError>>,
}

impl Running {
    pub async fn start(identity: Arc<Identity>, routes: Routes) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let local = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(rcon_rpc::serve(listener, identity, routes, async {
            let _ = stopped.await;
        }));
        Self { address: Address::from_ip(local.ip(), local.port()), stop: Some(stop), task }
    }

    pub async fn stop(mut self) {
        self.stop.take();
        self.task.await.unwrap().unwrap();
    }
}

/// Ends a test that hangs.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it takes too long")
}
