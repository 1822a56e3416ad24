//! Three managers over mutual TLS: what they agree on survives the leader, a restart and a repetition.

mod support;

use std::time::{Duration, Instant};

use rcon_proto::v1;
use rcon_raft::{Consensus, ProposeError, RaftError, Timing};
use rcon_types::{FailureKind, Role};
use support::{Cluster, eventually};

fn has(consensus: &Consensus, name: &str) -> bool {
    consensus.state().network_by_name(name).is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_proposed_on_any_manager_is_read_on_any_other() {
    let cluster = Cluster::new(3).await;
    for (position, host) in cluster.hosts.iter().enumerate() {
        let name = format!("n{position}");
        let applied = host.consensus().propose(cluster.network(&name)).await.unwrap();
        assert!(has(host.consensus(), &name), "the proposer has it at once");
        for other in &cluster.hosts {
            let state = other.consensus().read().await.unwrap();
            assert!(state.network_by_name(&name).is_some() && state.revision().0 >= applied.index, "a read elsewhere sees it");
        }
    }
    let digests: Vec<[u8; 32]> = cluster.hosts.iter().map(|host| host.consensus().state().digest()).collect();
    assert!(digests.iter().all(|digest| *digest == digests[0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejection_reaches_the_proposer_whole() {
    let cluster = Cluster::new(3).await;
    let follower = (cluster.leader().await + 1) % 3;
    for host in [&cluster.hosts[follower], &cluster.hosts[cluster.leader().await]] {
        let error = host.consensus().propose(cluster.network("bad name")).await.unwrap_err();
        assert!(matches!(&error, ProposeError::Rejected(rejected) if rejected.op == 0), "{error:?}");
        assert_eq!(error.failure().kind, FailureKind::InvalidArgument);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_is_proposed_twice_takes_effect_once() {
    let cluster = Cluster::new(3).await;
    let txn = cluster.network("once");
    let first = cluster.hosts[0].consensus().propose(txn.clone()).await.unwrap();
    let again = cluster.hosts[1].consensus().propose(txn.clone()).await.unwrap();
    assert_eq!(first, again);
    let (a, b) = tokio::join!(cluster.hosts[1].consensus().propose(txn.clone()), cluster.hosts[2].consensus().propose(txn));
    assert_eq!((a.unwrap(), b.unwrap()), (first.clone(), first));
    assert_eq!(cluster.hosts[0].consensus().read().await.unwrap().networks().count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_without_the_leader_and_it_comes_back_with_all_of_them() {
    let mut cluster = Cluster::new(3).await;
    cluster.hosts[0].consensus().propose(cluster.network("before")).await.unwrap();
    let leader = cluster.leader().await;
    cluster.hosts[leader].kill().await;
    let since = Instant::now();
    let other = (leader + 1) % 3;
    cluster.hosts[other].consensus().propose(cluster.network("without")).await.unwrap();
    eprintln!("the next write took {} ms after the leader was killed", since.elapsed().as_millis());
    assert!(cluster.hosts[other].consensus().read().await.unwrap().network_by_name("before").is_some());
    cluster.hosts[leader].start().await;
    let back = cluster.hosts[leader].consensus();
    assert!(has(back, "before"), "its own log is replayed before it answers");
    assert!(back.read().await.unwrap().network_by_name("without").is_some());
    back.propose(cluster.network("after")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stops_in_good_order_hands_over_first() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    cluster.hosts[leader].stop().await;
    let since = Instant::now();
    cluster.hosts[(leader + 1) % 3].consensus().propose(cluster.network("next")).await.unwrap();
    eprintln!("the next write took {} ms after the leader stopped", since.elapsed().as_millis());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_managers_may_stop_and_come_back_with_everything() {
    let mut cluster = Cluster::new(3).await;
    for n in 0..20 {
        cluster.hosts[n % 3].consensus().propose(cluster.network(&format!("n{n}"))).await.unwrap();
    }
    for host in &mut cluster.hosts {
        host.kill().await;
    }
    for host in &mut cluster.hosts {
        host.start().await;
    }
    for host in &cluster.hosts {
        assert_eq!(host.consensus().read().await.unwrap().networks().count(), 20);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_writes_and_reads_fail_within_two_seconds_and_name_who_is_missing() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    let (one, two) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.hosts[one].kill().await;
    cluster.hosts[two].kill().await;
    for _ in 0..2 {
        let since = Instant::now();
        let error = cluster.hosts[leader].consensus().propose(cluster.network("never")).await.unwrap_err();
        let ProposeError::NoQuorum { mut missing } = error else { panic!("{error:?}") };
        missing.sort();
        let mut expected = vec![format!("h{}", one + 1), format!("h{}", two + 1)];
        expected.sort();
        assert_eq!(missing, expected);
        assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    }
    let since = Instant::now();
    let error = cluster.hosts[leader].consensus().read().await.unwrap_err();
    assert!(matches!(error, RaftError::NoLeader { .. }), "{error:?}");
    assert!(since.elapsed() < Duration::from_secs(2));
    assert!(cluster.hosts[leader].consensus().state().cluster().is_some(), "stale reads go on");
    cluster.hosts[one].start().await;
    cluster.hosts[one].consensus().propose(cluster.network("again")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_without_a_quorum_names_who_is_missing_too() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    let (one, two) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.hosts[leader].kill().await;
    cluster.hosts[two].kill().await;
    let since = Instant::now();
    let error = cluster.hosts[one].consensus().propose(cluster.network("never")).await.unwrap_err();
    assert!(matches!(&error, ProposeError::NoQuorum { missing } if missing.len() == 2), "{error:?}");
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leadership_is_transferred_from_any_manager() {
    let cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    let (to, from) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.hosts[from].consensus().transfer_leader(cluster.hosts[to].node_id).await.unwrap();
    eventually("leading", || *cluster.hosts[to].consensus().is_leader().borrow()).await;
    assert_eq!(cluster.hosts[from].consensus().leader(), Some(cluster.hosts[to].node_id));
    cluster.hosts[from].consensus().propose(cluster.network("next")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn managers_leave_even_the_leader_but_never_the_quorum() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    let other = (leader + 1) % 3;
    let gone = cluster.hosts[leader].node_id;
    cluster.hosts[other].consensus().remove_manager(gone).await.unwrap();
    let view = cluster.hosts[cluster.leader().await].consensus().membership();
    assert_eq!((view.voters().len(), view.voters().contains(&gone)), (2, false));
    assert!(cluster.hosts[other].consensus().read().await.unwrap().node(gone).unwrap().manager.is_none());
    cluster.hosts[leader].kill().await;
    let now = cluster.leader().await;
    let rest = 3 - leader - now;
    cluster.hosts[rest].kill().await;
    let error = cluster.hosts[now].consensus().remove_manager(cluster.hosts[now].node_id).await.unwrap_err();
    assert!(!matches!(error, RaftError::Stopped { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn raft_ids_are_never_reused_and_a_node_rejoins_under_a_new_one() {
    let mut cluster = Cluster::new(3).await;
    let ids = |cluster: &Cluster| -> Vec<u64> { cluster.hosts.iter().map(|host| host.consensus().raft_id()).collect() };
    let before = ids(&cluster);
    let leaver = (cluster.leader().await + 1) % 3;
    let node = cluster.hosts[leaver].node_id;
    cluster.running().remove_manager(node).await.unwrap();
    cluster.hosts[leaver].consensus.take().unwrap().shutdown().await;
    std::fs::remove_dir_all(&cluster.hosts[leaver].directory).unwrap();
    let managers: Vec<String> = cluster.hosts.iter().map(|host| host.address.clone()).collect();
    let host = &mut cluster.hosts[leaver];
    let joined = Consensus::join(host.options(), host.identity.clone(), &host.gate, &managers).await.unwrap();
    host.consensus = Some(joined);
    let after = ids(&cluster);
    assert!(after[leaver] > *before.iter().max().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_is_not_taken_in() {
    let mut cluster = Cluster::new(1).await;
    let stranger = cluster.add_host(Role::Worker).await;
    let managers = vec![cluster.hosts[0].address.clone()];
    let host = &cluster.hosts[stranger];
    let error = Consensus::join(host.options(), host.identity.clone(), &host.gate, &managers).await.unwrap_err();
    assert_eq!(error.failure().kind, FailureKind::PermissionDenied, "{}", error.failure());
    // Nor is a node with a manager's certificate that the state does not know.
    let unknown = cluster.add_host(Role::Manager).await;
    let host = &cluster.hosts[unknown];
    let error = Consensus::join(host.options(), host.identity.clone(), &host.gate, &managers).await.unwrap_err();
    assert_eq!(error.failure().kind, FailureKind::NotFound, "{}", error.failure());
    assert!(!Consensus::exists(&host.directory));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_has_one_membership_and_planted_bugs_are_refused() {
    let mut cluster = Cluster::new(1).await;
    let host = &cluster.hosts[0];
    let error = Consensus::join(host.options(), host.identity.clone(), &host.gate, &[]).await.unwrap_err();
    assert!(matches!(error, RaftError::AlreadyMember { .. }), "{error:?}");
    cluster.hosts[0].stop().await;
    let host = &cluster.hosts[0];
    let mut options = host.options();
    options.planted.read_without_quorum = true;
    assert!(matches!(Consensus::open(options, host.identity.clone(), &host.gate).await, Err(RaftError::Options { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_hears_what_interests_its_node_and_nothing_else() {
    let cluster = Cluster::new(3).await;
    let consensus = cluster.hosts[1].consensus();
    let mut mailbox = consensus.subscribe(cluster.hosts[2].node_id);
    consensus.propose(cluster.network("quiet")).await.unwrap();
    assert!(mailbox.take().is_none(), "a network without endpoints interests nobody");
    let node = v1::SetNodeState {
        node_id: rcon_proto::convert::id_bytes(cluster.hosts[2].node_id),
        state: v1::NodeState::Ready.into(),
        message: String::new(),
    };
    let applied = consensus.propose(cluster.txn(vec![v1::op::Op::SetNodeState(node)])).await.unwrap();
    let changes = mailbox.changed().await;
    assert_eq!((changes.revision.0, changes.keys.len()), (applied.index, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_is_far_behind_gets_a_snapshot_and_the_log_stays_short() {
    let timing = Timing { snapshot_every: 40, entries_kept: 5, digest_every: 8, ..Timing::default() };
    let mut cluster = Cluster::with(3, timing).await;
    let behind = (cluster.leader().await + 1) % 3;
    cluster.hosts[behind].kill().await;
    for n in 0..150 {
        cluster.running().propose(cluster.network(&format!("n{n}"))).await.unwrap();
    }
    let mut mailbox = {
        cluster.hosts[behind].start().await;
        cluster.hosts[behind].consensus().subscribe(cluster.hosts[0].node_id)
    };
    let back = cluster.hosts[behind].consensus();
    assert_eq!(back.read().await.unwrap().networks().count(), 150);
    assert!(cluster.hosts[behind].directory.join("snapshot").exists());
    if let Some(changes) = mailbox.take() {
        assert!(changes.everything, "a snapshot changes everything");
    }
    for host in &cluster.hosts {
        host.consensus().propose(cluster.network(&format!("h{}", host.node_id))).await.unwrap();
    }
    for host in &mut cluster.hosts {
        host.kill().await;
        host.start().await;
    }
    for host in &cluster.hosts {
        assert_eq!(host.consensus().read().await.unwrap().networks().count(), 153);
        assert!(host.consensus().stopped().borrow().is_none(), "the digests of all managers agree");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_with_a_full_disk_refuses_proposals_and_says_whose_disk_it_is() {
    let mut cluster = Cluster::new(1).await;
    cluster.hosts[0].stop().await;
    cluster.hosts[0].disk.refuse_below_bytes = u64::MAX;
    cluster.hosts[0].disk.ballast_bytes = 0;
    cluster.hosts[0].start().await;
    cluster.leader().await;
    let error = cluster.running().propose(cluster.network("no")).await.unwrap_err();
    assert!(matches!(&error, ProposeError::Full { manager, .. } if *manager == cluster.hosts[0].address), "{error:?}");
    assert_eq!(error.failure().kind, FailureKind::ResourceExhausted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_speaks_for_another_cluster_epoch_or_manager() {
    let cluster = Cluster::new(2).await;
    let (speaker, hearer) = (&cluster.hosts[1], &cluster.hosts[0]);
    let channel = rcon_rpc::connect(&hearer.address.parse().unwrap(), &speaker.identity, Some(hearer.node_id)).unwrap();
    let mut client = rcon_rpc::v1::raft_client::RaftClient::new(channel);
    let ask = v1::VoteAsk { vote: Some(v1::Vote::default()), pre_vote: true, ..v1::VoteAsk::default() };
    let right = v1::RaftMessage {
        to: hearer.consensus().raft_id(),
        from: speaker.consensus().raft_id(),
        cluster_id: rcon_proto::convert::id_bytes(speaker.identity.cluster_id()),
        epoch: 1,
        payload: rcon_proto::Message::encode_to_vec(&ask).into(),
        digest: None,
    };
    client.vote(right.clone()).await.unwrap();
    let wrong = [
        v1::RaftMessage { from: hearer.consensus().raft_id(), ..right.clone() },
        v1::RaftMessage { from: 999, ..right.clone() },
        v1::RaftMessage { to: 999, ..right.clone() },
        v1::RaftMessage { epoch: 2, ..right.clone() },
        v1::RaftMessage { cluster_id: vec![1; 16].into(), ..right.clone() },
        v1::RaftMessage { payload: vec![0xff; 9].into(), ..right },
    ];
    for message in wrong {
        let kind = rcon_rpc::status_to_failure(client.vote(message.clone()).await.unwrap_err()).kind;
        let refused = [FailureKind::PermissionDenied, FailureKind::FailedPrecondition, FailureKind::InvalidArgument];
        assert!(refused.contains(&kind), "{message:?}: {kind:?}");
    }
}
