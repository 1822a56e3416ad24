//! `attach`: from the request to connect a running container to a network, to the first reply that a container on another host
//! gets from it.
//!
//! The prober sends a probe every millisecond from before the request; the clock starts before `rconctl network connect` is
//! started, so the start of that program is in the number. By turns the prober knows the address, or only the name.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::probe::{Probe, Target};
use super::report::quantile;
use super::site::{IMAGE, Site};
use super::{Effort, Row};

const NETWORK: &str = "attach";
const SUBNET: &str = "10.77.0.0/24";
/// Addresses are taken by turns, so that what a host remembers of the one before does not help.
const FIRST_ADDRESS: u8 = 20;
const ADDRESSES: usize = 200;
/// A container is reachable, or the bench has failed.
const REACHABLE: Duration = Duration::from_secs(10);

/// Connects and disconnects a container of h2, probed from one of h1.
pub fn run(effort: Effort) -> anyhow::Result<Vec<Row>> {
    let site = Site::managers(3)?;
    site.run("h1", &["network", "create", "--driver", "overlay", "--opt", "encrypted", "--attachable", "--subnet", SUBNET, NETWORK])?;
    for (host, name, network) in [("h1", "prober", NETWORK), ("h2", "target", "none")] {
        site.import_image(host)?;
        let mut words = vec!["run", "-d", "--name", name, "--network", network];
        words.extend([IMAGE, "sleep", "100000"]);
        site.run(host, &words)?;
    }
    let mut by_address = Vec::new();
    let mut by_name = Vec::new();
    for number in 0..effort.of(200, 20) {
        let address = Ipv4Addr::new(10, 77, 0, FIRST_ADDRESS + (number % ADDRESSES) as u8);
        let (target, runs) = match number % 2 {
            0 => (Target::Address(address), &mut by_address),
            _ => (Target::Name("target".into()), &mut by_name),
        };
        runs.push(attach(&site, address, target)?.as_secs_f64() * 1e3);
        ensure!(!rcon_lab::wait::interrupted(), "interrupted");
    }
    let mut rows = Vec::new();
    let all = [by_address.clone(), by_name.clone()].concat();
    for (suffix, how, runs) in [("", "by address and by name", all), (".address", "by address", by_address), (".name", "by name", by_name)]
    {
        for (id, part) in [("p50", 0.5), ("p99", 0.99)] {
            let what = format!("`network connect` to the first reply to a probe from another host, {how}, {id}");
            rows.push(Row::new(&format!("attach.{id}{suffix}"), &what, "ms", runs.clone()).showing(quantile(&runs, part)));
        }
    }
    Ok(rows)
}

fn attach(site: &Site, address: Ipv4Addr, target: Target) -> anyhow::Result<Duration> {
    let probe = Probe::start(site.network_of("h1", "prober")?, target, REACHABLE)?;
    let begin = Instant::now();
    site.run("h2", &["network", "connect", "--ip", &address.to_string(), NETWORK, "target"])?;
    let took = probe.first_reply()?.saturating_duration_since(begin);
    site.run("h2", &["network", "disconnect", NETWORK, "target"])?;
    Ok(took)
}
