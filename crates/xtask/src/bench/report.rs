//! Rows of numbers: medians, JSON, tables. Pure.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

/// One thing measured, with the same thing measured of others. The fields are a promise to scripts.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Row {
    /// The same from run to run: `overlay.enc.tcp1`.
    pub id: String,
    /// What it is, in words.
    pub what: String,
    /// Of all its numbers.
    pub unit: String,
    /// The median of `runs`, or what `what` says of them.
    pub ours: f64,
    /// The median of each peer whose runs succeeded.
    pub peers: BTreeMap<String, f64>,
    /// Ours, in the order they were measured.
    pub runs: Vec<f64>,
}

impl Row {
    /// A row of our runs, still without peers.
    pub fn new(id: &str, what: &str, unit: &str, runs: Vec<f64>) -> Self {
        Self { id: id.into(), what: what.into(), unit: unit.into(), ours: median(&runs).unwrap_or(f64::NAN), peers: BTreeMap::new(), runs }
    }

    /// The same with another number of the runs than their median.
    pub fn showing(mut self, ours: f64) -> Self {
        self.ours = ours;
        self
    }

    /// Adds a peer; one without a successful run is left out.
    pub fn beside(mut self, peer: &str, runs: &[f64]) -> Self {
        if let Some(median) = median(runs) {
            self.peers.insert(peer.into(), median);
        }
        self
    }
}

/// The middle one, or the mean of the two in the middle; `None` of nothing.
fn median(runs: &[f64]) -> Option<f64> {
    let mut sorted = runs.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// The value that this part of the runs does not exceed (nearest rank); not a number of nothing.
pub fn quantile(runs: &[f64], part: f64) -> f64 {
    let mut sorted = runs.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// The rows for people, with our number as a multiple of each peer's.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        let _ = writeln!(text, "{:<24} {:>12.3} {:<12} {}", row.id, row.ours, row.unit, row.what);
        for (peer, value) in &row.peers {
            let _ = writeln!(text, "  {peer:<22} {value:>12.3} {:<12} ours is {:.2} of it", row.unit, row.ours / value);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_whatever_the_order() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_quantile_is_one_of_the_runs_at_its_rank() {
        let runs: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!((quantile(&runs, 0.5), quantile(&runs, 0.99), quantile(&runs, 1.0)), (100.0, 198.0, 200.0));
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn a_peer_without_a_successful_run_has_no_number_and_no_ratio() {
        let row = Row::new("start.none", "run --rm of true", "ms", vec![30.0, 20.0, 25.0]).beside("runc", &[50.0]).beside("crun", &[]);
        assert_eq!(table(std::slice::from_ref(&row)).lines().count(), 2);
        assert!(table(&[row]).contains("ours is 0.50 of it"));
    }

    #[test]
    fn json_has_the_promised_fields() {
        let row = Row::new("raft.w1", "proposals", "per s", vec![1000.0]).beside("etcd", &[900.0]);
        let json = serde_json::json!({
            "id": "raft.w1", "what": "proposals", "unit": "per s", "ours": 1000.0, "peers": {"etcd": 900.0}, "runs": [1000.0]
        });
        assert_eq!(serde_json::to_value(row).unwrap(), json);
    }
}
