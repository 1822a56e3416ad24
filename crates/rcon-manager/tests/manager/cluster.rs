//! A cluster for tests: managers with their own directories, served on ports of 127.0.0.1, and members without one.

use std::{
    future::Future,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcon_identity::{CertificateChain, Identity, JoinToken, Membership, NodeKey, RequestedKey, RootBundle};
use rcon_manager::{Founding, Manager, ManagerGate, initial_transaction};
use rcon_proto::v1;
use rcon_raft::{Consensus, RaftGate, RaftOptions};
use rcon_rpc::{
    Address, Channel, LocalSocket, connect, connect_joining, connect_unix, serve, serve_unix, status_to_failure,
    v1::{certificate_authority_client::CertificateAuthorityClient, control_client::ControlClient, node_session_client::NodeSessionClient},
};
use rcon_types::{Failure, NodeId};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::watch, task::JoinSet, time::Instant};

/// How long anything may take that is waited for.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// One manager at work.
pub struct Host {
    pub identity: Arc<Identity>,
    pub address: Address,
    pub manager: Option<Manager>,
    pub worker_token: JoinToken,
    pub manager_token: JoinToken,
    raft: RaftGate,
    gate: ManagerGate,
    socket: PathBuf,
    stop: watch::Sender<bool>,
    serving: JoinSet<()>,
    directory: TempDir,
}

pub fn description(hostname: &str, control_address: &Address) -> v1::NodeDescription {
    v1::NodeDescription {
        hostname: hostname.to_owned(),
        feature_level: 1,
        data_address: vec![127, 0, 0, 1].into(),
        underlay_mtu: 1500,
        wireguard_public_key: vec![7; 32].into(),
        control_address: control_address.to_string(),
        ..Default::default()
    }
}

/// What a stop signal looks like to a server.
fn stopping(stop: &watch::Sender<bool>) -> impl Future<Output = ()> + Send + use<> {
    let mut stop = stop.subscribe();
    async move {
        let _ = stop.wait_for(|stop| *stop).await;
    }
}

/// A host before it is a member: a directory, a port and a key.
struct Bare {
    directory: TempDir,
    listener: TcpListener,
    address: Address,
    key: NodeKey,
}

impl Bare {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::from_ip([127, 0, 0, 1].into(), listener.local_addr().unwrap().port());
        Self { directory: tempfile::tempdir().unwrap(), listener, address, key: NodeKey::generate().unwrap() }
    }
}

impl Host {
    /// `swarm init` on h1.
    pub async fn init() -> Self {
        let bare = Bare::new().await;
        let requested = RequestedKey::from_request(&bare.key.certificate_request().unwrap()).unwrap();
        let founding = Founding::new(description("h1", &bare.address), bare.address.to_string());
        let founded = initial_transaction(&founding, &requested, SystemTime::now()).unwrap();
        let membership = Membership { key: bare.key, certificate: founded.certificate, roots: founded.roots };
        let identity = Arc::new(Identity::new(membership).unwrap());
        let tokens = (founded.worker_token, founded.manager_token);
        let mut host = Self::served(identity, bare.directory, bare.listener, bare.address, tokens);
        let bootstrap = Consensus::bootstrap(host.options(), Arc::clone(&host.identity), &host.raft, founded.txn);
        host.start(bootstrap.await.unwrap());
        host
    }

    /// `swarm join` with a manager's token.
    pub async fn join_as_manager(&self, hostname: &str) -> Self {
        let bare = Bare::new().await;
        let described = description(hostname, &bare.address);
        let member = self.join_described(described, &self.manager_token, bare.key).await.unwrap();
        let tokens = (self.worker_token.clone(), self.manager_token.clone());
        let mut host = Self::served(member.identity, bare.directory, bare.listener, bare.address, tokens);
        let managers = [self.address.to_string()];
        let join = Consensus::join(host.options(), Arc::clone(&host.identity), &host.raft, &managers);
        host.start(join.await.unwrap());
        host
    }

    fn options(&self) -> RaftOptions {
        RaftOptions::new(self.directory.path().join("raft"), self.node_id(), self.address.to_string())
    }

    fn served(
        identity: Arc<Identity>,
        directory: TempDir,
        listener: TcpListener,
        address: Address,
        (worker_token, manager_token): (JoinToken, JoinToken),
    ) -> Self {
        let (raft, gate, stop) = (RaftGate::new(), ManagerGate::default(), watch::Sender::new(false));
        let mut serving = JoinSet::new();
        let (routes, tls, stopped) = (gate.routes(&raft), Arc::clone(&identity), stopping(&stop));
        serving.spawn(async move { serve(listener, tls, routes, stopped).await.unwrap() });
        let socket = directory.path().join("rcond.sock");
        let (routes, local, stopped) = (gate.local_routes(), LocalSocket { path: socket.clone(), group: None }, stopping(&stop));
        serving.spawn(async move { serve_unix(local, routes, stopped).await.unwrap() });
        Self { identity, address, manager: None, worker_token, manager_token, raft, gate, socket, stop, serving, directory }
    }

