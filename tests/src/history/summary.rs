//! What a trial came to, for people.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::faults::{Fault, Kind};
use super::operation::{Action, Operation, Outcome};

/// Counts of a trial.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// What everything was drawn from.
    pub seed: u64,
    /// Writes by what their clients were told.
    pub writes: BTreeMap<Outcome, usize>,
    /// Reads that were answered.
    pub reads: usize,
    /// Reads that nobody answered.
    pub unanswered: usize,
    /// Faults by what happened.
    pub faults: BTreeMap<Kind, usize>,
    /// The longest time from the end of a fault until every manager had accepted a write, and which fault that was.
    pub slowest_recovery: Option<(Duration, Fault)>,
    /// From the first operation to the last.
    pub took: Duration,
}

impl Summary {
    /// Counts a history.
    #[must_use]
    pub fn of(seed: u64, history: &[Operation], unanswered: usize) -> Self {
        let mut summary = Self { seed, unanswered, ..Self::default() };
        for operation in history {
            match operation.action {
                Action::Write { outcome, .. } => *summary.writes.entry(outcome).or_default() += 1,
                Action::Read { .. } => summary.reads += 1,
            }
        }
        summary.took = history.iter().map(|operation| operation.returned).max().unwrap_or_default();
        summary
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |outcome| self.writes.get(&outcome).copied().unwrap_or_default();
        let [acknowledged, unknown, failed] = [Outcome::Acknowledged, Outcome::Unknown, Outcome::Failed].map(count);
        let all = acknowledged + unknown + failed + self.reads + self.unanswered;
        writeln!(f, "{all} operations in {:.1} s, seed {} (RCON_SEED)", self.took.as_secs_f64(), self.seed)?;
        writeln!(f, "  writes: {acknowledged} acknowledged, {unknown} unknown, {failed} failed")?;
        writeln!(f, "  reads: {} answered, {} not", self.reads, self.unanswered)?;
        let faults: Vec<String> = self.faults.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        write!(f, "  faults: {}", faults.join(", "))?;
        match &self.slowest_recovery {
            Some((time, fault)) => write!(f, "\n  slowest recovery: {} ms, after {fault}", time.as_millis()),
            None => Ok(()),
        }
    }
}
