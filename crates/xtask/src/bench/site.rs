//! What the benches measure on: hosts of a lab with a cluster on them, and `rconctl` started without a detour.
//!
//! Setting up goes through the lab; what is timed is `rconctl` itself, on the socket of a host as the machine sees it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use rcon_lab::{Binaries, HostOptions, Lab, LabName, LabOptions, rootfs, wait};
use serde_json::Value;

/// The image that [`Site::import_image`] makes.
pub const IMAGE: &str = "bench";
/// How long a cluster may take to be whole.
const WHOLE: Duration = Duration::from_secs(60);

/// Hosts that go when this is dropped.
#[derive(Debug)]
pub struct Site {
    /// The hosts.
    pub lab: Lab,
    rconctl: PathBuf,
    /// Of each host: its first process, and the path of its daemon's socket.
    hosts: BTreeMap<String, (i32, PathBuf)>,
}

impl Site {
    /// That many hosts whose daemons are in no cluster.
    pub fn hosts(count: usize) -> anyhow::Result<Self> {
        let name = LabName::new(&format!("bench-{}", std::process::id()))?;
        let options = LabOptions { hosts: vec![HostOptions::default(); count], temporary: true, ..LabOptions::new(name, 0) };
        let rconctl = Binaries::find()?.program("rconctl");
        let mut site = Self { lab: Lab::up(&options)?, rconctl, hosts: BTreeMap::new() };
        for host in site.lab.status()?.hosts {
            let (pid, socket) = host.pid.zip(host.socket).with_context(|| format!("`{}` is off", host.name))?;
            site.hosts.insert(host.name, (pid, socket));
        }
        Ok(site)
    }

    /// A cluster of that many managers, all of them ready.
    pub fn managers(count: usize) -> anyhow::Result<Self> {
        let site = Self::hosts(count)?;
        site.run("h1", &["swarm", "init", "--advertise-addr", "10.99.0.11"])?;
        for number in 2..=count {
            let token = site.run("h1", &["swarm", "join-token", "--quiet", "manager"])?;
            site.run(&format!("h{number}"), &["swarm", "join", "--token", &token, "10.99.0.11:2377"])?;
        }
        site.wait_until_whole()?;
        Ok(site)
    }

    /// `rconctl` for a host, as a command of this machine: nothing else is started.
    pub fn rconctl(&self, host: &str, arguments: &[&str]) -> anyhow::Result<Command> {
        let (_, socket) = self.hosts.get(host).with_context(|| format!("there is no host `{host}`"))?;
        let mut command = Command::new(&self.rconctl);
        command.arg("--host").arg(socket).args(arguments);
        Ok(command)
    }

    /// Runs `rconctl` for a host and gives what it printed.
    pub fn run(&self, host: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.rconctl(host, arguments)?.output().context("could not start rconctl")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`rconctl {}` for {host}: {}: {}", arguments.join(" "), output.status, complaint.trim());
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// Gives a host [`IMAGE`]: busybox.
    pub fn import_image(&self, host: &str) -> anyhow::Result<()> {
        let root = self.rootfs();
        if !root.exists() {
            rootfs::make(&root, "a page\n")?;
        }
        let line = format!("tar -C {} -c . | rconctl image import - {IMAGE}", root.display());
        self.lab.run(host, &["sh", "-c", &line])?.success()?;
        Ok(())
    }

    /// The root file system that the image was made of.
    pub fn rootfs(&self) -> PathBuf {
        self.lab.directory().join("rootfs")
    }

    /// Who leads, as `host` sees it; `None` while it cannot tell, or while a node is not ready.
    pub fn leader_of_whole(&self, host: &str) -> Option<String> {
        let rows = self.run(host, &["node", "ls", "--format", "json"]).ok()?;
        let nodes: Vec<Value> = rows.lines().map(serde_json::from_str).collect::<Result<_, _>>().ok()?;
        let ready = nodes.iter().all(|node| node["Status"] == "Ready");
        let ranked = nodes.iter().all(|node| node["ManagerStatus"] == "Leader" || node["ManagerStatus"] == "Reachable");
        let leader = nodes.iter().find(|node| node["ManagerStatus"] == "Leader")?;
        (ready && ranked && nodes.len() == self.hosts.len()).then(|| leader["Hostname"].as_str().unwrap_or_default().to_owned())
    }

    /// Waits until every host sees the same leader and all nodes ready managers; gives the leader.
    pub fn wait_until_whole(&self) -> anyhow::Result<String> {
        let names: Vec<&String> = self.hosts.keys().collect();
        let whole = wait::until("every host sees all managers ready and one leader", WHOLE, || {
            let leader = self.leader_of_whole(names[0]);
            Ok(leader.filter(|leader| names[1..].iter().all(|host| self.leader_of_whole(host).as_ref() == Some(leader))))
        });
        Ok(whole?)
    }

    /// Path of the network namespace of a running container, as the machine sees it.
    pub fn network_of(&self, host: &str, container: &str) -> anyhow::Result<PathBuf> {
        let pid = self.run(host, &["inspect", "--format", "{{.State.Pid}}", container])?;
        // The host numbers its processes on its own; its /proc has those numbers.
        Ok(PathBuf::from(format!("/proc/{}/root/proc/{pid}/ns/net", self.init(host)?)))
    }

    /// The first process of a host, as the machine numbers it.
    pub fn init(&self, host: &str) -> anyhow::Result<i32> {
        self.hosts.get(host).map(|(init, _)| *init).with_context(|| format!("there is no host `{host}`"))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let interrupted = wait::interrupted();
        wait::forget_interrupt();
        if let Err(error) = Lab::down(self.lab.name()) {
            eprintln!("the lab did not go: {error}");
        }
        if interrupted {
            // Whoever wanted to stop wants it for the benches that come after as well.
            std::process::exit(130);
        }
    }
}
