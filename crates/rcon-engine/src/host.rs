//! What this host is and can do; found out once.

use std::{collections::BTreeMap, path::Path};

use nix::sys::{
    resource::{Resource, getrlimit},
    statfs::{CGROUP2_SUPER_MAGIC, statfs},
};
use rcon_oci::{Architecture, CgroupVersion, HostFacts, KernelVersion, LimitKind};

/// Where the hierarchies are (cgroups(7)).
pub(crate) const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// The facts that shape a container's specification.
pub(crate) fn facts() -> HostFacts {
    HostFacts {
        architecture: architecture(),
        kernel: kernel(),
        cgroup: cgroup_version(),
        hard_limits: hard_limits(),
        thermal_throttle_cpus: thermal_throttle_cpus(),
        // Only where a profile of ours is loaded; loading it is not the engine's.
        apparmor_profile: None,
    }
}

fn architecture() -> Architecture {
    match std::env::consts::ARCH {
        "aarch64" => Architecture::Aarch64,
        "riscv64" => Architecture::Riscv64,
        "powerpc64" => Architecture::Ppc64le,
        "s390x" => Architecture::S390x,
        _ => Architecture::X86_64,
    }
}

fn kernel() -> KernelVersion {
    let uname = nix::sys::utsname::uname().ok();
    let release = uname.as_ref().and_then(|uname| uname.release().to_str());
    release.and_then(KernelVersion::parse).unwrap_or(KernelVersion { major: 5, minor: 0 })
}

/// Version 2 only where the whole tree is it; a hybrid layout has its controllers on version 1.
pub(crate) fn cgroup_version() -> CgroupVersion {
    match statfs(CGROUP_ROOT) {
        Ok(found) if found.filesystem_type() == CGROUP2_SUPER_MAGIC => CgroupVersion::V2,
        _ => CgroupVersion::V1,
    }
}

fn hard_limits() -> BTreeMap<LimitKind, u64> {
    let asked = [
        (LimitKind::As, Resource::RLIMIT_AS),
        (LimitKind::Core, Resource::RLIMIT_CORE),
        (LimitKind::Cpu, Resource::RLIMIT_CPU),
        (LimitKind::Data, Resource::RLIMIT_DATA),
        (LimitKind::Fsize, Resource::RLIMIT_FSIZE),
        (LimitKind::Memlock, Resource::RLIMIT_MEMLOCK),
        (LimitKind::Nofile, Resource::RLIMIT_NOFILE),
        (LimitKind::Nproc, Resource::RLIMIT_NPROC),
        (LimitKind::Stack, Resource::RLIMIT_STACK),
    ];
    asked.into_iter().filter_map(|(kind, resource)| Some((kind, getrlimit(resource).ok()?.1))).collect()
}

fn thermal_throttle_cpus() -> u32 {
    let has = |cpu: &u32| Path::new(&format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle")).is_dir();
    u32::try_from((0..).take_while(has).count()).unwrap_or(0)
}
