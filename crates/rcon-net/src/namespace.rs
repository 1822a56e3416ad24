//! Network namespaces kept by a file: made, entered and dropped. Never by fork, and never by moving a thread of the runtime:
//! each entry is a short-lived thread of its own.

use std::{
    fs::{self, File},
    io,
    path::Path,
    thread,
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    sys::statfs::statfs,
};

use crate::{NetError, link_up, sysctl};

/// `NSFS_MAGIC` in `include/uapi/linux/magic.h`.
const NSFS_MAGIC: i64 = 0x6e73_6673;

/// What a namespace is for, which decides how its interfaces behave before anything else is said about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// All overlays.
    Overlay,
    /// One container.
    Container,
}

/// Settings that interfaces inherit at birth in a container: addresses are handed out, never discovered; nobody asks for routers.
const CONTAINER_DEFAULTS: [(&str, &str); 6] = [
    ("net/ipv4/ip_forward", "0"),
    ("net/ipv6/conf/all/forwarding", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/default/dad_transmits", "0"),
    ("net/ipv6/conf/default/router_solicitations", "0"),
];

/// Makes a namespace and binds it to `path`, with its loopback up; there already: does nothing.
pub(crate) fn create(path: &Path, purpose: Purpose) -> Result<(), NetError> {
    if exists(path) {
        return Ok(());
    }
    let failed = |source| NetError::CreateNamespace { path: path.to_path_buf(), source };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    File::create(path).map_err(failed)?;
    in_own_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        if purpose == Purpose::Container {
            for (key, value) in CONTAINER_DEFAULTS {
                sysctl::write_if_present(key, value)?;
            }
        }
        link_up::loopback()?;
        // Last, so that a namespace that can be found is complete.
        mount(Some("/proc/thread-self/ns/net"), path, None::<&str>, MsFlags::MS_BIND, None::<&str>).map_err(io::Error::from)
    })
    .map_err(failed)
}

/// Drops the file and the namespace with it; not there: does nothing.
pub(crate) fn remove(path: &Path) -> Result<(), NetError> {
    let failed = |source| NetError::RemoveNamespace { path: path.to_path_buf(), source };
    // A crash may have left several mounts on one file.
    while exists(path) {
        umount2(path, MntFlags::MNT_DETACH).map_err(|errno| failed(errno.into()))?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(()),
    }
}

/// Whether `path` holds a namespace.
pub(crate) fn exists(path: &Path) -> bool {
    statfs(path).is_ok_and(|stat| stat.filesystem_type().0 == NSFS_MAGIC)
}

/// Runs `work` in the namespace of `file`, in a thread of its own.
pub(crate) fn enter<T: Send>(file: &File, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    in_own_thread(|| {
        setns(file, CloneFlags::CLONE_NEWNET)?;
        work()
    })
}

/// Runs `work` in a new thread that ends with it, so that whatever it does to its namespaces is nobody else's.
pub(crate) fn in_own_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let spawned = thread::Builder::new().name("rcon-netns".into()).spawn_scoped(scope, work)?;
        spawned.join().unwrap_or_else(|_| Err(io::Error::other("a namespace's thread panicked")))
    })
}
