//! A lab as a whole: made, found again, described, taken down.
//!
//! Each operation takes the lab's lock, reads its record, acts and writes the record, so that separate commands (and tests
//! on several threads) may use one lab.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::Serialize;

use crate::binaries::Binaries;
use crate::boot;
use crate::cgroup::{self, CgroupTree};
use crate::error::LabError;
use crate::faults::{Direction, Faults};
use crate::limits;
use crate::network;
use crate::options::{LabName, LabOptions};
use crate::process::ProcessId;
use crate::record::{FABRIC, HostRecord, Record};
use crate::{daemon, wait};

/// A lab that is up.
#[derive(Clone, Debug)]
pub struct Lab {
    name: LabName,
}

/// A lab as scripts see it. The fields are a promise.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// What joins the hosts.
    pub fabric: FabricStatus,
    /// The hosts, `h1` first.
    pub hosts: Vec<HostStatus>,
}

/// The fabric as scripts see it.
#[derive(Clone, Debug, Serialize)]
pub struct FabricStatus {
    /// Path of its network namespace, for `nsenter --net=`.
    pub netns: PathBuf,
}

/// A host as scripts see it.
#[derive(Clone, Debug, Serialize)]
pub struct HostStatus {
    /// `h1` and so on.
    pub name: String,
    /// Path of its network namespace; `None` while it is powered off.
    pub netns: Option<PathBuf>,
    /// The machine's number of its first process; `None` while it is powered off.
    pub pid: Option<i32>,
    /// Its address on the fabric.
    pub address: std::net::Ipv4Addr,
    /// Path of its `rcond`'s socket as the machine sees it; `None` while it is powered off.
    pub socket: Option<PathBuf>,
    /// Its `rcond`'s data directory.
    pub data_dir: PathBuf,
}

/// The lab's files, held by this process alone.
pub(crate) struct Locked {
    pub name: LabName,
    pub directory: PathBuf,
    pub record: Record,
    _lock: Flock<File>,
}

impl Lab {
    /// Makes a lab and waits until every host's daemon answers. What of it came up is taken down again on failure.
    pub fn up(options: &LabOptions) -> Result<Self, LabError> {
        options.check()?;
        check_machine()?;
        let binaries = Binaries::find()?;
        sweep(&options.name.directory);
        let directory = options.name.path();
        fs::create_dir_all(&directory).map_err(|error| LabError::file("make", &directory, error))?;
        let lock = lock(&options.name)?;
        if let Some(left_over) = Record::load(&directory)? {
            if left_over.is_in_use() {
                return Err(LabError::AlreadyUp { id: options.name.id.clone(), directory: options.name.directory.clone() });
            }
            left_over.cgroups.destroy(limits::TEARDOWN_DEADLINE)?;
            clear(&directory)?;
        }
        let record = plan(options, &binaries)?;
        record.save(&directory)?;
        let mut locked = Locked { name: options.name.clone(), directory, record, _lock: lock };
        match locked.bring_up() {
            Ok(()) => Ok(Self { name: options.name.clone() }),
            Err(error) => {
                wait::forget_interrupt();
                // The first failure is the one to report; what could not be removed is named in the record.
                let _ = locked.take_down();
                Err(error)
            }
        }
    }

    /// Finds a lab that is up.
    pub fn open(name: LabName) -> Result<Self, LabError> {
        Locked::open(&name)?;
        Ok(Self { name })
    }

    /// Takes down whatever is left of a lab: its processes, namespaces, cgroups and files. Works after any crash.
    pub fn down(name: &LabName) -> Result<(), LabError> {
        let directory = name.path();
        let lock = lock(name)?;
        let record = match Record::load(&directory) {
            Ok(Some(record)) => record,
            // Nothing is made before the record is written; an unreadable one still has the lab's usual cgroups.
            Ok(None) | Err(LabError::Record { .. }) => lost_record(name)?,
            Err(error) => return Err(error),
        };
        Locked { name: name.clone(), directory, record, _lock: lock }.take_down()
    }

    /// Which lab this is.
    pub fn name(&self) -> &LabName {
        &self.name
    }

    /// Where its files are: each host's log and data.
    pub fn directory(&self) -> PathBuf {
        self.name.path()
    }

