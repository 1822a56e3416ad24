//! Starting a container: its file system, its shim, its process, and the watch over it.

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcon_oci::{
    HostFacts, runtime_spec,
    shim::{Request, Response, RunDirectory, ShimOptions, StreamSet},
    user::{ResolvedUser, resolve_user},
};
use rcon_types::ContainerId;

use crate::{
    engine::{Engine, Inner, blocking, container::Container, now_ms},
    error::EngineError,
    event::EventKind,
    files,
    limits::ACCOUNT_FILE_BYTES,
    overlay::Overlay,
    paths::ContainerPaths,
    plan,
    record::{ContainerRecord, Exit},
    request::{NetworkFiles, NetworkNamespace},
    rootfs::RootFs,
    shim::{ShimConnection, ShimError, StartFailure},
};

/// Everything that preparing a start needs, to be done where one may block.
struct Preparation {
    record: Arc<ContainerRecord>,
    paths: ContainerPaths,
    run: RunDirectory,
    layers: Vec<PathBuf>,
    namespace: PathBuf,
    files: NetworkFiles,
    cgroup_parent: PathBuf,
    host: HostFacts,
}

impl Engine {
    /// Starts a container in the network namespace that the agent has made for it.
    /// Who has attached before receives its output from the first byte.
    ///
    /// # Errors
    /// When it runs already, or cannot be started; [`EngineError::Start`] carries the exit code, and the container is
    /// then exited with that code (and gone, when it is to be removed automatically).
    pub async fn start(&self, id: ContainerId, namespace: NetworkNamespace, files: NetworkFiles) -> Result<(), EngineError> {
        let inner = self.inner.clone();
        let container = inner.container(id)?;
        // Goes on when the caller gives up: a start is not left half done.
        let started = inner.tasks.clone().spawn(async move { inner.start(&container, namespace, files).await });
        started.await.unwrap_or(Err(EngineError::ShuttingDown))
    }
}

impl Inner {
    async fn start(
        self: &Arc<Self>,
        container: &Arc<Container>,
        namespace: NetworkNamespace,
        files: NetworkFiles,
    ) -> Result<(), EngineError> {
        if self.stopping.is_cancelled() {
            return Err(EngineError::ShuttingDown);
        }
        let work = container.work.lock().await;
        let record = container.change(ContainerRecord::starting)?;
        let preparation = Preparation {
            paths: self.paths(record.id),
            run: self.run_directory(record.id),
            layers: self.images.dirs_of(&record.layers),
            namespace: namespace.path,
            files,
            cgroup_parent: self.options.cgroup_parent.clone(),
            host: self.host.clone(),
            record,
        };
        match self.launch(container, preparation).await {
            Ok(pid) => {
                let record = container.change(|record| record.running(pid, now_ms()))?;
                self.tell(container, EventKind::Started);
                self.watch(container.clone());
                // That it ran is on disk some time later: until then the shim's directory says it.
                self.note_later(record);
                Ok(())
            }
            Err(failure) => {
                // Who attached for this start has nothing to wait for.
                drop(container.take_pending());
                let error =
                    EngineError::Start { container: container.name(), reason: failure.reason.clone(), exit_code: failure.exit_code };
                let exit = Exit { code: failure.exit_code, error: failure.reason, oom_killed: false, finished_ms: now_ms() };
                self.clear_up(container, exit, work).await;
                Err(error)
            }
        }
    }

