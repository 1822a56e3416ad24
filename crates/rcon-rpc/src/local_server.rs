//! A server on a unix socket, for root of this host and, where configured, a group.

use std::{
    fs,
    future::Future,
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc},
};
use tonic::service::Routes;

use crate::{
    ServeError,
    caller::Connection,
    incoming::Accepted,
    limits,
    service::{Ending, Service},
};

/// A unix socket, and who may use it.
#[derive(Debug, Clone)]
pub struct LocalSocket {
    /// Where it is. Its directory must be there.
    pub path: PathBuf,
    /// The group whose members may use it too; without one it is its owner's alone (mode 0600).
    pub group: Option<u32>,
}

/// Serves `routes` on a unix socket until `shutdown` completes, then gives open requests [`limits::SHUTDOWN_GRACE`]. A socket
/// that another process left at the path is replaced in one step; whether that process lives is the data directory's lock's to say.
///
/// # Errors
/// When the socket cannot be made, or the HTTP/2 server ends by itself.
pub async fn serve_unix(socket: LocalSocket, routes: Routes, shutdown: impl Future<Output = ()> + Send) -> Result<(), ServeError> {
    let listener = listen(&socket).map_err(|source| ServeError::Listen { path: socket.path.clone(), source })?;
    let (service, accepted) = Service::new(routes);
    let ending = service.ending();
    service.run(accept(listener, socket.group, accepted, ending), shutdown).await
}

/// The socket gets its mode and group under a name of its own, so that nobody can connect before it has them.
fn listen(socket: &LocalSocket) -> io::Result<UnixListener> {
    let temporary = socket.path.with_extension(format!("{}.new", std::process::id()));
    remove_if_there(&temporary)?;
    let listener = UnixListener::bind(&temporary)?;
    prepare(&temporary, socket).inspect_err(|_| {
        // The error that led here is the one to tell.
        let _ = fs::remove_file(&temporary);
    })?;
    Ok(listener)
}

fn prepare(temporary: &Path, socket: &LocalSocket) -> io::Result<()> {
    let mode = if socket.group.is_some() { 0o660 } else { 0o600 };
    fs::set_permissions(temporary, fs::Permissions::from_mode(mode))?;
    if let Some(group) = socket.group {
        std::os::unix::fs::chown(temporary, None, Some(group))?;
    }
    fs::rename(temporary, &socket.path)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

async fn accept(listener: UnixListener, group: Option<u32>, accepted: mpsc::Sender<Accepted<UnixStream>>, ending: Ending) {
    let clients = Arc::new(Semaphore::new(limits::MAX_LOCAL));
    while let Ok(permit) = Arc::clone(&clients).acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "could not accept a local connection; trying again");
                tokio::time::sleep(limits::ACCEPT_REST).await;
                continue;
            }
        };
        if let Err(why) = check_peer(&stream, group) {
            tracing::warn!(%why, "a local client was turned away");
            continue;
        }
        let ending = ending.clone();
        let end = Box::pin(async move {
            let _permit = permit;
            ending.wait().await;
        });
        if accepted.send(Accepted::new(stream, Connection::Local, end)).await.is_err() {
            return;
        }
    }
}

/// Root is let in. So is whoever passed the group's file permission, which the kernel checked at `connect`, with supplementary
/// groups that SO_PEERCRED does not show.
fn check_peer(stream: &UnixStream, group: Option<u32>) -> Result<(), String> {
    let peer = stream.peer_cred().map_err(|e| format!("its user is not known: {e}"))?;
    if peer.uid() == 0 || group.is_some() { Ok(()) } else { Err(format!("user {} (process {:?}) is not root", peer.uid(), peer.pid())) }
}
