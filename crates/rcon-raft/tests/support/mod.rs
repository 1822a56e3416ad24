//! Managers in one process, each with its own directory, identity and port, over mutual TLS on the loopback.
#![allow(dead_code, reason = "each test and the bench use their part")]

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use rcon_identity::{CertificateAuthority, Identity, Membership, NodeKey, RequestedKey, Subject};
use rcon_proto::{convert, v1};
use rcon_raft::{Consensus, DiskLimits, RaftGate, RaftOptions, Timing};
use rcon_rpc::Routes;
use rcon_types::{ClusterId, NodeId, Role};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

/// Within this time everything that is waited for must have happened.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A cluster's authority and its hosts.
pub struct Cluster {
    authority: CertificateAuthority,
    id: ClusterId,
    directory: TempDir,
    next_txn: std::sync::atomic::AtomicU64,
    timing: Timing,
    disk: DiskLimits,
    pub hosts: Vec<Host>,
}

/// One manager, whether it runs or not.
pub struct Host {
    pub node_id: NodeId,
    pub address: String,
    pub identity: Arc<Identity>,
    pub directory: PathBuf,
    key_digest: [u8; 32],
    pub timing: Timing,
    pub disk: DiskLimits,
    pub gate: RaftGate,
    pub consensus: Option<Consensus>,
    server: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Cluster {
    /// One manager that has founded a cluster, and `size - 1` more that vote with it.
    pub async fn new(size: usize) -> Self {
        Self::with(size, Timing::default()).await
    }

    pub async fn with(size: usize, timing: Timing) -> Self {
        let small = DiskLimits { ballast_bytes: 1 << 20, refuse_below_bytes: 1 << 20 };
        let mut cluster = Self::found(tempfile::tempdir().unwrap(), timing, small).await;
        for _ in 1..size {
            cluster.join().await;
        }
        cluster.all_vote().await;
        cluster
    }

    pub async fn found(directory: TempDir, timing: Timing, disk: DiskLimits) -> Self {
        let id = ClusterId::from_bytes([7; 16]);
        let authority = CertificateAuthority::generate(id, SystemTime::now()).unwrap();
        let mut cluster =
            Self { authority, id, directory, next_txn: std::sync::atomic::AtomicU64::new(1), timing, disk, hosts: Vec::new() };
        cluster.add_host(Role::Manager).await;
        let host = &cluster.hosts[0];
        let reserve = v1::ReserveRaftId { node_id: convert::id_bytes(host.node_id), address: host.address.clone() };
        let ops =
            vec![v1::op::Op::InitCluster(cluster.object()), v1::op::Op::CreateNode(host.object()), v1::op::Op::ReserveRaftId(reserve)];
        let init = cluster.txn(ops);
        let host = &mut cluster.hosts[0];
        let consensus = Consensus::bootstrap(host.options(), Arc::clone(&host.identity), &host.gate, init).await.unwrap();
        host.consensus = Some(consensus);
        cluster
    }

    /// Adds a host that serves its port and is no manager yet.
    pub async fn add_host(&mut self, role: Role) -> usize {
        let number = u8::try_from(self.hosts.len() + 1).unwrap();
        let node_id = NodeId::from_bytes([number; 16]);
        let key = NodeKey::generate().unwrap();
        let requested = RequestedKey::from_request(&key.certificate_request().unwrap()).unwrap();
        let subject = Subject { node_id, role, cluster_id: self.id };
        let certificate = self.authority.issue(&requested, subject, Duration::from_secs(86_400), SystemTime::now()).unwrap();
        let roots = self.authority.roots().unwrap();
        let key_digest = requested.digest();
        let identity = Arc::new(Identity::new(Membership { key, certificate, roots }).unwrap());
        let mut host = Host {
            node_id,
            address: "127.0.0.1:0".to_owned(),
            identity,
            directory: self.directory.path().join(format!("h{number}/raft")),
            key_digest: key_digest.as_ref().try_into().unwrap(),
            timing: self.timing,
            disk: self.disk,
            gate: RaftGate::new(),
            consensus: None,
            server: None,
        };
        host.serve().await;
        self.hosts.push(host);
        self.hosts.len() - 1
    }

    /// One more manager, as a learner that has caught up.
    pub async fn join(&mut self) -> usize {
        let added = self.add_host(Role::Manager).await;
        let create = v1::op::Op::CreateNode(self.hosts[added].object());
        self.running().propose(self.txn(vec![create])).await.unwrap();
        let managers: Vec<String> = self.hosts[..added].iter().map(|host| host.address.clone()).collect();
        let host = &mut self.hosts[added];
        let joined = Consensus::join(host.options(), Arc::clone(&host.identity), &host.gate, &managers).await.unwrap();
        host.consensus = Some(joined);
        added
    }

    /// Gives every participant a vote.
    pub async fn all_vote(&self) {
        let leader = &self.hosts[self.leader().await];
        let raft_ids: BTreeSet<u64> = leader.consensus().membership().participants.iter().map(|p| p.raft_id).collect();
        leader.consensus().set_voters(raft_ids).await.unwrap();
    }

    /// Waits until one of the running managers leads, and gives its position.
    pub async fn leader(&self) -> usize {
        let since = Instant::now();
        loop {
            let leads = |host: &Host| host.consensus.as_ref().is_some_and(|c| *c.is_leader().borrow());
            if let Some(position) = self.hosts.iter().position(leads) {
                return position;
            }
            assert!(since.elapsed() < DEADLINE, "nobody leads");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub fn running(&self) -> &Consensus {
        self.hosts.iter().find_map(|host| host.consensus.as_ref()).expect("a manager runs")
    }

    /// A transaction with an id of its own.
    pub fn txn(&self, ops: Vec<v1::op::Op>) -> v1::Txn {
        let number = self.next_txn.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut id = [0x55; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        let ops = ops.into_iter().map(|op| v1::Op { op: Some(op) }).collect();
        v1::Txn { id: Bytes::copy_from_slice(&id), time_ms: 1_700_000_000_000, preconditions: Vec::new(), ops }
    }

    /// A transaction that creates a network of this name.
    pub fn network(&self, name: &str) -> v1::Txn {
        let number = self.next_txn.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut id = [0x66; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        let spec = v1::NetworkSpec { name: name.to_owned(), driver: "overlay".to_owned(), attachable: true, ..v1::NetworkSpec::default() };
        let network = v1::Network { id: Bytes::copy_from_slice(&id), spec: Some(spec), ..v1::Network::default() };
        self.txn(vec![v1::op::Op::CreateNetwork(network)])
    }

    fn object(&self) -> v1::Cluster {
        let prefix = |text: &str| Some(convert::prefix_to_wire(text.parse().unwrap()));
        v1::Cluster {
            id: convert::id_bytes(self.id),
            epoch: 1,
            feature_level: 1,
            default_address_pools: prefix("10.0.0.0/8").into_iter().collect(),
            subnet_length: 24,
            ipv6_pool: prefix("fd00:1:2::/48"),
            vtep_pool: prefix("100.96.0.0/12"),
            data_path_port: 4789,
            encrypted_port: 51820,
            certificate_life_s: 86_400,
            ..v1::Cluster::default()
        }
    }
}

impl Host {
    pub fn consensus(&self) -> &Consensus {
        self.consensus.as_ref().expect("this manager runs")
    }

    pub fn options(&self) -> RaftOptions {
        let usual = RaftOptions::new(&self.directory, self.node_id, &self.address);
        RaftOptions { timing: self.timing, disk: self.disk, ..usual }
    }

    pub fn object(&self) -> v1::Node {
        let description = v1::NodeDescription {
            hostname: format!("h{}", self.node_id.to_bytes()[0]),
            feature_level: 1,
            control_address: self.address.clone(),
            ..v1::NodeDescription::default()
        };
        v1::Node {
            id: convert::id_bytes(self.node_id),
            role: v1::Role::Manager.into(),
            description: Some(description),
            public_key_digest: Bytes::copy_from_slice(&self.key_digest),
            ..v1::Node::default()
        }
    }

    /// Serves the gate at the host's address; picks a port the first time.
    pub async fn serve(&mut self) {
        let listener = TcpListener::bind(&self.address).await.unwrap();
        self.address = listener.local_addr().unwrap().to_string();
        let (stop, stopped) = oneshot::channel::<()>();
        let (identity, routes) = (Arc::clone(&self.identity), Routes::new(self.gate.service()));
        let server = tokio::spawn(async move {
            rcon_rpc::serve(listener, identity, routes, async { drop(stopped.await) }).await.unwrap();
        });
        self.server = Some((stop, server));
    }

    /// Takes the manager off the network and stops it without handing anything over, as a power-off that keeps the disk would.
    pub async fn kill(&mut self) {
        if let Some((stop, server)) = self.server.take() {
            server.abort();
            drop((stop, server.await));
        }
        if let Some(consensus) = self.consensus.take() {
            // The connections it has are cut with the gate; nothing it says is heard any more.
            consensus.abandon().await;
        }
    }

    /// Stops the manager in good order.
    pub async fn stop(&mut self) {
        if let Some(consensus) = self.consensus.take() {
            consensus.shutdown().await;
        }
        if let Some((stop, server)) = self.server.take() {
            drop(stop);
            server.abort();
            drop(server.await);
        }
    }

    /// Starts it again from its directory.
    pub async fn start(&mut self) {
        self.serve().await;
        let opened = Consensus::open(self.options(), Arc::clone(&self.identity), &self.gate).await;
        self.consensus = Some(opened.unwrap());
    }
}

/// Waits for a condition.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(since.elapsed() < DEADLINE, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
