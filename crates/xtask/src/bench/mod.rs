//! `bench`: measurements with the peers that are installed beside us, in the same run. Never part of the tests.
//!
//! A bench is a name and a function that gives rows; the ids of rows stay the same from run to run. What could not be measured
//! is said and has no row; where a peer's run failed there is no number of it, and no ratio.

mod attach;
mod failover;
mod overlay;
mod path;
mod peer;
mod probe;
mod raft;
mod report;
mod site;
mod start;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use clap::Args;

pub use report::Row;

/// What to measure, and where the rows go.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Which benches; all of them when none is named
    name: Vec<String>,
    /// Also write the rows to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Fewer runs of each, to see that they work: no numbers to quote
    #[arg(long)]
    short: bool,
}

/// A bench.
struct Bench {
    /// What people call it.
    name: &'static str,
    /// Its rows, and on standard error whatever else there is to say: versions and command lines of peers, what was skipped and why.
    run: fn(Effort) -> anyhow::Result<Vec<Row>>,
}

/// How often a bench repeats what it measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// As often as the numbers need.
    Full,
    /// Only as often as it takes to see that the bench works.
    Short,
}

impl Effort {
    /// One of two counts.
    pub fn of(self, full: usize, short: usize) -> usize {
        match self {
            Self::Full => full,
            Self::Short => short,
        }
    }
}

/// Every bench there is. One joins with the part that it measures.
const BENCHES: &[Bench] = &[
    Bench { name: "start", run: start::run },
    Bench { name: "failover", run: failover::run },
    Bench { name: "attach", run: attach::run },
    Bench { name: "overlay", run: overlay::run },
    Bench { name: "raft", run: raft::run },
];

/// Runs the benches that were named.
pub fn run(arguments: &BenchArgs) -> anyhow::Result<ExitCode> {
    let known: Vec<&str> = BENCHES.iter().map(|bench| bench.name).collect();
    for name in &arguments.name {
        ensure!(known.contains(&name.as_str()), "there is no bench `{name}`; there are: {}", known.join(", "));
    }
    rcon_lab::wait::stop_on_signals()?;
    let effort = if arguments.short { Effort::Short } else { Effort::Full };
    let mut rows = Vec::new();
    let mut failed = false;
    for bench in BENCHES.iter().filter(|bench| arguments.name.is_empty() || arguments.name.iter().any(|name| name == bench.name)) {
        eprintln!("== bench {}", bench.name);
        match (bench.run)(effort) {
            Ok(measured) => {
                print!("{}", report::table(&measured));
                rows.extend(measured);
            }
            Err(error) => {
                eprintln!("bench {} failed: {error:#}", bench.name);
                failed = true;
            }
        }
    }
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_vec_pretty(&rows)?)?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
