//! The host's network as the agent sees it: a handle to the thread that holds it.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use rcon_netplan::{HostNetwork, names};
use rcon_types::{ContainerId, Mtu};
use tokio::sync::{oneshot, watch};

use crate::{NetError, Report, WireguardPeer, worker};

/// Where this host's network keeps its things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `/run/rcond`; namespaces are bound to files in its directory `netns`.
    pub run_dir: PathBuf,
    /// This node's X25519 private key, read only for the kernel's WireGuard device: 32 raw bytes, 64 hexadecimal digits or base64.
    pub private_key_file: PathBuf,
}

/// The interface that has an address of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Underlay {
    /// Its name.
    pub interface: String,
    /// Its MTU.
    pub mtu: Mtu,
}

/// The host's network. Cheap to clone; the thread behind it ends with the last handle. The kernel keeps what was applied.
#[derive(Debug, Clone)]
pub struct HostNet {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    worker: worker::Client,
}

impl HostNet {
    /// Starts the thread that holds the network of the calling thread's namespace. Changes nothing in the kernel yet.
    ///
    /// # Errors
    /// When the run directory or the sockets cannot be opened.
    pub fn open(options: Options) -> Result<Self, NetError> {
        let directory = options.run_dir.join("netns");
        std::fs::create_dir_all(&directory).map_err(|source| NetError::RunDirectory { path: directory.clone(), source })?;
        let worker = worker::start(&directory, options)?;
        Ok(Self { inner: Arc::new(Inner { directory, worker }) })
    }

    /// Makes the kernel what `desired` says, and remembers it: from now on damage is mended within a second.
    ///
    /// What cannot be done is in the report; the other networks are not held up by it.
    ///
    /// # Errors
    /// When the kernel cannot even be observed, or the thread is gone.
    pub async fn apply(&self, desired: HostNetwork) -> Result<Report, NetError> {
        self.ask(|reply| worker::Command::Apply { desired: Box::new(desired), reply }).await
    }

    /// Compares everything with the kernel and mends it, whatever was believed before.
    ///
    /// # Errors
    /// As [`HostNet::apply`].
    pub async fn resync(&self) -> Result<Report, NetError> {
        self.ask(|reply| worker::Command::Resync { reply }).await
    }

    /// The latest report; changes with each pass, also with those that damage caused.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Report> {
        self.inner.worker.reports()
    }

    /// Makes an empty network namespace for a container, with the loopback up, and returns the file that holds it.
    ///
    /// Made already: the same file again. Does not wait for passes in progress.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn create_container_namespace(&self, container: ContainerId) -> Result<PathBuf, NetError> {
        let path = self.container_namespace(container);
        blocking(move || crate::namespace::create(&path, crate::namespace::Purpose::Container).map(|()| path)).await
    }

    /// Drops a container's namespace, and with it every link in it. Not there: nothing to do.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub async fn delete_container_namespace(&self, container: ContainerId) -> Result<(), NetError> {
        self.ask(|reply| worker::Command::Forget { container, reply }).await?;
        let path = self.container_namespace(container);
        blocking(move || crate::namespace::remove(&path)).await
    }

    /// The file that holds a container's namespace, there or not.
    #[must_use]
    pub fn container_namespace(&self, container: ContainerId) -> PathBuf {
        self.inner.directory.join(container.to_string())
    }

    /// The file that holds the namespace of all overlays, there or not.
    #[must_use]
    pub fn overlay_namespace(&self) -> PathBuf {
        overlay_namespace(&self.inner.directory)
    }

    /// The interface that has `address`; `None` where no interface of this host has it.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub async fn underlay(&self, address: IpAddr) -> Result<Option<Underlay>, NetError> {
        self.ask(|reply| worker::Command::Underlay { address, reply }).await
    }

    /// What the kernel's WireGuard knows of its peers; empty while it is not the backend.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub async fn wireguard_peers(&self) -> Result<Vec<WireguardPeer>, NetError> {
        self.ask(|reply| worker::Command::WireguardPeers { reply }).await
    }

    /// Removes everything of ours from this host's kernel: for leaving a cluster. The namespaces of containers stay.
    ///
    /// # Errors
    /// When something could not be removed; the rest is.
    pub async fn destroy(&self) -> Result<(), NetError> {
        self.ask(|reply| worker::Command::Destroy { reply }).await
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<Result<T, NetError>>) -> worker::Command) -> Result<T, NetError> {
        let (reply, answer) = oneshot::channel();
        self.inner.worker.send(command(reply)).await?;
        answer.await.map_err(|_| NetError::Gone)?
    }
}

/// The file of the namespace of all overlays below `directory`.
pub(crate) fn overlay_namespace(directory: &Path) -> PathBuf {
    directory.join(names::OVERLAY_NAMESPACE)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, NetError> + Send + 'static) -> Result<T, NetError> {
    let (reply, answer) = oneshot::channel();
    let spawned = thread::Builder::new().name("rcon-netns".into()).spawn(move || {
        let _ = reply.send(work());
    });
    spawned.map_err(|source| NetError::Socket { what: "a namespace's thread", source })?;
    answer.await.map_err(|_| NetError::Gone)?
}
