//! The engine: one value that the agent shares.
//!
//! Each verb has its file. What they share is [`Inner`]: the table of containers in memory (the truth while we run), the
//! store on disk, and the shims.

mod container;
mod create;
mod end;
mod images;
mod open;
mod start;
mod stop;
mod streams;
mod table;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use rcon_image::{ImageStore, Unpacker};
use rcon_oci::{HostFacts, shim::RunDirectory};
use rcon_types::ContainerId;
use tokio::sync::broadcast;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{
    error::EngineError,
    event::{Event, EventKind},
    limits::CLOSE_DEADLINE,
    lock::DirectoryLock,
    paths::ContainerPaths,
    record::ContainerRecord,
    request::{ListFilter, NetworkFiles},
    shim::ShimProgram,
    store::Store,
};

use container::Container;
use table::Table;

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
///
/// When the last clone is dropped, the engine stops watching and lets go of its directories; containers go on.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
    _stop: Arc<DropGuard>,
}

/// What the verbs share.
struct Inner {
    options: EngineOptions,
    host: HostFacts,
    shim: ShimProgram,
    images: Arc<ImageStore>,
    /// Read while a container of an image comes to be, written while an image goes.
    image_use: tokio::sync::RwLock<()>,
    store: tokio::sync::RwLock<Option<Store>>,
    table: Mutex<Table>,
    events: broadcast::Sender<Event>,
    stopping: CancellationToken,
    tasks: TaskTracker,
    lock: Mutex<Option<DirectoryLock>>,
}

impl Engine {
    /// Stops watching and lets go of the directories; containers go on. Work in flight is given some time to end.
    pub async fn close(&self) {
        let inner = &self.inner;
        inner.stopping.cancel();
        inner.tasks.close();
        if tokio::time::timeout(CLOSE_DEADLINE, inner.tasks.wait()).await.is_err() {
            tracing::warn!("work on containers is still in flight; the next start takes it up");
        }
        let store = inner.store.write().await.take();
        // It joins its thread.
        let _ = tokio::task::spawn_blocking(move || drop(store)).await;
        drop(inner.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// The images of this host. Its operations block.
    #[must_use]
    pub fn images(&self) -> Arc<ImageStore> {
        self.inner.images.clone()
    }

    /// The container of a name, an id, or the start of an id; names win.
    ///
    /// # Errors
    /// When there is none, or several.
    pub fn resolve(&self, container: &str) -> Result<ContainerId, EngineError> {
        self.inner.table().resolve(container)
    }

    /// A container as it is now.
    ///
    /// # Errors
    /// When it is gone.
    pub fn inspect(&self, id: ContainerId) -> Result<ContainerRecord, EngineError> {
        Ok((*self.inner.container(id)?.record()).clone())
    }

    /// Containers as they are now, newest first.
    #[must_use]
    pub fn list(&self, filter: ListFilter) -> Vec<ContainerRecord> {
        let wanted = |record: &ContainerRecord| filter == ListFilter::All || record.is_alive();
        let containers = self.inner.table().all();
        let mut records: Vec<_> = containers.iter().map(|container| (*container.record()).clone()).filter(wanted).collect();
        records.sort_by_key(|record| std::cmp::Reverse((record.created_ms, record.id)));
        records
    }

    /// Where the log of a container is.
    #[must_use]
    pub fn log_path(&self, id: ContainerId) -> PathBuf {
        self.inner.paths(id).log()
    }

    /// Replaces the agent's notes of a container; on disk when this returns.
    ///
    /// # Errors
    /// When it is gone, or the store fails.
    pub async fn set_notes(&self, id: ContainerId, notes: String) -> Result<(), EngineError> {
        let container = self.inner.container(id)?;
        let _noting = container.noting.lock().await;
        let next = ContainerRecord { notes: notes.clone(), ..(*container.record()).clone() };
        self.inner.put(&next).await?;
        // The rest may have changed meanwhile, and is written by whoever changed it.
        container.change(|record| Ok(ContainerRecord { notes, ..record.clone() }))?;
        Ok(())
    }

    /// Rewrites `/etc/hosts` and `/etc/resolv.conf` of a container, running or not, in place.
    ///
    /// # Errors
    /// When it is gone, or a file cannot be written.
    pub async fn set_network_files(&self, id: ContainerId, files: NetworkFiles) -> Result<(), EngineError> {
        self.inner.container(id)?;
        let paths = self.inner.paths(id);
        blocking(move || start::write_network_files(&paths, &files)).await
    }

    /// What happens to containers from now on. Bounded: a receiver that lags is told so, and reads [`Engine::list`] again.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.inner.events.subscribe()
    }
}

impl Inner {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn container(&self, id: ContainerId) -> Result<Arc<Container>, EngineError> {
        self.table().get(id).ok_or_else(|| EngineError::Unknown(id.to_string()))
    }

    fn paths(&self, id: ContainerId) -> ContainerPaths {
        ContainerPaths::new(&self.options.data_dir, id)
    }

    fn run_directory(&self, id: ContainerId) -> RunDirectory {
        RunDirectory::of_container(&self.options.run_dir, &id.to_string())
    }

    async fn put(&self, record: &ContainerRecord) -> Result<(), EngineError> {
        self.store.read().await.as_ref().ok_or(EngineError::ShuttingDown)?.put(record).await
    }

    async fn forget(&self, id: ContainerId) -> Result<(), EngineError> {
        self.store.read().await.as_ref().ok_or(EngineError::ShuttingDown)?.remove(id).await
    }

    fn tell(&self, container: &Container, kind: EventKind) {
        let record = container.record();
        // Nobody may be listening.
        let _ = self.events.send(Event { id: record.id, name: record.name.clone(), kind });
    }
}

/// Runs what blocks where it may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, EngineError> + Send + 'static) -> Result<T, EngineError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(EngineError::ShuttingDown),
    }
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
