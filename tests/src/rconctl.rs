//! `rconctl` on one host, with its JSON taken apart.

use anyhow::{Context, ensure};
use rcon_lab::{Finished, Lab};
use serde_json::Value;

/// The command line of one host.
#[derive(Clone, Copy, Debug)]
pub struct Rconctl<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) host: &'a str,
}

/// A line of `node ls`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node {
    /// Host name.
    pub name: String,
    /// `Ready` or `Down`.
    pub status: String,
    /// `Leader`, `Reachable`, `Unreachable`, `Learner`, or nothing for a worker.
    pub manager: String,
}

impl Rconctl<'_> {
    /// Runs it, whatever comes of it.
    pub fn finish(&self, arguments: &[&str]) -> anyhow::Result<Finished> {
        Ok(self.lab.run(self.host, &[&["rconctl"], arguments].concat())?)
    }

    /// Runs it and gives what it printed; its failure is an error with all it said.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let finished = self.finish(arguments)?;
        let (line, status) = (&finished.line, finished.status);
        ensure!(status.success(), "`{line}` on {}: {status}: {}", self.host, finished.stderr.trim());
        Ok(finished.stdout.trim_end().to_owned())
    }

    /// Runs it, which must fail, and gives what it complained of.
    pub fn fail(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let finished = self.finish(arguments)?;
        ensure!(!finished.status.success(), "`{}` on {} succeeded: {}", finished.line, self.host, finished.stdout.trim());
        Ok(finished.stderr.trim_end().to_owned())
    }

    /// The rows of a listing verb.
    pub fn rows(&self, arguments: &[&str]) -> anyhow::Result<Vec<Value>> {
        let text = self.run(&[arguments, &["--format", "json"]].concat())?;
        text.lines().map(|row| serde_json::from_str(row).with_context(|| format!("no JSON: `{row}`"))).collect()
    }

    /// The one object of an inspecting verb.
    pub fn object(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let objects: Vec<Value> = serde_json::from_str(&self.run(arguments)?)?;
        let [object] = &objects[..] else { anyhow::bail!("{} objects instead of one", objects.len()) };
        Ok(object.clone())
    }

    /// The nodes, by name.
    pub fn nodes(&self) -> anyhow::Result<Vec<Node>> {
        let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let row = |row: &Value| Node { name: text(row, "Hostname"), status: text(row, "Status"), manager: text(row, "ManagerStatus") };
        let mut nodes: Vec<Node> = self.rows(&["node", "ls"])?.iter().map(row).collect();
        nodes.sort();
        Ok(nodes)
    }

    /// The host name of the leader.
    pub fn leader(&self) -> anyhow::Result<String> {
        let nodes = self.nodes()?;
        let leader = nodes.iter().find(|node| node.manager == "Leader");
        leader.map(|node| node.name.clone()).with_context(|| format!("nobody leads: {nodes:?}"))
    }
}
