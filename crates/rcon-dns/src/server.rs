//! The process: it keeps the containers that are served as the snapshot says, and nothing else.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    future::Future,
    io,
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rcon_netplan::dns::{DnsReply, DnsSnapshot};
use rcon_types::ContainerId;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    DnsError,
    container::Container,
    control::{self, Command},
    handover::{self, Handed, Taken, TakingOver},
    limits,
    namespace::{self, NamespaceId, Sockets},
    snapshot::{self, Stamp},
    zone::{View, Zone},
};

/// Where the server finds what it needs.
#[derive(Debug, Clone)]
pub struct Options {
    /// The snapshot's file; need not be there yet.
    pub snapshot: PathBuf,
    /// The control socket; its directory must be there.
    pub socket: PathBuf,
}

/// Serves until `shutdown` completes or a successor has taken over. Takes over from a predecessor, where there is one, without
/// losing a query. Must run in a tokio runtime that stays in the host's network namespace.
///
/// # Errors
/// When the snapshot is damaged, the control socket cannot be made, or a predecessor does not let go; then it goes on.
pub async fn run(options: Options, shutdown: impl Future<Output = ()> + Send) -> Result<(), DnsError> {
    raise_descriptor_limit();
    let lock = Starting::lock(&options.socket).await?;
    let (predecessor, taken) = take_over(&options.socket).await?;
    let mut server = Server::new(options.snapshot.clone());
    server.load(taken).await?;
    let (sender, mut commands) = mpsc::channel(limits::MAX_CONTROL_CLIENTS);
    let listen_failed = |source| DnsError::Listen { path: options.socket.clone(), source };
    let listener = control::listen(&options.socket).map_err(listen_failed)?;
    let mut control = JoinSet::new();
    control.spawn(control::serve(listener, sender));
    if let Some(predecessor) = predecessor {
        predecessor.confirm().map_err(|source| DnsError::TakeOver { path: options.socket.clone(), source })?;
    }
    drop(lock);
    tracing::info!(revision = server.revision, containers = server.served.len(), "the DNS server is up");

    let mut resync = interval(limits::RESYNC);
    resync.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            _ = resync.tick() => server.resync().await,
            command = commands.recv() => match command {
                Some(Command::Reload(reply)) => {
                    // An asker that is gone needs no reply.
                    let _ = reply.send(server.reload().await);
                }
                Some(Command::Status(reply)) => {
                    let _ = reply.send(server.reply(None));
                }
                Some(Command::Copy(reply)) => {
                    let _ = reply.send(server.copy());
                }
                Some(Command::TakenOver) | None => break,
            },
        }
    }
    drop(control);
    tracing::info!("a successor has taken over");
    server.drain().await;
    Ok(())
}

/// What is served, and from which snapshot.
struct Server {
    path: PathBuf,
    stamp: Option<Stamp>,
    snapshot: Arc<DnsSnapshot>,
    revision: u64,
    served: BTreeMap<ContainerId, Container>,
    failed: BTreeMap<ContainerId, String>,
    everyones: Arc<Semaphore>,
}