    /// What is there.
    pub fn status(&self) -> Result<Status, LabError> {
        let locked = self.lock()?;
        let hosts = locked.record.hosts.iter().map(|host| {
            let pid = host.init.filter(ProcessId::is_alive).map(|init| init.pid);
            HostStatus {
                name: host.name.clone(),
                netns: pid.map(network::namespace_of),
                pid,
                address: host.ipv4,
                socket: pid.map(daemon::socket_seen_from_outside),
                data_dir: locked.data_directory(host),
            }
        });
        Ok(Status { fabric: FabricStatus { netns: network::namespace_of(locked.fabric()?) }, hosts: hosts.collect() })
    }

    /// Cuts the hosts off from the others, in addition to the faults there are.
    pub fn partition(&self, hosts: &[&str], direction: Direction) -> Result<(), LabError> {
        self.change_faults(hosts, |faults, hosts| {
            faults.partition(hosts, direction);
            Ok(())
        })
    }

    /// Drops each frame from or to the hosts with this probability in percent, in addition to the faults there are.
    pub fn lose(&self, hosts: &[&str], percent: f64) -> Result<(), LabError> {
        self.change_faults(hosts, |faults, hosts| faults.lose(hosts, percent))
    }

    /// Ends all partitions and losses.
    pub fn heal(&self) -> Result<(), LabError> {
        self.change_faults(&[], |faults, _| {
            *faults = Faults::default();
            Ok(())
        })
    }

    fn change_faults(&self, hosts: &[&str], change: impl FnOnce(&mut Faults, Vec<String>) -> Result<(), LabError>) -> Result<(), LabError> {
        let mut locked = self.lock()?;
        let names = hosts.iter().map(|name| locked.host(name).map(|host| host.name.clone())).collect::<Result<_, _>>()?;
        change(&mut locked.record.faults, names)?;
        network::inflict(locked.fabric()?, &locked.record.faults)?;
        locked.save()
    }

    pub(crate) fn lock(&self) -> Result<Locked, LabError> {
        Locked::open(&self.name)
    }
}

impl Locked {
    fn open(name: &LabName) -> Result<Self, LabError> {
        let lock = lock(name)?;
        let directory = name.path();
        match Record::load(&directory)? {
            Some(record) if record.complete => Ok(Self { name: name.clone(), directory, record, _lock: lock }),
            _ => Err(no_such_lab(name)),
        }
    }

    pub fn save(&self) -> Result<(), LabError> {
        self.record.save(&self.directory)
    }

    /// The fabric's first process.
    pub fn fabric(&self) -> Result<i32, LabError> {
        let running = self.record.fabric.filter(ProcessId::is_alive);
        running.map(|fabric| fabric.pid).ok_or_else(|| LabError::HostState {
            name: FABRIC.into(),
            state: "gone",
            hint: "`./dev lab down` removes what is left of this lab".into(),
        })
    }

    pub fn host(&self, name: &str) -> Result<&HostRecord, LabError> {
        let position = self.position(name)?;
        Ok(&self.record.hosts[position])
    }

    pub fn position(&self, name: &str) -> Result<usize, LabError> {
        self.record.hosts.iter().position(|host| host.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.record.hosts.iter().map(|host| host.name.as_str()).collect();
            LabError::NoSuchHost { id: self.name.id.clone(), name: name.to_owned(), known: known.join(", ") }
        })
    }

    /// Where a host's files are.
    pub fn host_directory(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Where its daemon keeps its data.
    pub fn data_directory(&self, host: &HostRecord) -> PathBuf {
        self.host_directory(&host.name).join("data")
    }

    fn bring_up(&mut self) -> Result<(), LabError> {
        self.record.cgroups.create()?;
        let fabric = boot::boot_fabric(self)?;
        self.record.fabric = Some(fabric);
        self.save()?;
        network::lay_fabric(fabric.pid, self.record.mtu)?;
        for position in 0..self.record.hosts.len() {
            boot::boot_host(self, position)?;
        }
        for position in 0..self.record.hosts.len() {
            daemon::spawn(self, position)?;
        }
        for position in 0..self.record.hosts.len() {
            daemon::wait_until_ready(self, position)?;
        }
        self.record.complete = true;
        self.save()
    }

    fn take_down(self) -> Result<(), LabError> {
        self.record.cgroups.destroy(limits::TEARDOWN_DEADLINE)?;
        clear(&self.directory)?;
        match fs::remove_dir(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(LabError::file("remove", &self.directory, error)),
            _ => {
                // The directory of all labs goes with the last of them.
                let _ = fs::remove_dir(&self.name.directory);
                Ok(())
            }
        }
    }
}

