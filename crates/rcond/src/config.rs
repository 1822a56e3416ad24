//! What `rcond` is told: flags over the file over the defaults.

use std::{fs, io, path::PathBuf};

use anyhow::{Context, bail};
use clap::Parser;
use serde::Deserialize;

use crate::logging::LogFormat;

/// The agent of an rcon node.
#[derive(Debug, Parser)]
#[command(name = "rcond", version, about)]
pub struct Flags {
    /// Configuration file
    #[arg(long, default_value = "/etc/rcond/rcond.toml")]
    config: PathBuf,
    /// What survives a reboot
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Sockets, and what does not survive a reboot
    #[arg(long)]
    run_dir: Option<PathBuf>,
    /// Unix group that may use the local socket besides root
    #[arg(long)]
    socket_group: Option<String>,
    /// Parent of the containers' control groups
    #[arg(long)]
    cgroup_parent: Option<PathBuf>,
    /// Another OCI runtime than the built-in one
    #[arg(long)]
    runtime: Option<PathBuf>,
    /// Raft heartbeat in milliseconds
    #[arg(long)]
    heartbeat_ms: Option<u64>,
    /// Shortest time without a leader before an election, in milliseconds
    #[arg(long)]
    election_min_ms: Option<u64>,
    /// Longest time without a leader before an election, in milliseconds
    #[arg(long)]
    election_max_ms: Option<u64>,
    /// How the log looks
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,
}

/// The file, every line of it optional.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    data_dir: Option<PathBuf>,
    run_dir: Option<PathBuf>,
    socket_group: Option<String>,
    cgroup_parent: Option<PathBuf>,
    runtime: Option<PathBuf>,
    heartbeat_ms: Option<u64>,
    election_min_ms: Option<u64>,
    election_max_ms: Option<u64>,
}

/// What the agent runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What survives a reboot.
    pub data_dir: PathBuf,
    /// What does not.
    pub run_dir: PathBuf,
    /// Who may use the local socket besides root.
    pub socket_group: Option<String>,
    /// Parent of the containers' control groups, from the root of each hierarchy.
    pub cgroup_parent: PathBuf,
    /// Another OCI runtime than the built-in one.
    pub runtime: Option<PathBuf>,
    /// Raft heartbeat, shortest and longest election timeout, in milliseconds.
    pub raft_timing_ms: [u64; 3],
}

impl Config {
    /// The configuration that the flags, and the file they name, ask for.
    ///
    /// # Errors
    /// When the file cannot be read or understood, a path is not absolute, or the timing cannot work.
    pub fn load(flags: &Flags) -> anyhow::Result<Self> {
        let file = match fs::read_to_string(&flags.config) {
            Ok(text) => toml::from_str(&text).with_context(|| format!("configuration file `{}` is malformed", flags.config.display()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => File::default(),
            Err(error) => return Err(error).with_context(|| format!("could not read configuration file `{}`", flags.config.display())),
        };
        let path = |flag: &Option<PathBuf>, file: Option<PathBuf>, default: &str| flag.clone().or(file).unwrap_or_else(|| default.into());
        let config = Self {
            data_dir: path(&flags.data_dir, file.data_dir, "/var/lib/rcond"),
            run_dir: path(&flags.run_dir, file.run_dir, "/run/rcond"),
            socket_group: flags.socket_group.clone().or(file.socket_group).filter(|group| !group.is_empty()),
            cgroup_parent: path(&flags.cgroup_parent, file.cgroup_parent, "/rcon"),
            runtime: flags.runtime.clone().or(file.runtime),
            raft_timing_ms: [
                flags.heartbeat_ms.or(file.heartbeat_ms).unwrap_or(100),
                flags.election_min_ms.or(file.election_min_ms).unwrap_or(400),
                flags.election_max_ms.or(file.election_max_ms).unwrap_or(800),
            ],
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> anyhow::Result<()> {
        let paths = [("data_dir", &self.data_dir), ("run_dir", &self.run_dir), ("cgroup_parent", &self.cgroup_parent)];
        for (name, path) in paths {
            if !path.is_absolute() {
                bail!("{name} `{}` is not an absolute path", path.display());
            }
        }
        let [heartbeat, shortest, longest] = self.raft_timing_ms;
        if heartbeat == 0 || shortest < heartbeat * 2 || longest <= shortest {
            bail!(
                "Raft timing of heartbeat {heartbeat} ms and election {shortest} to {longest} ms cannot work: \
                 an election takes at least two heartbeats, and its longest time is above its shortest"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, flags: &[&str]) -> anyhow::Result<Config> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rcond.toml");
        fs::write(&path, file).unwrap();
        let path = path.display().to_string();
        let arguments = ["rcond", "--config", &path].into_iter().chain(flags.iter().copied());
        Config::load(&Flags::try_parse_from(arguments).unwrap())
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let config = load("data_dir = \"/a\"\nrun_dir = \"/b\"", &["--run-dir", "/c"]).unwrap();
        assert_eq!((config.data_dir, config.run_dir), (PathBuf::from("/a"), PathBuf::from("/c")));
        assert_eq!(config.raft_timing_ms, [100, 400, 800]);
    }

    #[test]
    fn a_configuration_that_cannot_work_is_refused() {
        for (file, flags) in [
            ("data_dri = \"/a\"", &[][..]),
            ("data_dir = \"a\"", &[]),
            ("", &["--heartbeat-ms", "0"]),
            ("", &["--heartbeat-ms", "300"]),
            ("", &["--election-max-ms", "400"]),
        ] {
            assert!(load(file, flags).is_err(), "{file} {flags:?}");
        }
    }
}
