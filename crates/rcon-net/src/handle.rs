//! A namespace held open, with sockets that were born in it.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, RawFd},
    os::unix::fs::MetadataExt,
    path::Path,
};

use crate::{NetError, namespace, socket::Netlink};

/// A namespace held open. While it is, the kernel keeps the namespace even if its file goes.
#[derive(Debug)]
pub(crate) struct Handle {
    file: File,
    /// Links, addresses, neighbours, routes.
    pub(crate) route: Netlink,
    /// Firewall and connections.
    pub(crate) netfilter: Netlink,
}

impl Handle {
    /// The namespace of the calling thread.
    pub(crate) fn here() -> Result<Self, NetError> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// The namespace bound to `path`.
    pub(crate) fn open(path: &Path) -> Result<Self, NetError> {
        let failed = |source| NetError::EnterNamespace { path: path.to_path_buf(), source };
        let file = File::open(path).map_err(failed)?;
        let (route, netfilter) = namespace::enter(&file, || Ok((Netlink::route()?, Netlink::netfilter()?))).map_err(failed)?;
        Ok(Self { file, route, netfilter })
    }

    /// Whether `path` still holds this namespace.
    pub(crate) fn is(&self, path: &Path) -> bool {
        let same = || Some(self.file.metadata().ok()?.ino() == path.metadata().ok()?.ino());
        namespace::exists(path) && same().unwrap_or(false)
    }

    /// For messages that name a namespace by descriptor.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Runs `work` inside, in a thread of its own.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        namespace::enter(&self.file, work)
    }
}
