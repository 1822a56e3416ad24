//! The end of a container: noticing it, clearing up after it, and removing it.

use std::{fs, io, path::Path, path::PathBuf, sync::Arc};

use rcon_oci::shim::{Request, Response, RunDirectory};
use rcon_types::ContainerId;
use tokio::{
    sync::MutexGuard,
    time::{Instant, sleep},
};

use crate::{
    cgroup,
    engine::{Engine, Inner, blocking, container::Container, now_ms, stop::SIGKILL},
    error::EngineError,
    event::EventKind,
    host::{CGROUP_ROOT, cgroup_version},
    limits::{KILL_DEADLINE, RECONNECT_INTERVAL},
    overlay::unmount,
    paths::containers,
    record::{ContainerRecord, Exit},
    recovery::{Recovery, decide, exit_of},
    shim::{ShimConnection, observe},
};

impl Engine {
    /// Waits until a container has ended; at once when it has. One that was never started is waited for. One that is
    /// removed automatically has ended when it is gone.
    ///
    /// # Errors
    /// When it is gone, or goes without having run.
    pub async fn wait(&self, id: ContainerId) -> Result<Exit, EngineError> {
        let container = self.inner.container(id)?;
        container.ended().await.ok_or_else(|| EngineError::Unknown(id.to_string()))
    }

    /// Removes a container and all that is its own; with `force` also one that runs.
    ///
    /// # Errors
    /// When it runs (without `force`), or something of it cannot be removed; the next opening tries again.
    pub async fn remove(&self, id: ContainerId, force: bool) -> Result<(), EngineError> {
        let inner = self.inner.clone();
        let container = inner.container(id)?;
        if container.record().is_alive() {
            if !force {
                return Err(container.record().refusal("remove"));
            }
            // It may end by itself in this moment.
            let _ = inner.signal(&container, SIGKILL).await;
            inner.await_death(&container).await?;
            container.ended().await;
        }
        let removed = inner.tasks.clone().spawn(async move {
            let work = container.work.lock().await;
            if inner.container(id).is_err() {
                // An automatic removal was quicker.
                return Ok(());
            }
            inner.remove(&container, &work).await
        });
        removed.await.unwrap_or(Err(EngineError::ShuttingDown))
    }
}

impl Inner {
    /// Waits for a container's end, and clears up after it.
    pub(super) fn watch(self: &Arc<Self>, container: Arc<Container>) {
        let inner = self.clone();
        self.tasks.spawn(async move {
            let run = inner.run_directory(container.id);
            let exit = tokio::select! {
                exit = inner.end_of(&container, &run) => exit,
                // Containers go on; the next daemon watches them.
                () = inner.stopping.cancelled() => return,
            };
            // Waiters, and the agent with its network, need not wait for the clearing up.
            if container.change(|record| record.exited(exit.clone())).is_ok() {
                inner.tell(&container, EventKind::Exited(exit.clone()));
            }
            let work = container.work.lock().await;
            inner.clear_up(&container, exit, work).await;
        });
    }

    /// How a container ended, once it has.
    async fn end_of(&self, container: &Container, run: &RunDirectory) -> Exit {
        loop {
            let answer = match ShimConnection::open(run).await {
                Ok(mut connection) => connection.ask_patiently(&Request::Wait).await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(Response::Exited { exit }) => return exit_of(&exit),
                outcome => tracing::debug!(container = %container.name(), ?outcome, "the shim's watch broke off"),
            }
            // It hung up: has it gone, and how?
            if let Recovery::Ended { exit, .. } = decide(&container.record(), &observe(run).await, now_ms()) {
                return exit;
            }
            sleep(RECONNECT_INTERVAL).await;
        }
    }

