//! The engine: one value that the agent shares.

use std::{path::PathBuf, sync::Arc};

use rcon_image::{ImageStore, ImportRequest, Imported, Removed, Unpacker};
use rcon_types::ContainerId;
use tokio::{io::AsyncRead, sync::broadcast};

use crate::{
    error::EngineError,
    event::Event,
    record::{ContainerRecord, Exit},
    request::{AttachRequest, CreateRequest, Created, ExecRequest, ListFilter, LogQuery, NetworkFiles, NetworkNamespace, StopRequest},
    stream::{IoSession, LogStream},
};

/// Where an engine keeps things and what it starts containers with.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Survives a reboot: store, images, containers.
    pub data_dir: PathBuf,
    /// Does not: shims' sockets, exit files.
    pub run_dir: PathBuf,
    /// The `rcon-shim` binary; read once, at the opening, into sealed memory that is executed from then on.
    pub shim_binary: PathBuf,
    /// Another OCI runtime instead of the shim's own, e.g. `/usr/sbin/runc`.
    pub runtime: Option<PathBuf>,
    /// The cgroup below which containers' cgroups are made, from the root of each hierarchy, e.g. `/rcon`.
    pub cgroup_parent: PathBuf,
    /// Who unpacks archives.
    pub unpacker: Unpacker,
}

/// The containers and images of this host. Cheap to clone; all clones are one engine.
#[derive(Clone)]
pub struct Engine {
    images: Arc<ImageStore>,
}

impl Engine {
    /// Takes the data directory, finds the containers that run, and repairs what was left half done.
    ///
    /// # Errors
    /// When another daemon has the directory, or it cannot be read or written.
    pub async fn open(options: EngineOptions) -> Result<Self, EngineError> {
        let _ = options;
        Err(EngineError::ShuttingDown)
    }

    /// Lets go of the directory; containers go on.
    pub async fn close(&self) {}

    /// The images of this host. Its operations block.
    #[must_use]
    pub fn images(&self) -> Arc<ImageStore> {
        self.images.clone()
    }

    /// Makes an image of a root file system as a tar stream, plain or compressed with gzip or zstd.
    ///
    /// # Errors
    /// When the request or the archive is bad, or the disk is full; nothing is kept then.
    pub async fn import_image(
        &self,
        request: ImportRequest,
        archive: impl AsyncRead + Send + Unpin + 'static,
    ) -> Result<Imported, EngineError> {
        let _ = (request, archive);
        Err(EngineError::ShuttingDown)
    }

    /// Takes a name from an image; the image goes with its last name, or at once when named by its id.
    ///
    /// # Errors
    /// When there is none, or containers are made of it.
    pub async fn remove_image(&self, image: &str, force: bool) -> Result<Removed, EngineError> {
        let _ = (image, force);
        Err(EngineError::ShuttingDown)
    }

    /// Makes a container; nothing of it runs yet.
    ///
    /// # Errors
    /// When the image is unknown, the name is taken, the request makes no sense, or the disk is full.
    pub async fn create(&self, request: CreateRequest) -> Result<Created, EngineError> {
        let _ = request;
        Err(EngineError::ShuttingDown)
    }

    /// The container of a name, an id, or the start of an id; names win.
    ///
    /// # Errors
    /// When there is none, or several.
    pub fn resolve(&self, container: &str) -> Result<ContainerId, EngineError> {
        Err(EngineError::Unknown(container.to_owned()))
    }

    /// A container as it is now.
    ///
    /// # Errors
    /// When it is gone.
    pub fn inspect(&self, id: ContainerId) -> Result<ContainerRecord, EngineError> {
        Err(EngineError::Unknown(id.to_string()))
    }

    /// Containers as they are now, newest first.
    #[must_use]
    pub fn list(&self, filter: ListFilter) -> Vec<ContainerRecord> {
        let _ = filter;
        Vec::new()
    }

