//! A container as the engine describes it, and the facts of the host that shape its specification.

use std::{collections::BTreeMap, path::PathBuf};

/// A container before it has a specification. Every name is resolved (users to numbers, volumes to paths).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSpec {
    /// The runtime's name for the container: the 64 hexadecimal digits of its id.
    pub id: String,
    /// Its root file system, mounted already.
    pub root: RootFileSystem,
    /// The program and its arguments; never empty.
    pub args: Vec<String>,
    /// `KEY=VALUE`, in order; a `PATH` and `HOSTNAME` are added when absent.
    pub env: Vec<String>,
    /// Absolute path of the working directory inside; it exists.
    pub cwd: PathBuf,
    /// Who runs it.
    pub user: ProcessUser,
    /// A pseudo-terminal instead of three pipes.
    pub tty: bool,
    /// The host name inside; empty keeps that of the UTS namespace's parent.
    pub hostname: String,
    /// The NIS domain name inside; empty for none.
    pub domainname: String,
    /// Volumes, binds and tmpfs of the user, after the defaults and sorted by destination.
    pub mounts: Vec<MountSpec>,
    /// Files of the host that become the container's `/etc/hosts` and so on.
    pub etc_files: EtcFiles,
    /// Where its interfaces are.
    pub network: NetworkNamespace,
    /// The cgroup, as a path from the root of each hierarchy, e.g. `/rcon/<id>`.
    pub cgroup_path: PathBuf,
    /// Labels; they become annotations.
    pub labels: BTreeMap<String, String>,
    /// Capabilities beyond or below the default.
    pub capabilities: CapabilityChanges,
    /// Which system calls are allowed.
    pub seccomp: SeccompChoice,
    /// All capabilities, no seccomp, nothing masked, all devices.
    pub privileged: bool,
    /// Set `no_new_privs`; `false` leaves the field out, since libcontainer refuses an explicit `false` with a seccomp profile.
    pub no_new_privileges: bool,
    /// Limits of memory, processes and CPU.
    pub resources: Resources,
    /// Resource limits (`ulimit`) of its processes.
    pub limits: Vec<Limit>,
    /// Kernel parameters of its namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Size of `/dev/shm`, bytes; `None` is Docker's 64 MiB.
    pub shm_size_bytes: Option<u64>,
    /// A static program of the host that reaps and forwards signals (`--init`); it gets the container's command as arguments.
    pub init: Option<PathBuf>,
}

impl ContainerSpec {
    /// A container with Docker's defaults that runs `args` as root in `root`, without a network.
    #[must_use]
    pub fn new(id: impl Into<String>, root: impl Into<PathBuf>, args: Vec<String>) -> Self {
        let id = id.into();
        Self {
            cgroup_path: PathBuf::from("/rcon").join(&id),
            hostname: id.chars().take(12).collect(),
            id,
            root: RootFileSystem { path: root.into(), read_only: false },
            args,
            env: Vec::new(),
            cwd: PathBuf::from("/"),
            user: ProcessUser::default(),
            tty: false,
            domainname: String::new(),
            mounts: Vec::new(),
            etc_files: EtcFiles::default(),
            network: NetworkNamespace::New,
            labels: BTreeMap::new(),
            capabilities: CapabilityChanges::default(),
            seccomp: SeccompChoice::Default,
            privileged: false,
            no_new_privileges: false,
            resources: Resources::default(),
            limits: Vec::new(),
            sysctls: BTreeMap::new(),
            shm_size_bytes: None,
            init: None,
        }
    }
}

/// The root file system of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootFileSystem {
    /// Absolute path on the host.
    pub path: PathBuf,
    /// Nothing below it can be written, but for mounts.
    pub read_only: bool,
}

/// Who a process runs as, in numbers of the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ProcessUser {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups; like Docker, the primary group should be among them.
    #[serde(default)]
    pub additional_gids: Vec<u32>,
}

/// Where a container's network interfaces live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkNamespace {
    /// A fresh namespace with nothing but a loopback that is down.
    New,
    /// A namespace that somebody made, by the path of its handle.
    Path(PathBuf),
    /// That of the host.
    Host,
}

