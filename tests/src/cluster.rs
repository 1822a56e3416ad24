//! A cluster in a lab of its own.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::ensure;
use rcon_lab::{Binaries, HostOptions, Lab, LabName, LabOptions, rootfs};

use crate::condition::eventually;
use crate::rconctl::Rconctl;

/// The name of the image that [`Cluster::import_image`] makes.
pub const IMAGE: &str = "busybox";

/// Hosts with real daemons; taken down when dropped. Logs are printed if the test fails.
#[derive(Debug)]
pub struct Cluster {
    /// The hosts and their faults.
    pub lab: Lab,
}

/// Whether this machine can run a cluster; says why not.
pub fn machine_can() -> bool {
    let missing = match Binaries::find() {
        _ if !nix::unistd::geteuid().is_root() => Some("a cluster needs root".to_owned()),
        Err(error) => Some(error.to_string()),
        Ok(binaries) => ["rcond", "rconctl", "rcon-shim"]
            .into_iter()
            .find(|name| !binaries.program(name).is_file())
            .map(|name| format!("`{}` is not built; `./dev test` does that", binaries.program(name).display())),
    };
    if let Some(reason) = &missing {
        eprintln!("SKIPPED: {reason}");
    }
    missing.is_none()
}

impl Cluster {
    /// That many hosts, each with a daemon that is in no cluster yet.
    pub fn hosts(count: usize) -> Self {
        Self::hosts_with(vec![HostOptions::default(); count])
    }

    /// The same with hosts of other kinds.
    pub fn hosts_with(hosts: Vec<HostOptions>) -> Self {
        static CLUSTERS: AtomicU32 = AtomicU32::new(0);
        let id = format!("test-{}-{}", std::process::id(), CLUSTERS.fetch_add(1, Ordering::Relaxed));
        let name = LabName::new(&id).expect("the id is made of letters, digits and dashes");
        let options = LabOptions { hosts, temporary: true, ..LabOptions::new(name, 0) };
        Self { lab: Lab::up(&options).unwrap_or_else(|error| panic!("{}", chain(&error))) }
    }

    /// A cluster of that many managers, ready, h1 the first of them.
    pub fn up(managers: usize) -> Self {
        let cluster = Self::hosts(managers);
        cluster.init();
        for number in 2..=managers {
            cluster.join(&format!("h{number}"), "manager");
        }
        cluster.wait_until_whole(managers);
        cluster
    }

    /// `rconctl` on that host.
    pub fn rconctl<'a>(&'a self, host: &'a str) -> Rconctl<'a> {
        Rconctl { lab: &self.lab, host }
    }

    /// Makes h1 the first manager.
    pub fn init(&self) {
        self.rconctl("h1").run(&["swarm", "init", "--advertise-addr", "10.99.0.11"]).unwrap();
    }

    /// Lets a host join through h1, in that role.
    pub fn join(&self, host: &str, role: &str) {
        let token = self.rconctl("h1").run(&["swarm", "join-token", "--quiet", role]).unwrap();
        self.rconctl(host).run(&["swarm", "join", "--token", &token, "10.99.0.11:2377"]).unwrap();
    }

    /// Waits until every host sees that many nodes, all of them ready managers, and one of them leading.
    pub fn wait_until_whole(&self, managers: usize) {
        for number in 1..=managers {
            let host = format!("h{number}");
            eventually(&format!("{host} sees {managers} ready managers"), || {
                let nodes = self.rconctl(&host).nodes()?;
                let ready = nodes.iter().filter(|node| node.status == "Ready").count();
                let leading = nodes.iter().filter(|node| node.manager == "Leader").count();
                let following = nodes.iter().filter(|node| node.manager == "Reachable").count();
                ensure!((ready, leading, following) == (managers, 1, managers - 1) && nodes.len() == managers, "{nodes:?}");
                Ok(())
            });
        }
    }

    /// Imports [`IMAGE`], busybox with a web server's page, on that host.
    pub fn import_image(&self, host: &str) {
        let root = self.lab.directory().join("rootfs");
        if !root.exists() {
            rootfs::make(&root, "a page\n").unwrap();
        }
        let line = format!("tar -C {} -c . | rconctl image import - {IMAGE}", root.display());
        self.lab.run(host, &["sh", "-c", &line]).unwrap().success().unwrap();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for host in self.lab.status().into_iter().flat_map(|status| status.hosts) {
                let log = std::fs::read_to_string(self.lab.daemon_log(&host.name)).unwrap_or_default();
                eprintln!("== rcond on {}:\n{log}", host.name);
            }
        }
        if let Err(error) = Lab::down(self.lab.name()) {
            eprintln!("the lab did not go: {}", chain(&error));
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| error.source()).fold(error.to_string(), |text, source| format!("{text}: {source}"))
}
