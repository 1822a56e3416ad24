//! Opening an engine: taking the directories, and making store, shims, mounts and files agree again.

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use rcon_image::{ImageStore, ImageStoreOptions, UnpackLimits};
use rcon_types::ContainerId;
use tokio::sync::broadcast;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    engine::{
        Engine, EngineOptions, Inner, blocking,
        container::Container,
        create::make_dirs,
        end::{TRASH, remove_all, trash},
        now_ms,
        table::Table,
    },
    error::EngineError,
    host,
    limits::EVENTS,
    lock::DirectoryLock,
    overlay::unmount,
    paths::{ContainerPaths, containers},
    record::{ContainerRecord, ContainerState},
    recovery::{Recovery, decide},
    shim::{ShimProgram, observe},
    store::Store,
};

impl Engine {
    /// Takes the data directory, finds the containers that run, and repairs what was left half done.
    ///
    /// # Errors
    /// When another daemon has the directory, or it cannot be read or written.
    pub async fn open(options: EngineOptions) -> Result<Self, EngineError> {
        let (inner, records) = blocking(move || Inner::load(options)).await?;
        let inner = Arc::new(inner);
        inner.clear_strangers(&records).await?;
        for record in records {
            let name = record.name.clone();
            if let Err(error) = inner.recover(record).await {
                // One container that cannot be mended keeps no other from being served.
                tracing::error!(container = %name, error = %error.failure(), "a container could not be repaired");
            }
        }
        let stop = Arc::new(inner.stopping.clone().drop_guard());
        Ok(Self { inner, _stop: stop })
    }
}

impl Inner {
    /// Everything that is there but for the shims. Blocks.
    fn load(options: EngineOptions) -> Result<(Self, Vec<ContainerRecord>), EngineError> {
        let data_dir = &options.data_dir;
        for dir in [data_dir, &containers(data_dir), &shims(&options.run_dir)] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(EngineError::io("make", dir))?;
        }
        let lock = DirectoryLock::take(data_dir)?;
        let shim = ShimProgram::load(&options.shim_binary)?;
        let (store, records) = Store::open(&data_dir.join("engine.redb"))?;
        let images = ImageStore::open(ImageStoreOptions {
            data_dir: data_dir.clone(),
            unpacker: options.unpacker.clone(),
            limits: UnpackLimits::default(),
        })?;
        // What an interrupted import or removal left.
        let in_use: Vec<_> = records.iter().flat_map(|record| record.layers.clone()).collect();
        if let Err(error) = images.collect_garbage(&in_use) {
            tracing::warn!(error = %error.failure(), "content that no image refers to could not be removed");
        }
        let inner = Self {
            host: host::facts(),
            shim,
            images: Arc::new(images),
            image_use: tokio::sync::RwLock::new(()),
            store: tokio::sync::RwLock::new(Some(store)),
            table: Mutex::new(Table::default()),
            events: broadcast::channel(EVENTS).0,
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
            lock: Mutex::new(Some(lock)),
            options,
        };
        Ok((inner, records))
    }

    /// Takes away what belongs to no container: shims, directories, and what waited for its removal.
    async fn clear_strangers(&self, records: &[ContainerRecord]) -> Result<(), EngineError> {
        let is_known = |id: &ContainerId| records.iter().any(|record| record.id == *id);
        for name in names(&shims(&self.options.run_dir))? {
            if let Ok(id) = name.parse::<ContainerId>()
                && !is_known(&id)
            {
                tracing::warn!(%id, "a shim of no container is dismissed");
                match self.dismiss(id).await {
                    Ok(()) => self.drop_run_directory(id).await,
                    Err(error) => tracing::error!(%id, error = %error.failure(), "a shim of no container could not be cleared away"),
                }
            }
        }
        let data_dir = self.options.data_dir.clone();
        for name in names(&containers(&data_dir))? {
            let is_leftover = match name.strip_prefix(TRASH) {
                // With its record still there, the removal is finished with the container.
                Some(id) => !id.parse().is_ok_and(|id| is_known(&id)),
                None => !name.parse().is_ok_and(|id| is_known(&id)),
            };
            if is_leftover {
                tracing::info!(name, "the files of a removed container are removed");
                let dir = containers(&data_dir).join(&name);
                let removed = blocking(move || {
                    unmount(&dir.join("merged"))?;
                    remove_all(&dir)
                });
                if let Err(error) = removed.await {
                    tracing::error!(name, error = %error.failure(), "the files of a removed container could not be removed");
                }
            }
        }
        Ok(())
    }

    /// Makes a container be what its record and its shim say together.
    async fn recover(self: &Arc<Self>, record: ContainerRecord) -> Result<(), EngineError> {
        let id = record.id;
        let container = Arc::new(Container::new(record));
        self.table().insert(container.clone());
        let work = container.work.lock().await;
        let was_removed = trash(&self.options.data_dir, id).exists();
        if was_removed || container.record().state == ContainerState::Removing {
            let doomed = trash(&self.options.data_dir, id);
            // Its directory may have been renamed already; remove() renames what is there over an empty name.
            blocking(move || remove_all(&doomed)).await?;
            self.rest(&container).await?;
            return self.remove(&container, &work).await;
        }
        let observed = observe(&self.run_directory(id)).await;
        let decision = decide(&container.record(), &observed, now_ms());
        tracing::debug!(container = %container.name(), ?decision, "found");
        match decision {
            Recovery::Adopt { pid, started_ms } => {
                container.change(|record| Ok(adopted(record, pid, started_ms)))?;
                drop(work);
                self.watch(container.clone());
            }
            Recovery::Ended { exit, started_ms } => {
                container.change(|record| {
                    Ok(if record.is_alive() {
                        record.clone()
                    } else if record.exit.as_ref() == Some(&exit) {
                        // The end was noted, but its run directory not yet removed.
                        record.clone()
                    } else {
                        adopted(record, 0, started_ms.unwrap_or(record.created_ms))
                    })
                })?;
                self.clear_up(&container, exit, work).await;
            }
            Recovery::TakeBack | Recovery::Rest => {
                self.rest(&container).await?;
                if container.record().auto_remove && container.record().state == ContainerState::Exited {
                    self.remove(&container, &work).await?;
                }
            }
        }
        Ok(())
    }

    /// Takes everything of a run away from a container that does not run, and completes its directories.
    async fn rest(&self, container: &Container) -> Result<(), EngineError> {
        self.dismiss(container.id).await?;
        self.drop_run_directory(container.id).await;
        let paths: ContainerPaths = self.paths(container.id);
        blocking(move || make_dirs(&paths)).await
    }
}

/// A record as it is while its process runs, whatever had been written of it.
fn adopted(record: &ContainerRecord, pid: u32, started_ms: u64) -> ContainerRecord {
    let run = if record.is_alive() { record.run } else { record.run + 1 };
    ContainerRecord { state: ContainerState::Running, run, pid: Some(pid), started_ms: Some(started_ms), exit: None, ..record.clone() }
}

fn shims(run_dir: &Path) -> PathBuf {
    run_dir.join("shim")
}

fn names(dir: &Path) -> Result<Vec<String>, EngineError> {
    let entries = fs::read_dir(dir).map_err(EngineError::io("read", dir))?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}
