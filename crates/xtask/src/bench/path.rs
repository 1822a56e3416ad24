//! A way from a network namespace on one host to one on another, and what iperf3 gets through it.

use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use rcon_lab::{process, wait};
use serde_json::Value;

use super::site::Site;

/// iperf3's port, as /proc/net/tcp writes it: 5201.
const LISTENING: &str = ":1451 ";
/// A server that was started, listening.
const SERVER_READY: Duration = Duration::from_secs(10);
/// A client, to its end.
const CLIENT_DEADLINE: Duration = Duration::from_secs(60);
/// USER_HZ, what /proc counts in on every architecture of today.
const TICKS_PER_SECOND: f64 = 100.0;
const BITS_PER_GBIT: f64 = 1e9;

/// A network namespace on a host.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The host.
    pub host: &'static str,
    /// The namespace's path, as the host sees it.
    pub namespace: String,
    /// Its address.
    pub address: String,
}

/// A way that can be measured.
#[derive(Debug)]
pub struct Path {
    /// What it is called in the rows.
    pub name: &'static str,
    from: Endpoint,
    to: Endpoint,
    /// The processes that encrypt, both hosts' together.
    workers: Vec<i32>,
    server: Child,
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// What the receiver got.
    pub gbit_per_second: f64,
    /// Of the processes that encrypt.
    pub cpu_seconds_per_gbit: f64,
}

impl Path {
    /// Starts the server at the far end. `worker` is what the processes that encrypt are called, if there are such.
    pub fn open(site: &Site, name: &'static str, ends: [Endpoint; 2], worker: Option<&str>) -> anyhow::Result<Self> {
        let [from, to] = ends;
        let mut workers = Vec::new();
        if let Some(worker) = worker {
            for host in [from.host, to.host] {
                let running = process::in_pid_namespace_of(site.init(host)?)?;
                let before = workers.len();
                workers.extend(running.iter().filter(|one| one.is_called(worker)).map(|one| one.pid));
                ensure!(workers.len() > before, "no `{worker}` runs on {host}");
            }
        }
        let mut server = site.lab.command(to.host, "nsenter")?;
        server.arg(format!("--net={}", to.namespace)).args(["iperf3", "--server"]);
        let server = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("could not start iperf3")?;
        let path = Self { name, from, to, workers, server };
        let namespace = format!("--net={}", path.to.namespace);
        wait::until("iperf3 listens", SERVER_READY, || {
            let look = ["nsenter", &namespace, "grep", "-q", LISTENING, "/proc/net/tcp", "/proc/net/tcp6"];
            Ok(site.lab.run(path.to.host, &look)?.status.success().then_some(()))
        })?;
        Ok(path)
    }

    /// One TCP stream for so many seconds.
    pub fn measure(&self, site: &Site, seconds: usize) -> anyhow::Result<Measured> {
        let namespace = format!("--net={}", self.from.namespace);
        let seconds = seconds.to_string();
        let before = self.cpu_seconds()?;
        let words = ["nsenter", &namespace, "iperf3", "--client", &self.to.address, "--time", &seconds, "--json"];
        let finished = site.lab.run_within(self.from.host, &words, CLIENT_DEADLINE)?;
        let used = self.cpu_seconds()? - before;
        let report: Value = serde_json::from_str(&finished.stdout).with_context(|| format!("iperf3: {}", finished.stderr.trim()))?;
        ensure!(finished.status.success(), "iperf3: {}", report["error"].as_str().unwrap_or("failed"));
        let received = &report["end"]["sum_received"];
        let number = |key: &str| received[key].as_f64().with_context(|| format!("iperf3 reported no `{key}`"));
        let gbit = number("bytes")? * 8.0 / BITS_PER_GBIT;
        ensure!(gbit > 0.0, "nothing came through");
        Ok(Measured { gbit_per_second: number("bits_per_second")? / BITS_PER_GBIT, cpu_seconds_per_gbit: used / gbit })
    }

    /// Whether there are processes whose CPU time can be told.
    pub fn has_workers(&self) -> bool {
        !self.workers.is_empty()
    }

    fn cpu_seconds(&self) -> anyhow::Result<f64> {
        self.workers.iter().try_fold(0.0, |sum, pid| Ok(sum + cpu_ticks(*pid)? as f64 / TICKS_PER_SECOND))
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        // It may have ended already; in each case it is gone after this.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Fields 14 and 15 of /proc/PID/stat (proc_pid_stat(5)): user and system time of all its threads.
fn cpu_ticks(pid: i32) -> anyhow::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid} has ended"))?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let times: Vec<u64> = after_name.split_ascii_whitespace().skip(11).take(2).filter_map(|text| text.parse().ok()).collect();
    ensure!(times.len() == 2, "/proc/{pid}/stat has no times");
    Ok(times.iter().sum())
}
