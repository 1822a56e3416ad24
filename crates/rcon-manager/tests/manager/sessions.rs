//! Nodes and their sessions.

use std::time::Duration;

use rcon_proto::{
    assignments::apply_delta,
    convert,
    v1::{self, session_down::Down, session_up::Up},
};
use rcon_rpc::tonic::Streaming;
use rcon_types::{EndpointId, FailureKind, NodeId, NodeState};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;

use crate::cluster::{DEADLINE, Host, Member, description, eventually, failure};

/// A node's end of a session, with the set that it has.
struct Session {
    up: mpsc::Sender<v1::SessionUp>,
    down: Streaming<v1::SessionDown>,
    set: v1::Assignments,
}

fn up(up: Up) -> v1::SessionUp {
    v1::SessionUp { up: Some(up) }
}

impl Session {
    async fn open(member: &Member, hello: v1::Hello) -> Self {
        let (sender, receiver) = mpsc::channel(8);
        sender.send(up(Up::Hello(hello))).await.unwrap();
        let down = member.sessions().session(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        Self { up: sender, down, set: v1::Assignments::default() }
    }

    async fn beat(&self) {
        self.up.send(up(Up::Beat(v1::Beat { applied_revision: self.set.revision }))).await.unwrap();
    }

    /// The next message; beats whenever the manager says that it lives.
    async fn next(&mut self) -> Down {
        let message = timeout(DEADLINE, self.down.message()).await.expect("nothing came").unwrap().expect("the stream ended");
        let down = message.down.unwrap();
        match &down {
            Down::Full(full) => self.set = full.clone(),
            Down::Delta(delta) => self.set = apply_delta(std::mem::take(&mut self.set), delta.clone()).unwrap(),
            Down::Alive(_) => self.beat().await,
            Down::Removed(_) => {}
        }
        down
    }

    /// Takes messages in until the set is as it must be.
    async fn until(&mut self, what: &str, holds: impl Fn(&v1::Assignments) -> bool) {
        let all = async {
            while !holds(&self.set) {
                self.next().await;
            }
        };
        assert!(timeout(DEADLINE, all).await.is_ok(), "not within {DEADLINE:?}: {what}");
    }
}

fn state_of(host: &Host, node: NodeId) -> NodeState {
    host.state().node(node).map_or(NodeState::Unknown, |n| convert::node_state(n.state))
}

fn attach(id: u8, name: &str) -> v1::AttachRequest {
    v1::AttachRequest {
        network: "backend".to_owned(),
        endpoint_id: vec![id; 16].into(),
        container_id: "c".repeat(64),
        name: name.to_owned(),
        ..Default::default()
    }
}

async fn with_network(host: &Host, attachable: bool) {
    let spec = v1::NetworkSpec { name: "backend".to_owned(), attachable, encrypted: true, ..Default::default() };
    host.control().create_network(v1::CreateNetworkRequest { spec: Some(spec) }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_gets_its_set_and_then_what_changes() {
    let host = Host::init().await;
    with_network(&host, true).await;
    let (two, three) = (host.join("h2", &host.worker_token).await.unwrap(), host.join("h3", &host.worker_token).await.unwrap());
    let mut session = Session::open(&two, v1::Hello::default()).await;
    session.until("the full set", |set| set.node.is_some()).await;
    assert_eq!(session.set.node.as_ref().unwrap().id, two.node_id().to_bytes().as_slice());
    assert!(session.set.networks.is_empty() && session.set.managers.len() == 1);
    host.until("h2 is ready", |_| state_of(&host, two.node_id()) == NodeState::Ready).await;

    let mine = two.sessions().attach(attach(1, "web")).await.unwrap().into_inner();
    assert_eq!(mine.endpoint.as_ref().unwrap().ipv4, [10, 0, 0, 2].as_slice());
    session.until("its own endpoint", |set| set.revision >= mine.revision && set.networks.len() == 1).await;
    assert_eq!(session.set.networks[0].mtu, 1370);
    let theirs = three.sessions().attach(attach(2, "db")).await.unwrap().into_inner();
    session.until("the other node's endpoint", |set| set.networks[0].endpoints.len() == 2 && set.peers.len() == 2).await;
    assert_eq!(session.set.networks[0].endpoints.iter().filter(|e| e.name == "db").count(), 1);

    three.sessions().detach(v1::DetachRequest { endpoint_ids: vec![theirs.endpoint.unwrap().id] }).await.unwrap();
    session.until("the other node's endpoint gone", |set| set.networks[0].endpoints.len() == 1 && set.peers.len() == 1).await;

    let view = eventually("the node's applied revision is seen", || async {
        session.beat().await;
        let view = host.control().inspect_network(v1::NetworkReference { network: "backend".to_owned() }).await.unwrap().into_inner();
        (view.applied_revisions == [session.set.revision] || view.applied_revisions.first().is_some_and(|r| *r > session.set.revision))
            .then_some(view)
    })
    .await;
    assert_eq!((view.endpoints.len(), view.nodes.len()), (1, 1));
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attaching_is_idempotent_and_names_are_unique() {
    let host = Host::init().await;
    with_network(&host, true).await;
    let (two, three) = (host.join("h2", &host.worker_token).await.unwrap(), host.join("h3", &host.worker_token).await.unwrap());
    let first = two.sessions().attach(attach(1, "web")).await.unwrap().into_inner();
    let again = two.sessions().attach(attach(1, "web")).await.unwrap().into_inner();
    assert_eq!((&again.endpoint, again.revision), (&first.endpoint, first.revision));
    assert_eq!(failure(three.sessions().attach(attach(1, "web")).await).kind, FailureKind::AlreadyExists);
    let taken = failure(three.sessions().attach(attach(2, "web")).await);
    assert_eq!(taken.kind, FailureKind::AlreadyExists);
    assert!(taken.message.contains("`web` is taken on network `backend`") && taken.message.contains("h2"), "{taken}");
    let unknown = v1::AttachRequest { network: "nowhere".to_owned(), ..attach(3, "x") };
    assert_eq!(failure(three.sessions().attach(unknown).await).kind, FailureKind::NotFound);

    let id = first.endpoint.unwrap().id;
    let foreign = failure(three.sessions().detach(v1::DetachRequest { endpoint_ids: vec![id.clone()] }).await);
    assert_eq!(foreign.kind, FailureKind::PermissionDenied);
    let in_use = failure(host.control().remove_network(v1::NetworkReference { network: "backend".to_owned() }).await);
    assert!(in_use.message.contains("`web` on h2"), "{in_use}");
    for _ in 0..2 {
        two.sessions().detach(v1::DetachRequest { endpoint_ids: vec![id.clone()] }).await.unwrap();
    }
    assert!(host.state().endpoint(EndpointId::from_bytes([1; 16])).is_none());
    let found = three.sessions().find_network(v1::FindNetworkRequest { network: "backend".to_owned() }).await.unwrap().into_inner();
    assert!(found.network.unwrap().spec.unwrap().encrypted);
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_not_attachable_takes_no_container() {
    let host = Host::init().await;
    with_network(&host, false).await;
    let two = host.join("h2", &host.worker_token).await.unwrap();
    let refused = failure(two.sessions().attach(attach(1, "web")).await);
    assert_eq!(refused.kind, FailureKind::FailedPrecondition);
    assert!(refused.hint.unwrap().contains("--attachable"));
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_falls_silent_is_down_and_ready_again_when_it_returns() {
    let host = Host::init().await;
    let two = host.join("h2", &host.worker_token).await.unwrap();
    let session = Session::open(&two, v1::Hello::default()).await;
    host.until("h2 is ready", |_| state_of(&host, two.node_id()) == NodeState::Ready).await;
    // It neither beats nor closes the stream, as a frozen host would.
    host.until("h2 is down", |_| state_of(&host, two.node_id()) == NodeState::Down).await;
    drop(session);
    let _session = Session::open(&two, v1::Hello::default()).await;
    host.until("h2 is ready again", |_| state_of(&host, two.node_id()) == NodeState::Ready).await;
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_says_of_itself_reaches_the_state() {
    let host = Host::init().await;
    let two = host.join("h2", &host.worker_token).await.unwrap();
    let mut described = v1::NodeDescription { kernel: "6.18".to_owned(), ..description("h2", &host.address) };
    let hello = v1::Hello { description: Some(described.clone()), ..Default::default() };
    let session = Session::open(&two, hello).await;
    let kernel = |state: &rcon_state::State| state.node(two.node_id()).unwrap().description.clone().unwrap().kernel;
    host.until("the hello's description", |state| kernel(state) == "6.18").await;
    described.kernel = "6.19".to_owned();
    session.up.send(up(Up::Description(described))).await.unwrap();
    host.until("the later description", |state| kernel(state) == "6.19").await;
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_node_is_told_and_stays_out() {
    let host = Host::init().await;
    let two = host.join("h2", &host.worker_token).await.unwrap();
    let mut session = Session::open(&two, v1::Hello::default()).await;
    session.until("the full set", |set| set.node.is_some()).await;
    host.until("h2 is ready", |_| state_of(&host, two.node_id()) == NodeState::Ready).await;
    let up_still = failure(host.control().remove_node(v1::RemoveNodeRequest { node: "h2".to_owned(), force: false }).await);
    assert!(up_still.message.contains("is up"), "{up_still}");
    host.control().remove_node(v1::RemoveNodeRequest { node: "h2".to_owned(), force: true }).await.unwrap();
    while !matches!(session.next().await, Down::Removed(_)) {}

    let mut again = Session::open(&two, v1::Hello::default()).await;
    assert!(matches!(again.next().await, Down::Removed(_)));
    assert!(timeout(DEADLINE, again.down.message()).await.unwrap().is_err());
    let refused = failure(two.sessions().attach(attach(1, "web")).await);
    assert_eq!(refused.kind, FailureKind::PermissionDenied);
    assert!(refused.message.contains("was removed"), "{refused}");
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_leaves_by_itself_and_administers_nothing() {
    let host = Host::init().await;
    let two = host.join("h2", &host.worker_token).await.unwrap();
    let refused = failure(two.control().list_nodes(v1::ListNodesRequest::default()).await);
    assert_eq!(refused.kind, FailureKind::PermissionDenied);
    assert!(refused.hint.unwrap().contains(&format!("h1 ({})", host.address)));
    two.sessions().leave(v1::LeaveRequest { force: false }).await.unwrap();
    assert!(host.state().node(two.node_id()).is_none() && host.state().is_tombstoned(two.node_id()));
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_does_not_begin_with_a_hello_is_ended() {
    let host = Host::init().await;
    let two = host.join("h2", &host.worker_token).await.unwrap();
    let (sender, receiver) = mpsc::channel(8);
    sender.send(up(Up::Beat(v1::Beat::default()))).await.unwrap();
    let mut down = two.sessions().session(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    let status = timeout(Duration::from_secs(5), down.message()).await.unwrap().unwrap_err();
    assert_eq!(rcon_rpc::status_to_failure(status).kind, FailureKind::InvalidArgument);
    host.shutdown().await;
}
