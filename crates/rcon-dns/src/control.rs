//! The control socket: `rcond` tells of a new snapshot, a successor asks for the sockets.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use rcon_netplan::dns::{DnsReply, DnsRequest};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};

use crate::{
    handover::{self, Handed},
    limits,
};

/// What the clients of the socket want of the server.
pub(crate) enum Command {
    /// Read the snapshot again.
    Reload(oneshot::Sender<DnsReply>),
    /// Say what is served.
    Status(oneshot::Sender<DnsReply>),
    /// Copy all descriptors.
    Copy(oneshot::Sender<io::Result<Vec<Handed>>>),
    /// A successor serves: stop.
    TakenOver,
}

/// Makes the socket, its owner's alone before it has its name, and in one step in the place of a predecessor's.
pub(crate) fn listen(path: &Path) -> io::Result<UnixListener> {
    let temporary = path.with_extension(format!("{}.new", std::process::id()));
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&temporary)?;
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o600))?;
    fs::rename(&temporary, path)?;
    Ok(listener)
}

/// Serves the socket until it is dropped.
pub(crate) async fn serve(listener: UnixListener, commands: mpsc::Sender<Command>) {
    let places = Arc::new(Semaphore::new(limits::MAX_CONTROL_CLIENTS));
    let mut clients = JoinSet::new();
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        while clients.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let commands = commands.clone();
                clients.spawn(async move {
                    let _place = place;
                    match timeout(limits::CONTROL_TIMEOUT, converse(stream, &commands)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => tracing::warn!(%error, "a client of the control socket was given up"),
                        Err(_) => tracing::debug!("a client of the control socket was silent"),
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept on the control socket; trying again");
                tokio::time::sleep(limits::REST).await;
            }
        }
    }
}

async fn converse(stream: UnixStream, commands: &mpsc::Sender<Command>) -> io::Result<()> {
    let peer = stream.peer_cred()?;
    if peer.uid() != 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("user {} is not root", peer.uid())));
    }
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        (&mut stream).take(limits::MAX_CONTROL_LINE).read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Ok(());
        }
        let reply = match serde_json::from_slice(&line)? {
            DnsRequest::Reload => ask(commands, Command::Reload).await?,
            DnsRequest::Status => ask(commands, Command::Status).await?,
            DnsRequest::HandOver => return hand_over(stream.into_inner(), commands).await,
        };
        let mut text = serde_json::to_vec(&reply)?;
        text.push(b'\n');
        stream.write_all(&text).await?;
    }
}

async fn hand_over(stream: UnixStream, commands: &mpsc::Sender<Command>) -> io::Result<()> {
    let all = ask(commands, Command::Copy).await??;
    let stream = stream.into_std()?;
    let commands = commands.clone();
    // The word to stop is said where the confirmation is read: this task may have been given up by then.
    let giving = tokio::task::spawn_blocking(move || {
        handover::give(stream, &all)?;
        commands.blocking_send(Command::TakenOver).map_err(|_| stopping())
    });
    giving.await.map_err(io::Error::other)?
}

async fn ask<T>(commands: &mpsc::Sender<Command>, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> io::Result<T> {
    let (reply, replied) = oneshot::channel();
    commands.send(command(reply)).await.map_err(|_| stopping())?;
    replied.await.map_err(|_| stopping())
}

fn stopping() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the server is stopping")
}