    fn start(&mut self, consensus: Consensus) {
        self.manager = Some(Manager::new(consensus, Arc::clone(&self.identity), &self.gate));
    }

    pub fn node_id(&self) -> NodeId {
        self.identity.node_id()
    }

    pub fn state(&self) -> rcon_state::State {
        self.manager.as_ref().unwrap().state()
    }

    /// An administrator on this host.
    pub fn control(&self) -> ControlClient<Channel> {
        ControlClient::new(connect_unix(&self.socket))
    }

    /// A host that shows a token and no certificate.
    pub fn joining(&self, token: &JoinToken) -> CertificateAuthorityClient<Channel> {
        CertificateAuthorityClient::new(connect_joining(&self.address, token).unwrap())
    }

    /// A host that joins.
    pub async fn join(&self, hostname: &str, token: &JoinToken) -> Result<Member, Failure> {
        self.join_with(hostname, token, NodeKey::generate().unwrap()).await
    }

    pub async fn join_with(&self, hostname: &str, token: &JoinToken, key: NodeKey) -> Result<Member, Failure> {
        self.join_described(description(hostname, &self.address), token, key).await
    }

    async fn join_described(&self, description: v1::NodeDescription, token: &JoinToken, key: NodeKey) -> Result<Member, Failure> {
        let request = v1::JoinRequest {
            token_secret: token.secret().as_bytes().to_vec().into(),
            csr: key.certificate_request().unwrap().into(),
            description: Some(description),
            request_id: key.request_id().to_vec().into(),
            ..Default::default()
        };
        let answer = self.joining(token).join(request).await.map_err(status_to_failure)?.into_inner();
        let text = |pem: &[u8]| String::from_utf8(pem.to_vec()).unwrap();
        let membership = Membership {
            key,
            certificate: CertificateChain::from_pem(&text(&answer.certificate_pem)).unwrap(),
            roots: RootBundle::from_pem(&text(&answer.root_certificates_pem)).unwrap(),
        };
        let identity = Arc::new(Identity::new(membership).unwrap());
        let channel = connect(&self.address, &identity, Some(self.node_id())).unwrap();
        Ok(Member { identity, channel, answer })
    }

    /// Waits until the applied state is as it must be.
    pub async fn until(&self, what: &str, holds: impl Fn(&rcon_state::State) -> bool) {
        let mut revision = self.manager.as_ref().unwrap().consensus().revision();
        let waited = tokio::time::timeout(DEADLINE, revision.wait_for(|_| holds(&self.state()))).await;
        assert!(waited.is_ok_and(|inner| inner.is_ok()), "not within {DEADLINE:?}: {what}");
    }

    /// The node itself, as a client of another manager.
    pub fn at(&self, manager: &Self) -> Channel {
        connect(&manager.address, &self.identity, Some(manager.node_id())).unwrap()
    }

    pub async fn shutdown(mut self) {
        if let Some(manager) = self.manager.take() {
            manager.shutdown().await;
        }
        self.stop.send_replace(true);
        while self.serving.join_next().await.is_some() {}
    }
}

/// A node that has joined, seen from outside.
pub struct Member {
    pub identity: Arc<Identity>,
    pub channel: Channel,
    pub answer: v1::JoinResponse,
}

impl Member {
    pub fn node_id(&self) -> NodeId {
        self.identity.node_id()
    }

    pub fn sessions(&self) -> NodeSessionClient<Channel> {
        NodeSessionClient::new(self.channel.clone())
    }

    pub fn control(&self) -> ControlClient<Channel> {
        ControlClient::new(self.channel.clone())
    }

    pub fn authority(&self) -> CertificateAuthorityClient<Channel> {
        CertificateAuthorityClient::new(self.channel.clone())
    }
}

/// The failure of a call that must fail.
pub fn failure<T: std::fmt::Debug>(outcome: Result<rcon_rpc::tonic::Response<T>, rcon_rpc::tonic::Status>) -> Failure {
    status_to_failure(outcome.expect_err("this must be refused"))
}

/// Asks again until it is as it must be, or the deadline passes.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let end = Instant::now() + DEADLINE;
    while Instant::now() < end {
        if let Some(answer) = ask().await {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not within {DEADLINE:?}: {what}");
}
