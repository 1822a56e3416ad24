//! Three managers: who leads, who votes, who serves whom, and how one goes.

use std::time::Duration;

use rcon_proto::{
    convert,
    v1::{self, session_up::Up},
};
use rcon_rpc::{Channel, tonic, v1::node_session_client::NodeSessionClient};
use rcon_types::{NodeId, NodeState};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_stream::wrappers::ReceiverStream;

use crate::cluster::{DEADLINE, Host, eventually};

/// A node's session that only beats, until it is dropped.
struct Beating(JoinHandle<()>);

impl Drop for Beating {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn up(up: Up) -> v1::SessionUp {
    v1::SessionUp { up: Some(up) }
}

/// Opens a session over a channel and beats on it four times as often as it must.
fn beating(channel: Channel) -> Beating {
    Beating(tokio::spawn(async move {
        let (sender, receiver) = mpsc::channel(8);
        sender.send(up(Up::Hello(v1::Hello::default()))).await.unwrap();
        let mut down = NodeSessionClient::new(channel).session(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        let mut beat = tokio::time::interval(Duration::from_millis(250));
        loop {
            tokio::select! {
                _ = beat.tick() => if sender.send(up(Up::Beat(v1::Beat { applied_revision: 7 }))).await.is_err() { return },
                message = down.message() => if !matches!(message, Ok(Some(_))) { return },
            }
        }
    }))
}

fn state_of(host: &Host, node: NodeId) -> NodeState {
    host.state().node(node).map_or(NodeState::Unknown, |n| convert::node_state(n.state))
}

async fn ranks(host: &Host) -> Vec<(String, v1::ManagerRank)> {
    let nodes = host.control().list_nodes(v1::ListNodesRequest { stale: false }).await.unwrap().into_inner().nodes;
    nodes.iter().map(|view| (view.node.clone().unwrap().description.unwrap().hostname, view.rank())).collect()
}

/// h1 leads; h2 and h3 vote; each has a session with itself.
struct Three {
    hosts: [Host; 3],
    _beats: [Beating; 3],
}

impl Three {
    async fn new() -> Self {
        let one = Host::init().await;
        let two = one.join_as_manager("h2").await;
        let three = one.join_as_manager("h3").await;
        let hosts = [one, two, three];
        let beats = [0, 1, 2].map(|n| beating(hosts[n].at(&hosts[n])));
        let vote = |host: &Host| host.manager.as_ref().unwrap().consensus().membership().voters().len() == 3;
        eventually("three vote", || async { hosts.iter().all(vote).then_some(()) }).await;
        for host in &hosts {
            hosts[0].until("all are ready", |_| state_of(&hosts[0], host.node_id()) == NodeState::Ready).await;
        }
        Self { hosts, _beats: beats }
    }

    async fn shutdown(self) {
        for host in self.hosts {
            host.shutdown().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_managers_vote_and_any_of_them_answers() {
    let cluster = Three::new().await;
    for host in &cluster.hosts {
        let ranks = ranks(host).await;
        let expected = [("h1", v1::ManagerRank::Leader), ("h2", v1::ManagerRank::Reachable), ("h3", v1::ManagerRank::Reachable)];
        assert_eq!(ranks, expected.map(|(name, rank)| (name.to_owned(), rank)));
    }
    // A node that is served by one manager is seen from another, which asks the leader.
    let [one, two, three] = &cluster.hosts;
    let worker = one.join("w", &one.worker_token).await.unwrap();
    let beat = beating(connect_to(&worker, three));
    one.until("the worker is ready", |_| state_of(one, worker.node_id()) == NodeState::Ready).await;
    eventually("h2 knows what h3 hears", || async {
        let view = two.control().inspect_node(v1::NodeReference { node: "w".to_owned() }).await.unwrap().into_inner();
        (view.last_beat_ms > 0 && view.applied_revision >= 7).then_some(())
    })
    .await;
    drop(beat);
    let made = two.control().create_network(network("from-a-follower")).await.unwrap().into_inner().network.unwrap();
    assert_eq!(made.vni, 4096);
    cluster.shutdown().await;
}

fn connect_to(member: &crate::cluster::Member, host: &Host) -> Channel {
    rcon_rpc::connect(&host.address, &member.identity, Some(host.node_id())).unwrap()
}

fn network(name: &str) -> v1::CreateNetworkRequest {
    v1::CreateNetworkRequest { spec: Some(v1::NetworkSpec { name: name.to_owned(), ..Default::default() }) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_leader_and_of_a_nodes_manager_writes_nothing_for_nodes_that_beat() {
    let cluster = Three::new().await;
    let [one, two, three] = &cluster.hosts;
    let worker = one.join("w", &one.worker_token).await.unwrap();
    let first = beating(connect_to(&worker, three));
    one.until("the worker is ready", |_| state_of(one, worker.node_id()) == NodeState::Ready).await;
    let version = |host: &Host| host.state().node(worker.node_id()).unwrap().version;
    let before = version(one);

    three.control().transfer_leader(v1::NodeReference { node: "h2".to_owned() }).await.unwrap();
    assert_eq!(ranks(three).await[1], ("h2".to_owned(), v1::ManagerRank::Leader));
    drop(first);
    let second = beating(connect_to(&worker, one));
    // Longer than the grace of a new leader and the silence together.
    let changed = two.manager.as_ref().unwrap().consensus().revision().wait_for(|_| version(two) != before).await_for(10).await;
    assert!(!changed, "the worker's record was written");
    assert_eq!(state_of(two, worker.node_id()), NodeState::Ready);

    drop(second);
    two.until("the worker is down", |_| state_of(two, worker.node_id()) == NodeState::Down).await;
    cluster.shutdown().await;
}

/// Whether something came to pass within some seconds.
trait AwaitFor {
    async fn await_for(self, seconds: u64) -> bool;
}

impl<F: Future> AwaitFor for F {
    async fn await_for(self, seconds: u64) -> bool {
        timeout(Duration::from_secs(seconds), self).await.is_ok()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demoted_leader_hands_over_and_leaves_raft() {
    let cluster = Three::new().await;
    let [one, two, _] = &cluster.hosts;
    let demote = v1::UpdateNodeRequest { node: "h1".to_owned(), role: Some(v1::Role::Worker.into()), ..Default::default() };
    one.control().update_node(demote).await.unwrap();
    two.until("h1 has left Raft", |state| state.node(one.node_id()).unwrap().manager.is_none()).await;
    let ranks = eventually("one leads", || async {
        let ranks = ranks(two).await;
        ranks.iter().any(|(_, rank)| *rank == v1::ManagerRank::Leader).then_some(ranks)
    })
    .await;
    assert_eq!(ranks[0], ("h1".to_owned(), v1::ManagerRank::None));
    // Two managers are left: one votes, the other is its warm spare.
    eventually("one voter is left", || async {
        (two.manager.as_ref().unwrap().consensus().membership().voters().len() == 1).then_some(())
    })
    .await;
    two.control().create_network(network("after")).await.unwrap();
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_leaves_by_force_is_seen_out_by_another() {
    let cluster = Three::new().await;
    let [one, _, three] = &cluster.hosts;
    let mut own = NodeSessionClient::new(three.at(three));
    let unforced = own.leave(v1::LeaveRequest { force: false }).await.unwrap_err();
    assert!(unforced.message().contains("is a manager"), "{unforced}");
    own.leave(v1::LeaveRequest { force: true }).await.unwrap();
    assert!(one.state().node(three.node_id()).is_none() && one.state().is_tombstoned(three.node_id()));
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_is_removed_by_force_alone_and_never_below_a_quorum() {
    let Three { hosts: [one, two, three], _beats } = Three::new().await;
    let remove = |node: &str, force| v1::RemoveNodeRequest { node: node.to_owned(), force };
    let kind = |outcome: Result<_, tonic::Status>| rcon_rpc::status_to_failure(outcome.map(|_: tonic::Response<_>| ()).unwrap_err());
    assert!(kind(one.control().remove_node(remove("h3", false)).await).message.contains("is a manager"));

    let gone = three.node_id();
    three.shutdown().await;
    eventually("h3 does not answer", || async {
        let seen = ranks(&one).await;
        (seen[2].1 == v1::ManagerRank::Unreachable).then_some(())
    })
    .await;
    let living = kind(one.control().remove_node(remove("h2", true)).await);
    assert!(living.message.contains("no quorum: h3"), "{living}");
    one.control().remove_node(remove("h3", true)).await.unwrap();
    assert!(one.state().is_tombstoned(gone));
    timeout(DEADLINE, two.shutdown()).await.unwrap();
    one.shutdown().await;
}