    /// Everything that follows an end: the shim leaves, nothing stays mounted, the record is on disk, and the
    /// container goes where that is automatic. What fails is logged, and done at the next opening.
    pub(super) async fn clear_up(self: &Arc<Self>, container: &Arc<Container>, exit: Exit, work: MutexGuard<'_, ()>) {
        if container.change(|record| record.exited(exit.clone())).is_ok() {
            self.tell(container, EventKind::Exited(exit));
        }
        let record = container.record();
        let name = &record.name;
        if let Err(error) = self.dismiss(container.id).await {
            tracing::error!(container = %name, error = %error.failure(), "could not clear up after a container");
        } else if record.auto_remove {
            if let Err(error) = self.remove(container, &work).await {
                tracing::error!(container = %name, error = %error.failure(), "could not remove a container that has ended");
            }
        } else {
            let _noting = container.noting.lock().await;
            match self.put(&container.record()).await {
                // Only now: until the record says so, the exit file does.
                Ok(()) => self.drop_run_directory(container.id).await,
                Err(error) => tracing::error!(container = %name, error = %error.failure(), "could not note the end of a container"),
            }
        }
        container.settle();
    }

    /// Makes nothing of a run be left but its exit file: no shim, no process, no mount, no cgroup.
    pub(super) async fn dismiss(&self, id: ContainerId) -> Result<(), EngineError> {
        let run = self.run_directory(id);
        match ShimConnection::ask_once(&run, &Request::Shutdown { force: true }).await {
            Ok(_) => {}
            Err(error) => tracing::debug!(%id, %error, "the shim has gone before"),
        }
        let merged = self.paths(id).merged();
        let cgroup = self.options.cgroup_parent.join(id.to_string());
        let deadline = Instant::now() + KILL_DEADLINE;
        loop {
            let cgroup = cgroup.clone();
            let outcome = blocking(move || {
                let directories = cgroup::directories(Path::new(CGROUP_ROOT), cgroup_version(), &cgroup);
                cgroup::kill_all(&directories);
                cgroup::remove(&directories).map_err(EngineError::io("remove the cgroup", cgroup))
            });
            match outcome.await {
                Ok(()) => break,
                // A killed process takes a moment to go.
                Err(_) if Instant::now() < deadline => sleep(RECONNECT_INTERVAL / 20).await,
                Err(error) => return Err(error),
            }
        }
        blocking(move || unmount(&merged)).await
    }

    pub(super) async fn drop_run_directory(&self, id: ContainerId) {
        let path = self.run_directory(id).path().to_owned();
        let removed = blocking(move || remove_all(&path));
        if let Err(error) = removed.await {
            tracing::warn!(%id, error = %error.failure(), "could not remove a shim's directory");
        }
    }

    /// Removes a container that does not run. The caller holds its work.
    pub(super) async fn remove(self: &Arc<Self>, container: &Arc<Container>, _work: &MutexGuard<'_, ()>) -> Result<(), EngineError> {
        let _noting = container.noting.lock().await;
        container.change(ContainerRecord::removing)?;
        let id = container.id;
        self.dismiss(id).await?;
        // One rename takes all of it away at once; whoever starts after us finds the rest by its name.
        let (dir, doomed) = (self.paths(id).dir().to_owned(), trash(&self.options.data_dir, id));
        let (from, to) = (dir.clone(), doomed.clone());
        blocking(move || match fs::rename(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(EngineError::io("remove", from)),
        })
        .await?;
        if let Err(error) = self.forget(id).await {
            // It is whole again, and can be removed later.
            let _ = blocking(move || fs::rename(&doomed, &dir).map_err(EngineError::io("restore", dir))).await;
            return Err(error);
        }
        self.drop_run_directory(id).await;
        self.table().remove(id);
        self.tell(container, EventKind::Removed);
        container.vanish();
        self.tasks.spawn(async move {
            if let Err(error) = blocking(move || remove_all(&doomed)).await {
                tracing::warn!(%id, error = %error.failure(), "the files of a removed container are still there; the next start removes them");
            }
        });
        Ok(())
    }
}

/// Where the files of a container wait for their removal.
pub(super) fn trash(data_dir: &Path, id: ContainerId) -> PathBuf {
    containers(data_dir).join(format!("{TRASH}{id}"))
}

/// How the names of directories begin that wait for their removal.
pub(super) const TRASH: &str = "removed-";

/// Removes a directory with all in it; one that is not there is no error.
pub(super) fn remove_all(path: &Path) -> Result<(), EngineError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(EngineError::io("remove", path)(error)),
        _ => Ok(()),
    }
}
