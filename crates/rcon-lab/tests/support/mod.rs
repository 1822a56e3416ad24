//! Labs for the tests of the lab: each in a directory of its own, with a stand-in for the daemon, gone at the end.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rcon_lab::{Daemon, HostOptions, Lab, LabName, LabOptions};

pub struct TestLab {
    pub lab: Lab,
    _directory: tempfile::TempDir,
}

impl TestLab {
    pub fn up(hosts: usize) -> Self {
        Self::with(hosts, |_| {})
    }

    pub fn with(hosts: usize, change: impl Fn(&mut HostOptions)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let lab = Lab::up(&options(directory.path(), hosts, change)).unwrap();
        Self { lab, _directory: directory }
    }

    /// Runs a shell line on the host and returns what it printed.
    pub fn shell(&self, host: &str, line: &str) -> String {
        let output = self.output(host, line);
        assert!(output.status.success(), "`{line}` on {host}: {}{}", output.status, String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub fn output(&self, host: &str, line: &str) -> Output {
        self.lab.command(host, "sh").unwrap().args(["-c", line]).stdin(Stdio::null()).output().unwrap()
    }

    pub fn reaches(&self, host: &str, address: &str) -> bool {
        self.output(host, &format!("ping -c 1 -W 1 {address}")).status.success()
    }
}

impl Drop for TestLab {
    fn drop(&mut self) {
        let outcome = Lab::down(self.lab.name());
        assert!(outcome.is_ok() || std::thread::panicking(), "the lab did not go: {outcome:?}");
    }
}

pub fn options(directory: &Path, hosts: usize, change: impl Fn(&mut HostOptions)) -> LabOptions {
    static LABS: AtomicU32 = AtomicU32::new(0);
    let id = format!("t{}-{}", std::process::id(), LABS.fetch_add(1, Ordering::Relaxed));
    let name = LabName { id, directory: directory.to_owned() };
    let mut options = LabOptions::new(name, hosts);
    for host in &mut options.hosts {
        host.daemon = Daemon::Command(vec!["sleep".into(), "1000000".into()]);
        change(host);
    }
    options
}

/// Whether labs can be made here; says why not.
pub fn machine_can() -> bool {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: a lab needs root");
        return false;
    }
    match Command::new("nft").arg("--version").output() {
        Ok(_) => true,
        Err(error) => {
            eprintln!("SKIPPED: a lab needs nft: {error}");
            false
        }
    }
}

pub fn soon(what: &str, mut condition: impl FnMut() -> bool) {
    rcon_lab::wait::until(what, Duration::from_secs(20), || Ok(condition().then_some(()))).unwrap();
}
