//! `raft`: how many proposals a second three managers accept.
//!
//! The load is rcon-raft's own example `propose` (mutual TLS, fsync, 512 bytes each), which `./dev bench` builds beside the other
//! programs; here it is started and its report read. It runs on this machine's file system, outside of any lab.

use std::process::Command;

use anyhow::{Context, ensure};
use rcon_lab::Binaries;

use super::{Effort, Row};

/// Runs the load and takes the lines of 1 and of 64 proposals in flight.
pub fn run(effort: Effort) -> anyhow::Result<Vec<Row>> {
    let program = Binaries::find()?.program("propose");
    ensure!(program.is_file(), "`{}` is not built; `./dev bench` does that", program.display());
    let (repeats, seconds) = (effort.of(3, 1), effort.of(5, 1).to_string());
    let mut alone = Vec::new();
    let mut many = Vec::new();
    for _ in 0..repeats {
        let output = Command::new(&program).arg(&seconds).output().context("could not start propose")?;
        ensure!(output.status.success(), "propose: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        let report = String::from_utf8_lossy(&output.stdout);
        eprint!("{report}");
        alone.push(rate(&report, 1).context("propose reported nothing of 1 in flight")?);
        many.push(rate(&report, 64).context("propose reported nothing of 64 in flight")?);
    }
    let what = "proposals of 512 bytes, 3 managers, TLS, fsync";
    Ok(vec![
        Row::new("raft.w1", &format!("{what}, one at a time, median"), "per s", alone),
        Row::new("raft.w64", &format!("{what}, 64 in flight, median"), "per s", many),
    ])
}

/// The rate in the line `  64 in flight:    12345/s  p50 …`.
fn rate(report: &str, in_flight: u32) -> Option<f64> {
    report.lines().find_map(|line| {
        let (count, rest) = line.split_once(" in flight:")?;
        let rate = rest.split_once("/s")?.0.trim();
        (count.trim().parse() == Ok(in_flight)).then(|| rate.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_read_from_the_line_of_its_count() {
        let report = "   1 in flight:     1234/s  p50 0.80 ms  p99 1.20 ms\n  64 in flight:    12345/s  p50 4.80 ms  p99 9.00 ms\n";
        assert_eq!((rate(report, 1), rate(report, 64), rate(report, 512)), (Some(1234.0), Some(12345.0), None));
    }
}
