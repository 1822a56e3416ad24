//! Powering a host (and the fabric, which is made the same way) on and off.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cgroup::{self, CgroupTree};
use crate::command;
use crate::error::LabError;
use crate::lab::{Lab, Locked};
use crate::limits;
use crate::network;
use crate::options::DataDisk;
use crate::process::ProcessId;
use crate::record::FABRIC;
use crate::role::BootPlan;
use crate::{daemon, disk, wait};

impl Lab {
    /// Powers a host off, at once: every process, namespace and device of it goes, its data directory stays.
    pub fn off(&self, name: &str) -> Result<(), LabError> {
        let mut locked = self.lock()?;
        let position = locked.position(name)?;
        let init = locked.running(name)?;
        let cgroups = locked.record.cgroups.child(name);
        crate::process::send_kill(init.pid)?;
        if locked.record.hosts[position].frozen {
            // A frozen process takes even SIGKILL only when it is thawed.
            cgroups.set_frozen(false, limits::FREEZE_DEADLINE)?;
        }
        init.kill_and_wait(limits::KILL_DEADLINE)?;
        wait::until(&format!("every process of `{name}` ends"), limits::TEARDOWN_DEADLINE, || {
            Ok(cgroups.processes().is_empty().then_some(()))
        })?;
        cgroups.destroy(limits::TEARDOWN_DEADLINE)?;
        disk::unplug(&locked, name)?;
        network::unplug(locked.fabric()?, name)?;
        let host = &mut locked.record.hosts[position];
        (host.init, host.frozen) = (None, false);
        locked.save()
    }

    /// Powers a host on and waits until its daemon answers.
    pub fn on(&self, name: &str) -> Result<(), LabError> {
        let mut locked = self.lock()?;
        let position = locked.position(name)?;
        if locked.running(name).is_ok() {
            return Err(LabError::HostState {
                name: name.to_owned(),
                state: "on already",
                hint: format!("`./dev lab off {name}` powers it off"),
            });
        }
        boot_host(&mut locked, position)?;
        daemon::spawn(&locked, position)?;
        daemon::wait_until_ready(&locked, position)
    }

    /// Stops every process of a host as one, containers too, until it is thawed.
    pub fn freeze(&self, name: &str) -> Result<(), LabError> {
        self.set_frozen(name, true)
    }

    /// Lets a frozen host go on.
    pub fn thaw(&self, name: &str) -> Result<(), LabError> {
        self.set_frozen(name, false)
    }

    fn set_frozen(&self, name: &str, frozen: bool) -> Result<(), LabError> {
        let mut locked = self.lock()?;
        let position = locked.position(name)?;
        locked.running(name)?;
        locked.record.cgroups.child(name).set_frozen(frozen, limits::FREEZE_DEADLINE)?;
        locked.record.hosts[position].frozen = frozen;
        locked.save()
    }
}

impl Locked {
    /// The first process of a host that is on, or of the fabric.
    pub fn running(&self, name: &str) -> Result<ProcessId, LabError> {
        let init = if name == FABRIC { self.record.fabric } else { self.host(name)?.init };
        init.filter(ProcessId::is_alive).ok_or_else(|| LabError::HostState {
            name: name.to_owned(),
            state: "powered off",
            hint: format!("`./dev lab on {name}` powers it on"),
        })
    }
}

/// Makes the fabric's namespaces, still without a bridge.
pub(crate) fn boot_fabric(locked: &Locked) -> Result<ProcessId, LabError> {
    let cgroups = locked.record.cgroups.child(FABRIC);
    let directory = make_directory(locked.host_directory(FABRIC))?;
    boot(locked, &cgroups, plan(FABRIC, &cgroups, &directory, network::fabric_sysctls())?)
}

/// Makes a host and plugs it in; its daemon is not started.
pub(crate) fn boot_host(locked: &mut Locked, position: usize) -> Result<(), LabError> {
    let (fabric, mtu) = (locked.fabric()?, locked.record.mtu);
    let host = &locked.record.hosts[position];
    let cgroups = locked.record.cgroups.child(&host.name);
    let directory = make_directory(locked.host_directory(&host.name))?;
    let data = make_directory(locked.data_directory(host))?;
    let mut plan = plan(&host.name, &cgroups, &directory, network::host_sysctls())?;
    if let DataDisk::Small { mebibytes } = host.options.data {
        plan.disk = Some((ready_disk(&directory, mebibytes)?, data));
    }
    let init = boot(locked, &cgroups, plan)?;
    locked.record.hosts[position].init = Some(init);
    locked.save()?;
    let host = &locked.record.hosts[position];
    if host.options.data == DataDisk::SyncedOnly {
        disk::plug(locked, &host.name, init.pid, &locked.data_directory(host))?;
    }
    network::plug(fabric, &locked.record.hosts[position], init.pid, mtu)
}

fn plan(name: &str, cgroups: &CgroupTree, directory: &Path, sysctls: Vec<(String, String)>) -> Result<BootPlan, LabError> {
    Ok(BootPlan {
        hostname: name.to_owned(),
        cgroups: cgroups.directories(),
        seats: cgroups.seats(),
        hierarchies: cgroup::hierarchies()?,
        sysctls,
        disk: None,
        log: directory.join("host.log"),
    })
}

fn boot(locked: &Locked, cgroups: &CgroupTree, plan: BootPlan) -> Result<ProcessId, LabError> {
    cgroups.create()?;
    cgroups.create_seats()?;
    let text = serde_json::to_string(&plan).map_err(|error| LabError::Invalid(format!("the plan cannot be written: {error}")))?;
    let mut host = Command::new(locked.record.binaries.join("rcon-lab-host"));
    host.args(["boot", &text]);
    command::die_with_caller(&mut host);
    let printed = command::run(&mut host)?;
    let init = printed.trim().parse().ok().and_then(ProcessId::of);
    init.ok_or_else(|| LabError::Invalid(format!("the first process of `{}` has ended at once", plan.hostname)))
}

/// Makes the disk's image on the first boot, and waits on later ones until the kernel has let go of it.
fn ready_disk(directory: &Path, mebibytes: u64) -> Result<PathBuf, LabError> {
    let image = directory.join("disk.img");
    if !image.exists() {
        let file = File::create(&image).map_err(|error| LabError::file("make", &image, error))?;
        file.set_len(mebibytes << 20).map_err(|error| LabError::file("grow", &image, error))?;
        command::run(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image))?;
    }
    wait::until("the disk of the host before is let go of", limits::TEARDOWN_DEADLINE, || Ok((!is_attached(&image)).then_some(())))?;
    Ok(image)
}

fn is_attached(image: &Path) -> bool {
    let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    devices
        .filter_map(|device| fs::read_to_string(device.path().join("loop/backing_file")).ok())
        .any(|file| Path::new(file.trim_end()) == image)
}

fn make_directory(path: PathBuf) -> Result<PathBuf, LabError> {
    fs::create_dir_all(&path).map_err(|error| LabError::file("make", &path, error))?;
    Ok(path)
}
