//! Three managers: joining, and what the cluster does without one of them.

use std::time::{Duration, Instant};

use anyhow::ensure;
use rcon_tests::{Cluster, eventually, eventually_within, machine_can};

/// The longest that a write may be refused after the leader is gone (the bench aims at a second).
const NEXT_WRITE: Duration = Duration::from_secs(10);

fn create(cluster: &Cluster, host: &str, name: &str) -> anyhow::Result<String> {
    cluster.rconctl(host).run(&["network", "create", "--driver", "overlay", "--attachable", name])
}

fn has_network(cluster: &Cluster, host: &str, name: &str) -> anyhow::Result<()> {
    let networks = cluster.rconctl(host).rows(&["network", "ls"])?;
    ensure!(networks.iter().any(|network| network["Name"] == name), "{host} has {networks:?}");
    Ok(())
}

#[test]
fn three_hosts_join_and_what_one_writes_all_read() {
    if !machine_can() {
        return;
    }
    let cluster = Cluster::up(3);
    create(&cluster, "h3", "backend").unwrap();
    for host in ["h1", "h2", "h3"] {
        eventually("the network is known", || has_network(&cluster, host, "backend"));
    }
}

#[test]
fn a_wrong_token_is_refused_and_the_right_one_still_serves() {
    if !machine_can() {
        return;
    }
    let cluster = Cluster::hosts(2);
    cluster.init();
    let token = cluster.rconctl("h1").run(&["swarm", "join-token", "--quiet", "worker"]).unwrap();
    let parts: Vec<&str> = token.split('-').collect();
    let secret: String = parts[3].chars().rev().collect();
    for wrong in [format!("{}-{secret}", parts[..3].join("-")), "RCTKN-1-x-y".to_owned(), "nonsense".to_owned()] {
        let complaint = cluster.rconctl("h2").fail(&["swarm", "join", "--token", &wrong, "10.99.0.11:2377"]).unwrap();
        assert!(complaint.contains("hint:"), "{wrong}: {complaint}");
    }
    cluster.join("h2", "worker");
    assert_eq!(
        eventually("both are ready", || {
            let nodes = cluster.rconctl("h1").nodes()?;
            ensure!(nodes.iter().all(|node| node.status == "Ready") && nodes.len() == 2, "{nodes:?}");
            Ok(nodes[1].manager.clone())
        }),
        ""
    );
}

#[test]
fn a_worker_refuses_to_administer_and_names_the_managers() {
    if !machine_can() {
        return;
    }
    let cluster = Cluster::hosts(2);
    cluster.init();
    cluster.join("h2", "worker");
    let complaint = cluster.rconctl("h2").fail(&["node", "ls"]).unwrap();
    assert!(complaint.contains("hint:") && complaint.contains("10.99.0.11"), "{complaint}");
}

#[test]
fn after_the_leader_was_killed_the_next_write_is_accepted_and_nothing_is_lost() {
    if !machine_can() {
        return;
    }
    let cluster = Cluster::up(3);
    create(&cluster, "h1", "before").unwrap();
    let leader = cluster.rconctl("h1").leader().unwrap();
    let others: Vec<&str> = ["h1", "h2", "h3"].into_iter().filter(|host| *host != leader).collect();
    cluster.lab.kill(&leader, None).unwrap();
    let killed = Instant::now();
    eventually_within(NEXT_WRITE, "the next write", || create(&cluster, others[0], "after"));
    eprintln!("the next write was accepted after {} ms", killed.elapsed().as_millis());
    cluster.lab.start(&leader).unwrap();
    cluster.wait_until_whole(3);
    for host in ["h1", "h2", "h3"] {
        for name in ["before", "after"] {
            eventually("nothing is lost", || has_network(&cluster, host, name));
        }
    }
}

#[test]
fn a_host_without_power_is_down_and_comes_back_with_what_was_written_meanwhile() {
    if !machine_can() {
        return;
    }
    let cluster = Cluster::up(3);
    cluster.lab.off("h1").unwrap();
    eventually("h1 is down", || {
        let nodes = cluster.rconctl("h2").nodes()?;
        ensure!(nodes[0].status == "Down" && nodes[0].manager == "Unreachable", "{nodes:?}");
        Ok(())
    });
    eventually_within(NEXT_WRITE, "a write without h1", || create(&cluster, "h3", "meanwhile"));
    cluster.lab.on("h1").unwrap();
    cluster.wait_until_whole(3);
    eventually("h1 has caught up", || has_network(&cluster, "h1", "meanwhile"));
}

#[test]
fn a_minority_refuses_writes_within_seconds_and_names_the_missing_peers() {
    if !machine_can() {
        return;
    }
    let cluster = Cluster::up(3);
    cluster.lab.off("h2").unwrap();
    cluster.lab.off("h3").unwrap();
    let complaint = eventually("a write is refused", || {
        let begin = Instant::now();
        let complaint = cluster.rconctl("h1").fail(&["network", "create", "--driver", "overlay", "lonely"])?;
        ensure!(begin.elapsed() < Duration::from_secs(4), "it took {} ms", begin.elapsed().as_millis());
        Ok(complaint)
    });
    assert!(
        complaint.contains("h2") && complaint.contains("h3") || complaint.contains("10.99.0.12") && complaint.contains("10.99.0.13"),
        "{complaint}"
    );
}

#[test]
fn leadership_moves_where_it_is_asked_to() {
    if !machine_can() {
        return;
    }
    let cluster = Cluster::up(3);
    for target in ["h3", "h2"] {
        cluster.rconctl("h1").run(&["node", "transfer-leader", target]).unwrap();
        eventually("the leader has changed", || {
            let leader = cluster.rconctl("h1").leader()?;
            ensure!(leader == target, "{leader} leads");
            Ok(())
        });
    }
}
