//! The mounts of a container: the kernel's file systems as Docker sets them up, the files of `/etc`, then the user's.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Mount, MountBuilder};

use crate::{ContainerSpec, MountKind, MountSpec, SpecError};

/// Where the program of `--init` is inside; Docker's path, so that scripts that look for it work.
pub const INIT_DESTINATION: &str = "/sbin/docker-init";

/// Docker's size of `/dev/shm`.
const SHM_SIZE_BYTES: u64 = 64 * 1024 * 1024;

/// All mounts in the order of mounting.
pub(crate) fn mounts(spec: &ContainerSpec) -> Result<Vec<Mount>, SpecError> {
    let overridden = |path: &str| spec.mounts.iter().any(|mount| mount.destination == Path::new(path));
    let mut all = Vec::new();
    for (destination, kind, source, options) in kernel_mounts(spec) {
        if !overridden(destination) {
            all.push(mount(spec, destination.into(), kind, source.into(), options)?);
        }
    }
    let files = &spec.etc_files;
    let etc = [("/etc/resolv.conf", &files.resolv_conf), ("/etc/hostname", &files.hostname), ("/etc/hosts", &files.hosts)];
    for (destination, source) in etc {
        if let Some(source) = source.as_ref().filter(|_| !overridden(destination)) {
            all.push(mount(spec, destination.into(), "bind", source.clone(), strings(&["rbind", "rprivate"]))?);
        }
    }
    if let Some(program) = &spec.init {
        all.push(mount(spec, INIT_DESTINATION.into(), "bind", program.clone(), strings(&["bind", "ro", "rprivate"]))?);
    }
    let mut own: Vec<&MountSpec> = spec.mounts.iter().collect();
    own.sort_by_key(|mount| mount.destination.components().count());
    for wanted in own {
        all.push(user_mount(spec, wanted)?);
    }
    Ok(all)
}

type KernelMount = (&'static str, &'static str, &'static str, Vec<String>);

fn kernel_mounts(spec: &ContainerSpec) -> Vec<KernelMount> {
    let writable = if spec.privileged { "rw" } else { "ro" };
    let shm = format!("size={}", spec.shm_size_bytes.unwrap_or(SHM_SIZE_BYTES));
    let mut shm_options = strings(&["nosuid", "noexec", "nodev", "mode=1777"]);
    shm_options.push(shm);
    vec![
        ("/proc", "proc", "proc", strings(&["nosuid", "noexec", "nodev"])),
        ("/dev", "tmpfs", "tmpfs", strings(&["nosuid", "strictatime", "mode=755", "size=65536k"])),
        ("/dev/pts", "devpts", "devpts", strings(&["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"])),
        ("/sys", "sysfs", "sysfs", strings(&["nosuid", "noexec", "nodev", writable])),
        ("/sys/fs/cgroup", "cgroup", "cgroup", strings(&["nosuid", "noexec", "nodev", writable])),
        ("/dev/mqueue", "mqueue", "mqueue", strings(&["nosuid", "noexec", "nodev"])),
        ("/dev/shm", "tmpfs", "shm", shm_options),
    ]
}

fn user_mount(spec: &ContainerSpec, wanted: &MountSpec) -> Result<Mount, SpecError> {
    absolute("mount's destination", &wanted.destination)?;
    let access = if wanted.read_only { "ro" } else { "rw" };
    match &wanted.kind {
        MountKind::Bind { source, propagation } => {
            absolute("mount's source", source)?;
            let options = strings(&["rbind", access, propagation.as_deref().unwrap_or("rprivate")]);
            mount(spec, wanted.destination.clone(), "bind", source.clone(), options)
        }
        MountKind::Tmpfs { size_bytes, mode } => {
            let mut options = strings(&["nosuid", "nodev", "noexec", access]);
            options.push(format!("mode={:o}", mode.unwrap_or(0o1777)));
            options.extend(size_bytes.map(|size| format!("size={size}")));
            mount(spec, wanted.destination.clone(), "tmpfs", "tmpfs".into(), options)
        }
    }
}

fn mount(spec: &ContainerSpec, destination: PathBuf, kind: &str, source: PathBuf, options: Vec<String>) -> Result<Mount, SpecError> {
    MountBuilder::default()
        .destination(destination)
        .typ(kind)
        .source(source)
        .options(options)
        .build()
        .map_err(|source| SpecError::Oci { id: spec.id.clone(), source })
}

/// Refuses a path that depends on somebody's working directory.
pub(crate) fn absolute(what: &'static str, path: &Path) -> Result<(), SpecError> {
    if path.is_absolute() { Ok(()) } else { Err(SpecError::RelativePath { what, path: path.display().to_string() }) }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
