//! `start`: how long a whole `rconctl run --rm` of a program takes that does nothing.
//!
//! The peer `runc` runs the same root file system on the same host: the floor, since an engine also keeps records, logs and images.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::site::{IMAGE, Site};
use super::{Effort, Row};

/// Runs before those that count.
const WARM_UPS: usize = 3;
/// All runs of the peer together.
const PEER_DEADLINE: Duration = Duration::from_secs(120);

/// Measures on one host that is in no cluster.
pub fn run(effort: Effort) -> anyhow::Result<Vec<Row>> {
    let count = effort.of(20, 5);
    let site = Site::hosts(1)?;
    site.import_image("h1")?;
    let mut runs = Vec::new();
    for number in 0..WARM_UPS + count {
        let mut command = site.rconctl("h1", &["run", "--rm", "--network", "none", IMAGE, "true"])?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let begin = Instant::now();
        let output = command.output()?;
        let took = begin.elapsed();
        ensure!(output.status.success(), "run {number}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        if number >= WARM_UPS {
            runs.push(took.as_secs_f64() * 1e3);
        }
    }
    let row = Row::new("start.none", "`rconctl run --rm --network none IMAGE true`, whole command, median", "ms", runs);
    let peer = runc(&site, count).unwrap_or_else(|error| {
        eprintln!("peer runc: no number: {error:#}");
        Vec::new()
    });
    Ok(vec![row.beside("runc", &peer)])
}

/// The same root file system by `runc run`, on the same host, timed by the shell that starts it.
fn runc(site: &Site, count: usize) -> anyhow::Result<Vec<f64>> {
    let version = site.lab.run("h1", &["runc", "--version"])?.success()?;
    let line = "runc run NAME, with the configuration of `runc spec`, no terminal, `true`";
    eprintln!("peer runc: {}; {line}", version.lines().next().unwrap_or_default());
    let bundle = site.lab.directory().join("bundle");
    std::fs::create_dir_all(&bundle)?;
    let bundle = bundle.to_str().context("the lab's path is not text")?;
    site.lab.run("h1", &["runc", "spec", "--bundle", bundle])?.success()?;
    let path = format!("{bundle}/config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = serde_json::json!(["true"]);
    config["root"]["path"] = site.rootfs().to_str().into();
    std::fs::write(&path, serde_json::to_vec(&config)?)?;
    let total = WARM_UPS + count;
    let script = format!(
        "cd {bundle} && for ((n = 0; n < {total}; n++)); do \
         a=${{EPOCHREALTIME/./}}; runc run peer$n </dev/null >&2 || exit; echo $((${{EPOCHREALTIME/./}} - a)); done"
    );
    let printed = site.lab.run_within("h1", &["bash", "-c", &script], PEER_DEADLINE)?.success()?;
    let runs: Vec<f64> = printed.lines().map(|line| line.parse::<f64>().map(|micros| micros / 1e3)).collect::<Result<_, _>>()?;
    ensure!(runs.len() == total, "{} runs instead of {total}", runs.len());
    Ok(runs[WARM_UPS..].to_vec())
}
