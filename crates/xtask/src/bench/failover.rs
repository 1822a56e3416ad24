//! `failover`: from the death of the leader's daemon to the next write that another manager accepts.
//!
//! The clock starts before SIGKILL is sent and stops when `rconctl network create` has succeeded; one attempt follows the other.
//! Nothing is subtracted: the start of each `rconctl` is in the number.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rcon_lab::process;

use super::report::quantile;
use super::site::Site;
use super::{Effort, Row};

/// How long a write may take before the bench gives up.
const NEXT_WRITE: Duration = Duration::from_secs(30);
/// A killed process, gone.
const GONE: Duration = Duration::from_secs(10);

/// Kills the leader of three managers again and again.
pub fn run(effort: Effort) -> anyhow::Result<Vec<Row>> {
    let site = Site::managers(3)?;
    let mut runs = Vec::new();
    for number in 0..effort.of(20, 3) {
        let leader = site.wait_until_whole()?;
        let took = kill_and_write(&site, &leader, number)?;
        eprintln!("kill {}: {leader}, {:.0} ms", number + 1, took.as_secs_f64() * 1e3);
        runs.push(took.as_secs_f64() * 1e3);
        site.lab.start(&leader)?;
    }
    let worst = quantile(&runs, 1.0);
    let what = "rcond of the leader killed to the next write accepted by another manager";
    Ok(vec![
        Row::new("failover.median", &format!("{what}, median"), "ms", runs.clone()),
        Row::new("failover.max", &format!("{what}, longest"), "ms", runs).showing(worst),
    ])
}

fn kill_and_write(site: &Site, leader: &str, number: usize) -> anyhow::Result<Duration> {
    let writer = if leader == "h1" { "h2" } else { "h1" };
    let init = site.init(leader)?;
    let running = process::in_pid_namespace_of(init)?;
    let daemon = running.iter().find(|one| one.pid != init && one.is_called("rcond")).context("the leader runs no rcond")?.pid;
    let begin = Instant::now();
    process::kill_pid(daemon, GONE)?;
    let mut failures = 0;
    loop {
        // A write whose answer was lost may have been accepted: each attempt has a name of its own.
        let name = format!("failover-{number}-{failures}");
        let attempt = site.run(writer, &["network", "create", "--driver", "overlay", &name]);
        let took = begin.elapsed();
        let Err(error) = attempt else {
            site.run(writer, &["network", "rm", &name])?;
            return Ok(took);
        };
        failures += 1;
        ensure!(took < NEXT_WRITE, "no write was accepted within {} s, {failures} attempts: {error:#}", NEXT_WRITE.as_secs());
        ensure!(!rcon_lab::wait::interrupted(), "interrupted");
    }
}