impl Server {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            stamp: None,
            snapshot: Arc::default(),
            revision: 0,
            served: BTreeMap::new(),
            failed: BTreeMap::new(),
            everyones: Arc::new(Semaphore::new(limits::MAX_FORWARDED)),
        }
    }

    /// Reads the snapshot and serves it, on sockets of a predecessor where it had them.
    async fn load(&mut self, taken: Taken) -> Result<(), DnsError> {
        let path = self.path.clone();
        let failed = |error| DnsError::Snapshot { path: self.path.clone(), source: io::Error::other(error) };
        let (snapshot, stamp) = tokio::task::spawn_blocking(move || snapshot::load(&path)).await.map_err(failed)??;
        self.snapshot = Arc::new(snapshot);
        self.stamp = stamp;
        self.apply(taken).await;
        Ok(())
    }

    async fn reload(&mut self) -> DnsReply {
        let error = self.load(Taken::new()).await.err();
        if let Some(error) = &error {
            // So that it is said once for each version of the file.
            self.stamp = snapshot::stamp(&self.path);
            tracing::error!(error = chain(error), "the snapshot was not read; the one before is still served");
        }
        self.reply(error.map(|error| chain(&error)))
    }

    /// Looks again at everything that may have changed without a word.
    async fn resync(&mut self) {
        let changed = snapshot::stamp(&self.path) != self.stamp;
        if !changed || self.reload().await.error.is_some() {
            self.apply(Taken::new()).await;
        }
    }

    /// Makes what is served what the snapshot says. A container whose namespace is gone, or another, is let go, and with the
    /// sockets the namespace itself.
    async fn apply(&mut self, mut taken: Taken) {
        let snapshot = Arc::clone(&self.snapshot);
        self.served.retain(|id, _| snapshot.containers.contains_key(id));
        let zones: BTreeMap<String, Arc<Zone>> =
            snapshot.networks.iter().map(|(key, network)| (key.clone(), Arc::new(Zone::new(network)))).collect();
        let known: BTreeMap<ContainerId, NamespaceId> = self
            .served
            .iter()
            .map(|(id, container)| (*id, container.namespace))
            .chain(taken.iter().map(|(id, (namespace, _))| (*id, *namespace)))
            .collect();
        let looked = {
            let snapshot = Arc::clone(&snapshot);
            tokio::task::spawn_blocking(move || look(&snapshot, &known)).await.unwrap_or_default()
        };
        self.failed.clear();
        for (id, found) in looked {
            let Some(wanted) = snapshot.containers.get(&id) else { continue };
            let view = View::new(&snapshot, wanted, &zones);
            let sockets = match found {
                Ok(Found::Same) => match (self.served.get(&id), taken.remove(&id)) {
                    (Some(container), _) => {
                        container.show(view);
                        continue;
                    }
                    (None, Some(sockets)) => Ok(sockets),
                    (None, None) => continue,
                },
                Ok(Found::New(namespace, sockets)) => Ok((namespace, sockets)),
                Err(error) => Err(error),
            };
            self.served.remove(&id);
            match sockets.and_then(|sockets| Container::start(id, sockets, view, &self.everyones)) {
                Ok(container) => drop(self.served.insert(id, container)),
                Err(error) => self.fail(id, &wanted.namespace, &error),
            }
        }
        self.revision = snapshot.revision;
    }

    fn fail(&mut self, id: ContainerId, namespace: &Path, error: &io::Error) {
        let why = format!("could not listen in `{}`: {error}", namespace.display());
        tracing::warn!(container = %id.short(), why, "a container has no names; trying again");
        self.failed.insert(id, why);
    }

    fn reply(&self, error: Option<String>) -> DnsReply {
        DnsReply { revision: self.revision, containers: self.served.len(), failed: self.failed.clone(), error }
    }

    fn copy(&self) -> io::Result<Vec<Handed>> {
        self.served
            .iter()
            .map(|(id, container)| Ok(Handed { container: *id, namespace: container.namespace, descriptors: container.descriptors()? }))
            .collect()
    }

    async fn drain(self) {
        let mut draining = JoinSet::new();
        for container in self.served.into_values() {
            draining.spawn(container.drain());
        }
        if timeout(limits::DRAIN, async { while draining.join_next().await.is_some() {} }).await.is_err() {
            tracing::warn!("queries were left without an answer");
        }
    }
}

/// What is at a container's path.
enum Found {
    /// The namespace that is known.
    Same,
    /// Another one, and sockets in it.
    New(NamespaceId, Sockets),
}

/// Looks at every container's namespace, and listens in those that are new. Blocks.
fn look(snapshot: &DnsSnapshot, known: &BTreeMap<ContainerId, NamespaceId>) -> Vec<(ContainerId, io::Result<Found>)> {
    snapshot
        .containers
        .iter()
        .map(|(id, container)| {
            let found = namespace::identify(&container.namespace).and_then(|namespace| {
                if known.get(id) == Some(&namespace) {
                    return Ok(Found::Same);
                }
                namespace::listen(&container.namespace).map(|(namespace, sockets)| Found::New(namespace, sockets))
            });
            (*id, found)
        })
        .collect()
}

async fn take_over(socket: &Path) -> Result<(Option<TakingOver>, Taken), DnsError> {
    let failed = |source| DnsError::TakeOver { path: socket.to_owned(), source };
    let path = socket.to_owned();
    let taken = tokio::task::spawn_blocking(move || handover::take(&path)).await.map_err(|e| failed(io::Error::other(e)))?;
    Ok(match taken.map_err(failed)? {
        Some((predecessor, sockets)) => (Some(predecessor), sockets),
        None => (None, Taken::new()),
    })
}

/// Held while a server starts, so that two that start at once take over one from the other. Released with its file.
struct Starting {
    _file: File,
}

impl Starting {
    async fn lock(socket: &Path) -> Result<Self, DnsError> {
        let path = socket.with_extension("lock");
        let failed = |source| DnsError::Listen { path: path.clone(), source };
        let open = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = open.map_err(failed)?;
        // Every step of the other start has its deadline, so this one comes.
        let locking = tokio::task::spawn_blocking(move || {
            rustix::fs::flock(file.as_fd(), rustix::fs::FlockOperation::LockExclusive)?;
            Ok(file)
        });
        match timeout(LOCK_TIMEOUT, locking).await {
            Ok(Ok(Ok(file))) => Ok(Self { _file: file }),
            Ok(Ok(Err(error))) => Err(failed(error)),
            Ok(Err(error)) => Err(failed(io::Error::other(error))),
            Err(_) => Err(failed(io::ErrorKind::TimedOut.into())),
        }
    }
}

/// How long the start of another server is waited for.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);

/// Two descriptors a container, and one for each query at the upstreams: as many as we may have without asking for a privilege.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// An error with its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
