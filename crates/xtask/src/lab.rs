//! `lab`: hosts on this machine for people and scripts; each verb is one call of `rcon-lab`.

use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use rcon_lab::{Daemon, DataDisk, Direction, Lab, LabError, LabName, LabOptions, wait};

/// The lab and its verb.
#[derive(Debug, Args)]
pub struct LabArgs {
    /// Which lab is meant, when there are several
    #[arg(long = "lab", value_name = "ID", env = rcon_lab::ID_VARIABLE, default_value = "default", global = true)]
    id: String,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make the hosts and start rcond on each
    Up(Up),
    /// Run a command on a host (or on `fabric`), with its input, output and exit status
    Exec {
        /// h1, h2, … or fabric
        host: String,
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
        command: Vec<String>,
    },
    /// Kill rcond with SIGKILL and nothing else, or the processes of that name
    Kill {
        host: String,
        /// A program, or a program and its role: `rcond tunnel`
        process: Vec<String>,
    },
    /// Start rcond again after it was killed
    Start { host: String },
    /// Power a host off: all of it but its data directory goes
    Off { host: String },
    /// Power a host on and start rcond
    On { host: String },
    /// Stop every process of a host as one
    Freeze { host: String },
    /// Let a frozen host go on
    Thaw { host: String },
    /// Cut hosts off from all others, until heal
    Partition {
        #[arg(required = true)]
        hosts: Vec<String>,
        /// Drop only what they send: they still hear the others
        #[arg(long)]
        one_way: bool,
    },
    /// Drop frames from and to hosts at random, until heal
    Loss {
        percent: f64,
        #[arg(required = true)]
        hosts: Vec<String>,
    },
    /// End all partitions and losses
    Heal,
    /// What is there
    Status {
        #[arg(long)]
        json: bool,
    },
    /// Take everything down, also what a crash has left
    Down,
}

#[derive(Debug, Args)]
struct Up {
    /// How many hosts
    #[arg(long, default_value_t = 3)]
    hosts: usize,
    /// Give each host's data directory a disk of its own of this size, in MiB
    #[arg(long, value_name = "N")]
    disk_mib: Option<u64>,
    /// MTU of the fabric, in bytes
    #[arg(long, default_value_t = 1500)]
    mtu: u32,
    /// Do not start rcond
    #[arg(long)]
    no_daemon: bool,
}

/// Does what was asked and gives the exit status of `exec`'s command.
pub fn run(arguments: LabArgs) -> anyhow::Result<ExitCode> {
    let name = LabName::new(&arguments.id)?;
    match arguments.verb {
        Verb::Up(up) => bring_up(name, &up)?,
        Verb::Down => match Lab::down(&name) {
            Err(LabError::NoSuchLab { .. }) => println!("lab `{}` is not up", name.id),
            outcome => outcome?,
        },
        verb => return on_lab(&Lab::open(name)?, verb),
    }
    Ok(ExitCode::SUCCESS)
}

fn on_lab(lab: &Lab, verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Up(_) | Verb::Down => {}
        Verb::Exec { host, command } => {
            let failure = lab.command(&host, &command[0])?.args(&command[1..]).exec();
            return Err(failure).with_context(|| format!("could not enter `{host}`"));
        }
        Verb::Kill { host, process } => {
            let name = (!process.is_empty()).then(|| process.join(" "));
            let killed = lab.kill(&host, name.as_deref())?;
            println!("killed {} on {host}", killed.iter().map(i32::to_string).collect::<Vec<_>>().join(", "));
        }
        Verb::Start { host } => lab.start(&host)?,
        Verb::Off { host } => lab.off(&host)?,
        Verb::On { host } => lab.on(&host)?,
        Verb::Freeze { host } => lab.freeze(&host)?,
        Verb::Thaw { host } => lab.thaw(&host)?,
        Verb::Partition { hosts, one_way } => lab.partition(&names(&hosts), if one_way { Direction::OneWay } else { Direction::Both })?,
        Verb::Loss { percent, hosts } => lab.lose(&names(&hosts), percent)?,
        Verb::Heal => lab.heal()?,
        Verb::Status { json } => print_status(lab, json)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn bring_up(name: LabName, up: &Up) -> anyhow::Result<()> {
    let mut options = LabOptions::new(name, up.hosts);
    options.mtu = up.mtu;
    for host in &mut options.hosts {
        if up.no_daemon {
            host.daemon = Daemon::Nothing;
        }
        if let Some(mebibytes) = up.disk_mib {
            host.data = DataDisk::Small { mebibytes };
        }
    }
    wait::stop_on_signals()?;
    print_status(&Lab::up(&options)?, false)
}

fn print_status(lab: &Lab, json: bool) -> anyhow::Result<()> {
    let status = lab.status()?;
    if json {
        println!("{}", serde_json::to_string_pretty(&status)?);
        return Ok(());
    }
    println!("lab `{}` in {}, fabric {}", lab.name().id, lab.directory().display(), status.fabric.netns.display());
    println!("{:<6} {:<8} {:<12} {:<40} DATA", "HOST", "PID", "ADDRESS", "SOCKET");
    for host in status.hosts {
        let pid = host.pid.map_or("off".to_owned(), |pid| pid.to_string());
        let socket = host.socket.map_or("-".to_owned(), |socket| socket.display().to_string());
        println!("{:<6} {pid:<8} {:<12} {socket:<40} {}", host.name, host.address, host.data_dir.display());
    }
    Ok(())
}

fn names(hosts: &[String]) -> Vec<&str> {
    hosts.iter().map(String::as_str).collect()
}