/// One mount that the user asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountSpec {
    /// Absolute path inside the container.
    pub destination: PathBuf,
    /// What is mounted there.
    pub kind: MountKind,
    /// Not writable.
    pub read_only: bool,
}

/// What a [`MountSpec`] mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountKind {
    /// A file or directory of the host, with what is mounted below it.
    Bind {
        /// Absolute path on the host.
        source: PathBuf,
        /// Mount propagation, e.g. `rslave`; `None` is `rprivate`.
        propagation: Option<String>,
    },
    /// Memory.
    Tmpfs {
        /// Largest size, bytes; `None` is the kernel's half of memory.
        size_bytes: Option<u64>,
        /// Permission bits of its root; `None` is 1777.
        mode: Option<u32>,
    },
}

/// Host paths that are bound over files in the container's `/etc`; an absent one leaves the image's file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EtcFiles {
    /// For `/etc/hosts`.
    pub hosts: Option<PathBuf>,
    /// For `/etc/hostname`.
    pub hostname: Option<PathBuf>,
    /// For `/etc/resolv.conf`.
    pub resolv_conf: Option<PathBuf>,
}

/// Changes to Docker's default capabilities, named with or without `CAP_`, in any case; `ALL` is understood in both lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CapabilityChanges {
    /// Granted beyond the default.
    pub add: Vec<String>,
    /// Taken away.
    pub drop: Vec<String>,
}

/// Which system calls a container may make.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SeccompChoice {
    /// The default profile.
    #[default]
    Default,
    /// All.
    Unconfined,
}

/// Limits of a container's cgroup; `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// Memory, bytes.
    pub memory_bytes: Option<u64>,
    /// Memory and swap together, bytes; `None` with a memory limit is twice that, as in Docker.
    pub memory_swap_bytes: Option<u64>,
    /// Memory below which the kernel does not reclaim, bytes.
    pub memory_reservation_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Relative weight, 2 to 262144, 1024 being normal.
    pub cpu_shares: Option<u64>,
    /// CPU time a period, microseconds.
    pub cpu_quota_us: Option<u64>,
    /// Length of the period, microseconds; 1000 to 1000000.
    pub cpu_period_us: Option<u64>,
    /// CPUs, e.g. `0-2,7`.
    pub cpuset_cpus: Option<String>,
}

/// A resource limit (`setrlimit(2)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Of what.
    pub kind: LimitKind,
    /// What is enforced.
    pub soft: u64,
    /// How far a process may raise it; never above the host's own.
    pub hard: u64,
}

/// What a [`Limit`] limits; named as in `setrlimit(2)` without `RLIMIT_`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum LimitKind {
    As,
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

/// What the host is and can do; the engine finds out once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// The instruction set of its programs.
    pub architecture: Architecture,
    /// The running kernel.
    pub kernel: KernelVersion,
    /// Which cgroup interface the controllers are on.
    pub cgroup: CgroupVersion,
    /// Own hard limits; a limit that is missing here is not checked.
    pub hard_limits: BTreeMap<LimitKind, u64>,
    /// How many of cpu0, cpu1… have a `thermal_throttle` directory in sysfs, which is then masked.
    pub thermal_throttle_cpus: u32,
    /// The AppArmor profile for containers, where the kernel has AppArmor and the profile is loaded.
    pub apparmor_profile: Option<String>,
}

/// A kernel's version, as far as rules ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    /// The first number.
    pub major: u32,
    /// The second.
    pub minor: u32,
}

impl KernelVersion {
    /// The version in `uname -r`, e.g. `6.1.0-18-amd64`; `None` when it does not begin with two numbers.
    #[must_use]
    pub fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        Some(Self { major: numbers.next()?.parse().ok()?, minor: numbers.next()?.parse().ok()? })
    }
}

/// An instruction set that rules differ by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// amd64, with its 32-bit and x32 ABIs.
    X86_64,
    /// arm64, with its 32-bit ABI.
    Aarch64,
    /// riscv64.
    Riscv64,
    /// ppc64le.
    Ppc64le,
    /// s390x, with its 31-bit ABI.
    S390x,
}

/// Where the resource controllers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupVersion {
    /// One hierarchy a controller; also the hybrid layout.
    V1,
    /// The unified hierarchy.
    V2,
}
