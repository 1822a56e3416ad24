//! `overlay`: one TCP stream between containers on two hosts, through our overlays and through those of others, by turns.
//!
//! Two profiles of the underlay: `plain`, veth as it is, which passes UDP GSO buffers on unsegmented; and `nic`, where the hosts'
//! interfaces segment and merge as a network card would have it.

use anyhow::Context;

use super::path::{Endpoint, Measured, Path};
use super::peer::{self, BORINGTUN, WIREGUARD_GO, Wireguard};
use super::site::{IMAGE, Site};
use super::{Effort, Row};

const HOSTS: [&str; 2] = ["h1", "h2"];
/// Ours, among the paths.
const OURS: &str = "ours";
/// What makes a veth behave like a network card.
const LIKE_A_NIC: [&str; 11] =
    ["ethtool", "-K", "eth0", "tx-udp-segmentation", "off", "tso", "off", "gro", "on", "rx-udp-gro-forwarding", "on"];

/// All overlays between the same two hosts.
pub fn run(effort: Effort) -> anyhow::Result<Vec<Row>> {
    let site = Site::managers(3)?;
    for host in HOSTS {
        site.import_image(host)?;
    }
    let version = site.lab.run("h1", &["iperf3", "--version"])?.success()?;
    eprintln!("load: {}; iperf3 --client ADDRESS --time {} --json", version.lines().next().unwrap_or_default(), effort.of(5, 1));
    let plain = [
        Some(ours(&site, "plain", &[], None)?),
        opened("kernel-vxlan", peer::kernel_vxlan(&site).and_then(|ends| Path::open(&site, "kernel-vxlan", ends, None))),
        opened("veth", Path::open(&site, "veth", peer::hosts(), None)),
    ];
    let plain = Lanes::run(&site, &plain, effort);
    let mut encrypted = vec![Some(ours(&site, "encrypted", &["--opt", "encrypted"], Some("rcond tunnel"))?)];
    encrypted.extend(over(&site, "vxlan-wireguard-go", None, WIREGUARD_GO));
    encrypted.extend(over(&site, "vxlan-boringtun", Some("boringtun"), BORINGTUN));
    let on_veth = Lanes::run(&site, &encrypted, effort);
    for host in HOSTS {
        site.lab.run(host, &LIKE_A_NIC)?.success().context("could not make the hosts' interfaces like a network card")?;
    }
    let on_nic = Lanes::run(&site, &encrypted, effort);
    let mut rows = Vec::new();
    rows.extend(on_veth.rates("overlay.enc.tcp1", "encrypted, one TCP stream, veth underlay, median"));
    rows.extend(on_veth.costs("overlay.enc.tcp1.cpu", "the same, CPU of the processes that encrypt on both hosts, median"));
    rows.extend(on_nic.rates("overlay.enc.nic.tcp1", "encrypted, one TCP stream, underlay like a network card, median"));
    rows.extend(on_nic.costs("overlay.enc.nic.tcp1.cpu", "the same, CPU of the processes that encrypt on both hosts, median"));
    rows.extend(plain.rates("overlay.plain.tcp1", "plain, one TCP stream, veth underlay, median"));
    Ok(rows)
}

/// A network of ours with a container on each host.
fn ours(site: &Site, network: &str, options: &[&str], worker: Option<&str>) -> anyhow::Result<Path> {
    let create = [&["network", "create", "--driver", "overlay", "--attachable"], options, &[network]].concat();
    site.run("h1", &create)?;
    let mut ends = Vec::new();
    for host in HOSTS {
        let name = format!("{network}-{host}");
        site.run(host, &["run", "-d", "--name", &name, "--network", network, IMAGE, "sleep", "100000"])?;
        let pid = site.run(host, &["inspect", "--format", "{{.State.Pid}}", &name])?;
        let format = format!("{{{{.NetworkSettings.Networks.{network}.IPAddress}}}}");
        let address = site.run(host, &["inspect", "--format", &format, &name])?;
        ends.push(Endpoint { host, namespace: format!("/proc/{pid}/ns/net"), address });
    }
    let [from, to] = [ends.remove(0), ends.remove(0)];
    Path::open(site, OURS, [from, to], worker)
}

/// A userspace WireGuard's paths: with VXLAN on it, and where it has a name for it, bare.
fn over(site: &Site, name: &'static str, bare: Option<&'static str>, kind: Wireguard) -> Vec<Option<Path>> {
    let tunnel = match peer::wireguard(site, kind) {
        Ok(tunnel) => tunnel,
        Err(error) => {
            eprintln!("peer {name}: no number: {error:#}");
            return Vec::new();
        }
    };
    let vxlan = peer::vxlan_over(site, kind).and_then(|ends| Path::open(site, name, ends, Some(kind.program)));
    let mut paths = vec![opened(name, vxlan)];
    if let Some(bare) = bare {
        paths.push(opened(bare, Path::open(site, bare, tunnel, Some(kind.program))));
    }
    paths
}

fn opened(name: &str, path: anyhow::Result<Path>) -> Option<Path> {
    path.inspect_err(|error| eprintln!("peer {name}: no number: {error:#}")).ok()
}

/// What went through each path, by turns.
struct Lanes {
    lanes: Vec<Lane>,
}

struct Lane {
    name: &'static str,
    has_workers: bool,
    /// `None` from the first run that failed on.
    runs: Option<Vec<Measured>>,
}

impl Lanes {
    fn run(site: &Site, paths: &[Option<Path>], effort: Effort) -> Self {
        let paths: Vec<&Path> = paths.iter().flatten().collect();
        let mut lanes: Vec<Lane> =
            paths.iter().map(|path| Lane { name: path.name, has_workers: path.has_workers(), runs: Some(Vec::new()) }).collect();
        for _ in 0..effort.of(5, 1) {
            for (lane, path) in lanes.iter_mut().zip(&paths) {
                let Some(runs) = &mut lane.runs else { continue };
                match path.measure(site, effort.of(5, 1)) {
                    Ok(measured) => runs.push(measured),
                    Err(error) => {
                        eprintln!("{}: no number: {error:#}", lane.name);
                        lane.runs = None;
                    }
                }
            }
        }
        Self { lanes }
    }

    fn rates(&self, id: &str, what: &str) -> Option<Row> {
        self.row(Row::new(id, what, "Gbit/s", self.ours(|run| run.gbit_per_second)?), |run| run.gbit_per_second, |_| true)
    }

    fn costs(&self, id: &str, what: &str) -> Option<Row> {
        let row = Row::new(id, what, "CPU s/Gbit", self.ours(|run| run.cpu_seconds_per_gbit)?);
        self.row(row, |run| run.cpu_seconds_per_gbit, |lane| lane.has_workers)
    }

    /// A bench without our own number has no row.
    fn ours(&self, value: impl Fn(&Measured) -> f64) -> Option<Vec<f64>> {
        let lane = self.lanes.iter().find(|lane| lane.name == OURS)?;
        Some(lane.runs.as_ref()?.iter().map(value).collect())
    }

    fn row(&self, row: Row, value: impl Fn(&Measured) -> f64, counts: impl Fn(&Lane) -> bool) -> Option<Row> {
        let peers = self.lanes.iter().filter(|lane| lane.name != OURS && counts(lane));
        Some(peers.fold(row, |row, lane| {
            let runs: Vec<f64> = lane.runs.iter().flatten().map(&value).collect();
            row.beside(lane.name, &runs)
        }))
    }
}
