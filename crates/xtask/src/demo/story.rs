//! What the steps share: the lab, how commands are run and printed, and what one step leaves for the next.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rcon_lab::capture::{Capture, Recording};
use rcon_lab::{Lab, LabError, rootfs, wait};
use serde_json::Value;

use super::teller::Teller;
use super::trouble::Watch;

/// The name of the image that all containers of the story are made of.
pub const IMAGE: &str = "demo";

/// A story that is being told.
pub struct Story<'a> {
    /// The hosts.
    pub lab: &'a Lab,
    /// In the page that the web server has, and nowhere else in the world.
    pub secret: String,
    /// Runs from before the first command until the proof.
    pub capture: Option<Capture>,
    /// The stream and the lookups that run through the trouble.
    pub watch: Option<Watch>,
    teller: &'a Teller,
}

impl<'a> Story<'a> {
    /// Begins to record the fabric, and makes the image's root file system.
    pub fn new(lab: &'a Lab, teller: &'a Teller) -> anyhow::Result<Self> {
        let secret = format!("page-{}", std::fs::read_to_string("/proc/sys/kernel/random/uuid")?.trim());
        let story = Self { lab, secret, capture: Some(lab.capture()?), watch: None, teller };
        rootfs::make(&story.rootfs(), &format!("<h1>{}</h1>\n", story.secret))?;
        Ok(story)
    }

    /// Where the image's root file system is.
    pub fn rootfs(&self) -> PathBuf {
        self.lab.directory().join("rootfs")
    }

    /// Runs a command on a host, printed first, and gives what it printed; its failure ends the step.
    pub fn on(&self, host: &str, line: &str) -> anyhow::Result<String> {
        self.teller.command(host, line);
        let output = self.quietly(host, line)?;
        self.teller.output(&output);
        Ok(output)
    }

    /// The same for what only checks.
    pub fn quietly(&self, host: &str, line: &str) -> anyhow::Result<String> {
        let finished = self.lab.run(host, &["sh", "-c", line])?;
        ensure!(finished.status.success(), "`{line}` on {host}: {}: {}", finished.status, finished.stderr.trim());
        Ok(finished.stdout.trim_end().to_owned())
    }

    /// Does something to the lab, printed as the command that does the same.
    pub fn lab_command(&self, line: &str, act: impl FnOnce(&Lab) -> Result<(), LabError>) -> anyhow::Result<()> {
        self.teller.command("here", &format!("./dev lab {line}"));
        act(self.lab).with_context(|| format!("`./dev lab {line}`"))
    }

    /// Prints something about the step.
    pub fn remark(&self, text: &str) {
        self.teller.output(text);
    }

    /// Rows of a listing command.
    pub fn rows(&self, host: &str, line: &str) -> anyhow::Result<Vec<Value>> {
        let text = self.quietly(host, &format!("{line} --format json"))?;
        text.lines().map(|row| serde_json::from_str(row).with_context(|| format!("`{line}` printed `{row}`"))).collect()
    }

    /// The cluster as `host` sees it: host name, status and manager status of each node, in order.
    pub fn nodes(&self, host: &str) -> anyhow::Result<Vec<[String; 3]>> {
        let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let mut nodes: Vec<_> = self
            .rows(host, "rconctl node ls")?
            .iter()
            .map(|row| ["Hostname", "Status", "ManagerStatus"].map(|key| text(row, key)))
            .collect();
        nodes.sort();
        Ok(nodes)
    }

    /// Waits until all three nodes are ready, one leads and two follow; says what is there if that takes too long.
    pub fn wait_until_whole(&self, host: &str, deadline: Duration) -> anyhow::Result<()> {
        self.eventually(&format!("all nodes are ready as {host} sees them"), deadline, || {
            let nodes = self.nodes(host)?;
            let ready = nodes.iter().filter(|[_, status, _]| status == "Ready").count();
            let count = |rank: &str| nodes.iter().filter(|[_, _, manager]| manager == rank).count();
            ensure!((nodes.len(), ready, count("Leader"), count("Reachable")) == (3, 3, 1, 2), "{nodes:?}");
            Ok(())
        })
    }

    /// Tries until it succeeds and gives the time that took; after the deadline, the last failure counts.
    pub fn eventually(&self, what: &str, deadline: Duration, mut attempt: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let begin = Instant::now();
        let mut last = None;
        let outcome = wait::until(what, deadline, || {
            last = attempt().err();
            Ok((last.is_none() || begin.elapsed() > deadline).then_some(()))
        });
        match last {
            Some(error) => Err(error.context(format!("{what}: not within {} s", deadline.as_secs()))),
            None => Ok(outcome?),
        }
    }

    /// Ends the recording of the fabric.
    pub fn stop_capture(&mut self) -> anyhow::Result<Recording> {
        Ok(self.capture.take().context("the fabric is not being recorded")?.stop()?)
    }
}
