//! What the fabric is made to suffer, and the nft rules that do it. Pure: hosts in, text out.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::error::LabError;

/// The nft table of the faults, in the fabric's namespace.
const TABLE: &str = "bridge rcon_lab";
/// Loss is drawn in steps of a hundredth of a percent.
const LOSS_STEPS: u32 = 10_000;

/// Which way a partition cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// The hosts neither hear the others nor are heard.
    Both,
    /// The hosts hear the others, but what they send is dropped.
    OneWay,
}

/// Everything wrong with the fabric at this time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    partitions: Vec<Partition>,
    losses: Vec<Loss>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Partition {
    hosts: Vec<String>,
    direction: Direction,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Loss {
    hosts: Vec<String>,
    /// In steps of [`LOSS_STEPS`].
    steps: u32,
}

impl Faults {
    /// Cuts the hosts off from everybody but each other.
    pub fn partition(&mut self, hosts: Vec<String>, direction: Direction) {
        self.partitions.push(Partition { hosts, direction });
    }

    /// Drops each frame from or to the hosts with this probability, in percent.
    pub fn lose(&mut self, hosts: Vec<String>, percent: f64) -> Result<(), LabError> {
        if !(0.0..=100.0).contains(&percent) {
            return Err(LabError::Invalid(format!("a loss is 0 to 100 percent, not {percent}")));
        }
        let steps = (percent / 100.0 * f64::from(LOSS_STEPS)).round() as u32;
        self.losses.push(Loss { hosts, steps });
        Ok(())
    }

    /// The whole table in one transaction, in place of the one before.
    pub fn ruleset(&self) -> String {
        let mut text = format!("table {TABLE}\ndelete table {TABLE}\n");
        if self.partitions.is_empty() && self.losses.is_empty() {
            return text;
        }
        let _ = writeln!(text, "table {TABLE} {{");
        // The forward hook is between hosts; the others are between a host and what the fabric itself answers.
        self.write_chain(&mut text, "forward", |side, set| match side {
            Side::From => format!("iifname {set} oifname != {set}"),
            Side::To => format!("iifname != {set} oifname {set}"),
        });
        self.write_chain(&mut text, "input", |side, set| match side {
            Side::From => format!("iifname {set}"),
            Side::To => String::new(),
        });
        self.write_chain(&mut text, "output", |side, set| match side {
            Side::From => String::new(),
            Side::To => format!("oifname {set}"),
        });
        text.push_str("}\n");
        text
    }

    fn write_chain(&self, text: &mut String, hook: &str, matching: impl Fn(Side, &str) -> String) {
        let _ = writeln!(text, "  chain {hook} {{\n    type filter hook {hook} priority 0; policy accept;");
        for partition in &self.partitions {
            let set = set(&partition.hosts);
            let sides: &[Side] = if partition.direction == Direction::Both { &[Side::From, Side::To] } else { &[Side::From] };
            for matched in sides.iter().map(|side| matching(*side, &set)).filter(|matched| !matched.is_empty()) {
                let _ = writeln!(text, "    {matched} drop");
            }
        }
        for loss in &self.losses {
            let set = set(&loss.hosts);
            // One draw a frame, also between two hosts of the set.
            let between = if hook == "forward" { format!("iifname {set}") } else { matching(Side::From, &set) };
            for matched in [between, matching(Side::To, &set)].iter().filter(|matched| !matched.is_empty()) {
                let _ = writeln!(text, "    {matched} numgen random mod {LOSS_STEPS} < {} drop", loss.steps);
            }
        }
        text.push_str("  }\n");
    }
}

/// Which end of a frame's way is in the set of hosts.
#[derive(Clone, Copy)]
enum Side {
    From,
    To,
}

fn set(hosts: &[String]) -> String {
    let quoted: Vec<String> = hosts.iter().map(|host| format!("\"{host}\"")).collect();
    format!("{{ {} }}", quoted.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn a_healed_fabric_has_no_table() {
        assert_eq!(Faults::default().ruleset(), "table bridge rcon_lab\ndelete table bridge rcon_lab\n");
    }

    #[test]
    fn a_partition_cuts_both_ways_and_leaves_its_hosts_to_each_other() {
        let mut faults = Faults::default();
        faults.partition(hosts(&["h1", "h2"]), Direction::Both);
        let text = faults.ruleset();
        assert!(text.contains(r#"    iifname { "h1", "h2" } oifname != { "h1", "h2" } drop"#), "{text}");
        assert!(text.contains(r#"    iifname != { "h1", "h2" } oifname { "h1", "h2" } drop"#), "{text}");
        assert!(text.contains("    oifname { \"h1\", \"h2\" } drop\n"), "{text}");
    }

    #[test]
    fn a_one_way_partition_drops_only_what_its_hosts_send() {
        let mut faults = Faults::default();
        faults.partition(hosts(&["h3"]), Direction::OneWay);
        let text = faults.ruleset();
        assert!(text.contains(r#"iifname { "h3" } oifname != { "h3" } drop"#), "{text}");
        assert!(!text.contains(r#"oifname { "h3" } drop"#), "{text}");
    }

    #[test]
    fn loss_is_drawn_once_for_a_frame_between_two_lossy_hosts() {
        let mut faults = Faults::default();
        faults.lose(hosts(&["h1", "h2"]), 2.5).unwrap();
        let text = faults.ruleset();
        assert!(text.contains("    iifname { \"h1\", \"h2\" } numgen random mod 10000 < 250 drop\n"), "{text}");
        assert!(
            text.contains("    iifname != { \"h1\", \"h2\" } oifname { \"h1\", \"h2\" } numgen random mod 10000 < 250 drop\n"),
            "{text}"
        );
    }

    #[test]
    fn a_loss_beyond_everything_is_refused() {
        assert!(Faults::default().lose(hosts(&["h1"]), 101.0).is_err());
        assert!(Faults::default().lose(hosts(&["h1"]), f64::NAN).is_err());
    }
}