fn plan(options: &LabOptions, binaries: &Binaries) -> Result<Record, LabError> {
    let hosts = options.hosts.iter().enumerate().map(|(position, options)| {
        let (ipv4, ipv6) = network::addresses(position + 1);
        HostRecord { name: format!("h{}", position + 1), options: options.clone(), ipv4, ipv6, init: None, frozen: false }
    });
    Ok(Record {
        binaries: binaries.directory().to_owned(),
        owner: if options.temporary { ProcessId::own() } else { None },
        complete: false,
        cgroups: CgroupTree::plan(&cgroup::hierarchies()?, &cgroup_name(&options.name)),
        mtu: options.mtu,
        fabric: None,
        hosts: hosts.collect(),
        faults: Faults::default(),
    })
}

fn lost_record(name: &LabName) -> Result<Record, LabError> {
    Ok(Record {
        binaries: PathBuf::new(),
        owner: None,
        complete: false,
        cgroups: CgroupTree::plan(&cgroup::hierarchies()?, &cgroup_name(name)),
        mtu: 0,
        fabric: None,
        hosts: Vec::new(),
        faults: Faults::default(),
    })
}

/// Unique on the machine: the lab's id is unique in its directory, whose path is mixed in (FNV-1a).
fn cgroup_name(name: &LabName) -> String {
    let path = name.path();
    let hash =
        path.as_os_str().as_encoded_bytes().iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    format!("rcon-lab-{}-{hash:08x}", name.id)
}

/// Takes down the temporary labs whose process has ended without doing so.
fn sweep(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().map(str::to_owned) else { continue };
        let forgotten =
            Record::load(&entry.path()).ok().flatten().is_some_and(|record| record.owner.is_some_and(|owner| !owner.is_alive()));
        if forgotten {
            // Somebody else may be doing the same at this moment.
            let _ = Lab::down(&LabName { id, directory: directory.to_owned() });
        }
    }
}

/// Takes the lock of a lab that has a directory: a lock on the directory itself, so that it leaves no file behind.
fn lock(name: &LabName) -> Result<Flock<File>, LabError> {
    let path = name.path();
    loop {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(no_such_lab(name)),
            Err(error) => return Err(LabError::file("open", path, error)),
        };
        match Flock::lock(file, FlockArg::LockExclusive) {
            Ok(lock) => {
                // While we waited, the lab may have been taken down, and another one made in its place.
                if same_file(&lock, &path) {
                    return Ok(lock);
                }
            }
            Err((_, nix::errno::Errno::EINTR)) if wait::interrupted() => return Err(LabError::Interrupted),
            Err((_, nix::errno::Errno::EINTR)) => {}
            Err((_, error)) => return Err(LabError::file("lock", path, error)),
        }
    }
}

fn same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(held), Ok(there)) => held.ino() == there.ino() && held.dev() == there.dev(),
        _ => false,
    }
}

/// Empties a lab's directory, its record last. Mounts of its hosts may be in the way for a moment after they have ended.
fn clear(directory: &Path) -> Result<(), LabError> {
    wait::until(&format!("`{}` is empty", directory.display()), limits::TEARDOWN_DEADLINE, || {
        for entry in fs::read_dir(directory).map_err(|error| LabError::file("list", directory, error))?.flatten() {
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_directory && fs::remove_dir_all(entry.path()).is_err() {
                return Ok(None);
            }
        }
        for entry in fs::read_dir(directory).map_err(|error| LabError::file("list", directory, error))?.flatten() {
            fs::remove_file(entry.path()).map_err(|error| LabError::file("remove", entry.path(), error))?;
        }
        Ok(Some(()))
    })
}

fn check_machine() -> Result<(), LabError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(LabError::Unsupported { reason: "namespaces and devices are root's to make".into(), hint: "run it as root" });
    }
    for program in ["ip", "nft"] {
        let places = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
        if !places.iter().any(|place| Path::new(place).join(program).exists()) {
            return Err(LabError::Unsupported {
                reason: format!("there is no `{program}`"),
                hint: "install Debian's packages iproute2 and nftables, or start with `./dev`, which does",
            });
        }
    }
    Ok(())
}

fn no_such_lab(name: &LabName) -> LabError {
    LabError::NoSuchLab { id: name.id.clone(), directory: name.directory.clone() }
}
