//! Hosts become a cluster.

use std::time::Duration;

use anyhow::ensure;

use super::Step;
use super::story::Story;

/// How long a node may take to be seen by all.
const SETTLED: Duration = Duration::from_secs(20);

/// One host is a cluster of its own.
pub const FIRST_MANAGER: &[Step] = &[Step {
    title: "cluster begun",
    about: "h1 makes a certificate authority, an identity for itself and a Raft log, and leads a cluster of one.",
    run: begin,
}];

/// The others join as managers.
pub const THREE_MANAGERS: &[Step] = &[Step {
    title: "three managers",
    about: "h2 and h3 check the authority's fingerprint in the token before they send its secret; then each gets a certificate and becomes a voter.",
    run: join,
}];

fn begin(story: &mut Story<'_>) -> anyhow::Result<String> {
    story.on("h1", "rconctl swarm init --advertise-addr 10.99.0.11")?;
    story.on("h1", "rconctl node ls")?;
    let nodes = story.nodes("h1")?;
    ensure!(nodes == [["h1", "Ready", "Leader"]], "{nodes:?}");
    Ok("one node, ready, leading".into())
}

fn join(story: &mut Story<'_>) -> anyhow::Result<String> {
    let token = story.on("h1", "rconctl swarm join-token --quiet manager")?;
    for host in ["h2", "h3"] {
        story.on(host, &format!("rconctl swarm join --token {token} 10.99.0.11:2377"))?;
    }
    for host in ["h1", "h2", "h3"] {
        story.wait_until_whole(host, SETTLED)?;
    }
    story.on("h3", "rconctl node ls")?;
    Ok("three nodes, ready, and every one of them says so".into())
}