    /// From the file system to the running process; returns its pid.
    async fn launch(&self, container: &Container, preparation: Preparation) -> Result<u32, StartFailure> {
        let record = preparation.record.clone();
        let (run, paths) = (preparation.run.clone(), preparation.paths.clone());
        blocking(move || preparation.prepare()).await.map_err(|error| failure_of(&error))?;
        let options = ShimOptions {
            id: record.id.to_string(),
            bundle: paths.config(),
            run_dir: run.path().to_owned(),
            log: Some(paths.log()),
            runtime: self.options.runtime.clone(),
            stdin: record.open_stdin,
            stdin_once: record.open_stdin,
        };
        let pid = self.shim.create(&options).await?;
        for pending in container.take_pending() {
            let mut connection = ShimConnection::open(&run).await.map_err(refused)?;
            let streams = StreamSet { stdin: pending.request.stdin && record.open_stdin, stdout: true, stderr: true };
            connection.ask(&Request::Attach { streams }).await.map_err(refused)?;
            connection.run_session(pending.input, pending.output);
        }
        match ShimConnection::ask_once(&run, &Request::Start).await.map_err(refused)? {
            Response::Done => Ok(pid),
            other => Err(StartFailure::new(format!("the shim answered {other:?}"))),
        }
    }

    /// Writes a record in the background.
    fn note_later(self: &Arc<Self>, record: Arc<ContainerRecord>) {
        let inner = self.clone();
        self.tasks.spawn(async move {
            let Ok(container) = inner.container(record.id) else { return };
            let _noting = container.noting.lock().await;
            let now = container.record();
            // An end that was quicker has been written, or makes the record superfluous.
            if now.run == record.run
                && now.is_alive()
                && let Err(error) = inner.put(&now).await
            {
                tracing::warn!(container = %record.name, %error, "that the container runs could not be noted");
            }
        });
    }
}

fn refused(error: ShimError) -> StartFailure {
    match error {
        ShimError::Refused { failure, exit_code } => StartFailure::refused(&failure, exit_code),
        other => StartFailure::new(other),
    }
}

fn failure_of(error: &EngineError) -> StartFailure {
    StartFailure::refused(&error.failure(), None)
}

impl Preparation {
    /// Mounts the root file system and writes what the runtime reads. Syncs nothing: after a power-off nothing runs.
    fn prepare(self) -> Result<(), EngineError> {
        let Self { record, paths, run, layers, namespace, files, cgroup_parent, host } = self;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(run.path()).map_err(EngineError::io("make", run.path()))?;
        let (upper, work, merged) = (paths.upper(), paths.work(), paths.merged());
        Overlay { layers: &layers, upper: &upper, work: &work, merged: &merged }.mount()?;
        let root = RootFs::open(&merged).map_err(EngineError::io("open", &merged))?;
        let user = user(&root, &record.user)?;
        root.make_dirs(Path::new(&record.workdir)).map_err(EngineError::io("make the working directory", &record.workdir))?;
        let hostname = paths.hostname();
        files::write_in_place(&hostname, &format!("{}\n", record.hostname)).map_err(EngineError::io("write", &hostname))?;
        write_network_files(&paths, &files)?;
        let specification = plan::specification(&record, &paths, &user, &namespace, &cgroup_parent);
        let runtime = runtime_spec(&specification, &host).map_err(|error| invalid("container", &error))?;
        let text = serde_json::to_vec(&runtime).map_err(|error| invalid("container", &error))?;
        let path = paths.specification();
        fs::write(&path, text).map_err(EngineError::io("write", path))
    }
}

/// Who a text means in a root file system.
pub(super) fn user(root: &RootFs, wanted: &str) -> Result<ResolvedUser, EngineError> {
    let read = |path: &'static str| root.read_text(path, ACCOUNT_FILE_BYTES).map_err(EngineError::io("read the image's", path));
    resolve_user(wanted, &read("etc/passwd")?, &read("etc/group")?).map_err(|error| invalid("user", &error))
}

/// Writes `/etc/hosts` and `/etc/resolv.conf` of a container.
pub(super) fn write_network_files(paths: &ContainerPaths, network: &NetworkFiles) -> Result<(), EngineError> {
    // A host without the file has no name servers.
    let of_host = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    for (path, text) in [(paths.hosts(), files::hosts(network)), (paths.resolv_conf(), files::resolv_conf(network, &of_host))] {
        files::write_in_place(&path, &text).map_err(EngineError::io("write", path))?;
    }
    Ok(())
}

fn invalid(what: &'static str, error: &dyn std::fmt::Display) -> EngineError {
    EngineError::Invalid { what, reason: error.to_string() }
}