    /// Where the log of a container is.
    #[must_use]
    pub fn log_path(&self, id: ContainerId) -> PathBuf {
        let _ = id;
        PathBuf::new()
    }

    /// Replaces the agent's notes of a container; on disk when this returns.
    ///
    /// # Errors
    /// When it is gone, or the store fails.
    pub async fn set_notes(&self, id: ContainerId, notes: String) -> Result<(), EngineError> {
        let _ = (id, notes);
        Err(EngineError::ShuttingDown)
    }

    /// Starts a container in the network namespace that the agent has made for it.
    /// Who has attached before receives its output from the first byte.
    ///
    /// # Errors
    /// When it runs already, or cannot be started; [`EngineError::Start`] carries the exit code, and the container is
    /// then exited with that code (and gone, when it is to be removed automatically).
    pub async fn start(&self, id: ContainerId, namespace: NetworkNamespace, files: NetworkFiles) -> Result<(), EngineError> {
        let _ = (id, namespace, files);
        Err(EngineError::ShuttingDown)
    }

    /// Rewrites `/etc/hosts` and `/etc/resolv.conf` of a container, running or not, in place.
    ///
    /// # Errors
    /// When it is gone, or a file cannot be written.
    pub async fn set_network_files(&self, id: ContainerId, files: NetworkFiles) -> Result<(), EngineError> {
        let _ = (id, files);
        Err(EngineError::ShuttingDown)
    }

    /// Asks a container to end, and kills it when it does not. One that has ended already is no error.
    ///
    /// # Errors
    /// When it is gone, the signal is none, or the shim fails.
    pub async fn stop(&self, id: ContainerId, request: StopRequest) -> Result<(), EngineError> {
        let _ = (id, request);
        Err(EngineError::ShuttingDown)
    }

    /// Sends a signal (name with or without SIG, or a number; empty: KILL) to a running container's first process.
    ///
    /// # Errors
    /// When it does not run, or the signal is none.
    pub async fn kill(&self, id: ContainerId, signal: &str) -> Result<(), EngineError> {
        let _ = (id, signal);
        Err(EngineError::ShuttingDown)
    }

    /// Removes a container and all that is its own; with `force` also one that runs.
    ///
    /// # Errors
    /// When it runs (without `force`), or something of it cannot be removed; the next opening tries again.
    pub async fn remove(&self, id: ContainerId, force: bool) -> Result<(), EngineError> {
        let _ = (id, force);
        Err(EngineError::ShuttingDown)
    }

    /// Waits until a container has ended; at once when it has. One that was never started is waited for.
    ///
    /// # Errors
    /// When it is gone, or goes without having run.
    pub async fn wait(&self, id: ContainerId) -> Result<Exit, EngineError> {
        let _ = id;
        Err(EngineError::ShuttingDown)
    }

    /// Reads a container's log.
    ///
    /// # Errors
    /// When it is gone.
    pub async fn logs(&self, id: ContainerId, query: LogQuery) -> Result<LogStream, EngineError> {
        let _ = (id, query);
        Err(EngineError::ShuttingDown)
    }

    /// Runs a command in a running container; returns once it runs.
    ///
    /// # Errors
    /// When the container does not run, or the command cannot be started ([`EngineError::Exec`] carries the exit code).
    pub async fn exec(&self, id: ContainerId, request: ExecRequest) -> Result<IoSession, EngineError> {
        let _ = (id, request);
        Err(EngineError::ShuttingDown)
    }

    /// Attaches to a container that runs, or that is created and will be started.
    ///
    /// # Errors
    /// When it has ended, or the shim fails.
    pub async fn attach(&self, id: ContainerId, request: AttachRequest) -> Result<IoSession, EngineError> {
        let _ = (id, request);
        Err(EngineError::ShuttingDown)
    }

    /// What happens to containers from now on. Bounded: a receiver that lags is told so, and reads [`Engine::list`] again.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        broadcast::channel(1).1
    }
}
