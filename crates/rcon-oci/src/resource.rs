//! Limits of the cgroup, the devices a container may open, and the limits of its processes.

use oci_spec::runtime::{
    LinuxCpuBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResources,
    LinuxResourcesBuilder, PosixRlimit, PosixRlimitBuilder, PosixRlimitType,
};

use crate::{ContainerSpec, HostFacts, Limit, LimitKind, SpecError};

/// Character devices that may be read and written: null, zero, full, random, urandom, tty, console, ptmx (kernel's devices.txt).
const OPEN_DEVICES: [(i64, i64); 8] = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)];

/// Major number of the pseudo-terminals' slaves.
const PTS_MAJOR: i64 = 136;

/// The cgroup's part of the specification.
pub(crate) fn resources(spec: &ContainerSpec) -> Result<LinuxResources, SpecError> {
    let oci = |source| SpecError::Oci { id: spec.id.clone(), source };
    let wanted = &spec.resources;
    let mut built = LinuxResourcesBuilder::default().devices(devices(spec.privileged).map_err(oci)?);
    if wanted.memory_bytes.is_some() || wanted.memory_reservation_bytes.is_some() {
        let mut memory = LinuxMemoryBuilder::default();
        if let Some(limit) = wanted.memory_bytes {
            let swap = wanted.memory_swap_bytes.unwrap_or(limit.saturating_mul(2));
            memory = memory.limit(signed("memory limit", limit)?).swap(signed("memory and swap limit", swap)?);
        }
        if let Some(reservation) = wanted.memory_reservation_bytes {
            memory = memory.reservation(signed("memory reservation", reservation)?);
        }
        built = built.memory(memory.build().map_err(oci)?);
    }
    if let Some(limit) = wanted.pids {
        built = built.pids(LinuxPidsBuilder::default().limit(signed("pids limit", limit)?).build().map_err(oci)?);
    }
    if wanted.cpu_shares.or(wanted.cpu_quota_us).or(wanted.cpu_period_us).is_some() || wanted.cpuset_cpus.is_some() {
        let mut cpu = LinuxCpuBuilder::default();
        if let Some(shares) = wanted.cpu_shares {
            cpu = cpu.shares(shares);
        }
        if let Some(quota) = wanted.cpu_quota_us {
            cpu = cpu.quota(signed("CPU quota", quota)?);
        }
        if let Some(period) = wanted.cpu_period_us {
            cpu = cpu.period(period);
        }
        if let Some(cpus) = &wanted.cpuset_cpus {
            cpu = cpu.cpus(cpus.clone());
        }
        built = built.cpu(cpu.build().map_err(oci)?);
    }
    built.build().map_err(oci)
}

/// Everything denied, then: any node may be made (mknod is harmless without access), and the open ones used.
fn devices(privileged: bool) -> Result<Vec<LinuxDeviceCgroup>, oci_spec::OciSpecError> {
    let any = |allow: bool, access: &str| LinuxDeviceCgroupBuilder::default().allow(allow).typ(LinuxDeviceType::A).access(access).build();
    if privileged {
        return Ok(vec![any(true, "rwm")?]);
    }
    let mut rules = vec![any(false, "rwm")?];
    for kind in [LinuxDeviceType::C, LinuxDeviceType::B] {
        rules.push(LinuxDeviceCgroupBuilder::default().allow(true).typ(kind).access("m").build()?);
    }
    let open = |major| LinuxDeviceCgroupBuilder::default().allow(true).typ(LinuxDeviceType::C).major(major).access("rwm");
    for (major, minor) in OPEN_DEVICES {
        rules.push(open(major).minor(minor).build()?);
    }
    rules.push(open(PTS_MAJOR).build()?);
    Ok(rules)
}

/// The processes' limits, none above the host's own hard limit.
pub(crate) fn limits(spec: &ContainerSpec, host: &HostFacts) -> Result<Vec<PosixRlimit>, SpecError> {
    spec.limits
        .iter()
        .map(|Limit { kind, soft, hard }| {
            if soft > hard {
                return Err(SpecError::LimitInverted { kind: *kind, soft: *soft, hard: *hard });
            }
            if let Some(allowed) = host.hard_limits.get(kind).filter(|allowed| hard > allowed) {
                return Err(SpecError::LimitAboveOwn { kind: *kind, wanted: *hard, allowed: *allowed });
            }
            PosixRlimitBuilder::default()
                .typ(oci_kind(*kind))
                .soft(*soft)
                .hard(*hard)
                .build()
                .map_err(|source| SpecError::Oci { id: spec.id.clone(), source })
        })
        .collect()
}

fn oci_kind(kind: LimitKind) -> PosixRlimitType {
    match kind {
        LimitKind::As => PosixRlimitType::RlimitAs,
        LimitKind::Core => PosixRlimitType::RlimitCore,
        LimitKind::Cpu => PosixRlimitType::RlimitCpu,
        LimitKind::Data => PosixRlimitType::RlimitData,
        LimitKind::Fsize => PosixRlimitType::RlimitFsize,
        LimitKind::Locks => PosixRlimitType::RlimitLocks,
        LimitKind::Memlock => PosixRlimitType::RlimitMemlock,
        LimitKind::Msgqueue => PosixRlimitType::RlimitMsgqueue,
        LimitKind::Nice => PosixRlimitType::RlimitNice,
        LimitKind::Nofile => PosixRlimitType::RlimitNofile,
        LimitKind::Nproc => PosixRlimitType::RlimitNproc,
        LimitKind::Rss => PosixRlimitType::RlimitRss,
        LimitKind::Rtprio => PosixRlimitType::RlimitRtprio,
        LimitKind::Rttime => PosixRlimitType::RlimitRttime,
        LimitKind::Sigpending => PosixRlimitType::RlimitSigpending,
        LimitKind::Stack => PosixRlimitType::RlimitStack,
    }
}

fn signed(what: &'static str, value: u64) -> Result<i64, SpecError> {
    i64::try_from(value).map_err(|_| SpecError::OutOfRange { what, value })
}
