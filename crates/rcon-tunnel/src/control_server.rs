//! The control socket: a few connections at a time, one request after the other on each.

use std::{
    fs, io,
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use rcon_packet::control::{Command, Reply, Request, Tables, VERSION, ValidTables};

use crate::{
    TunnelError,
    datapath::Datapath,
    exchange,
    limits::{MAX_CONNECTIONS, MESSAGE_DEADLINE, STOP_CHECK},
    state_file,
    threads::{Outcome, wait_readable},
    wg_socket,
};

/// What the sockets give access to.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) datapath: Datapath,
    pub(crate) outcome: Arc<Outcome>,
    pub(crate) state_file: PathBuf,
    /// The socket files, to be removed at the end.
    pub(crate) sockets: Vec<PathBuf>,
}

/// Whether a connection goes on after a reply.
#[derive(PartialEq, Eq)]
enum Next {
    Another,
    End,
}

impl Service {
    /// Puts tables in force and keeps them in the file. A file that cannot be written does not stop the tables.
    fn set_tables(&self, tables: Tables) -> Result<Reply, TunnelError> {
        let tables = ValidTables::try_from(tables).map_err(TunnelError::Tables)?;
        let copy = tables.get().clone();
        let revision = self.datapath.apply(tables)?;
        if let Err(error) = state_file::save(&self.state_file, &copy) {
            tracing::warn!(failure = %error.failure(), "a tunnel that starts again will have older tables");
        }
        Ok(Reply::Applied { revision })
    }

    /// Removes the sockets, so that a successor can bind its own and this one does not remove those later.
    pub(crate) fn remove_sockets(&self) {
        for socket in &self.sockets {
            // Not there is as good as removed.
            let _ = fs::remove_file(socket);
        }
    }

    fn hand_over(&self, stream: &mut UnixStream) -> Result<(), TunnelError> {
        self.remove_sockets();
        let result = self.datapath.hand_over(|descriptors, fds| {
            exchange::write(stream, &Reply::HandedOver { descriptors })?;
            exchange::send_descriptors(stream, fds)
        });
        self.outcome.end(None);
        result
    }

    fn answer(&self, stream: &mut UnixStream, request: Request) -> Result<Next, TunnelError> {
        let result = match request {
            Request { version, .. } if version != VERSION => Err(TunnelError::Version { version }),
            Request { command: Command::SetTables(tables), .. } => self.set_tables(*tables),
            Request { command: Command::Status, .. } => Ok(Reply::Status(Box::new(self.datapath.status()))),
            Request { command: Command::Handover, .. } => {
                self.hand_over(stream)?;
                return Ok(Next::End);
            }
            Request { command: Command::Stop, .. } => {
                exchange::write(stream, &Reply::Stopping)?;
                self.outcome.end(None);
                return Ok(Next::End);
            }
        };
        let reply = result.unwrap_or_else(|error| {
            tracing::warn!(failure = %error.failure(), "a control request failed");
            Reply::Failed(error.failure())
        });
        exchange::write(stream, &reply)?;
        Ok(Next::Another)
    }

    /// Serves one connection until it is closed or the tunnel is over.
    fn serve(&self, mut stream: UnixStream) -> Result<(), TunnelError> {
        stream.set_read_timeout(Some(MESSAGE_DEADLINE)).map_err(TunnelError::Exchange)?;
        stream.set_write_timeout(Some(MESSAGE_DEADLINE)).map_err(TunnelError::Exchange)?;
        loop {
            match wait_readable([self.outcome.event(), &stream], STOP_CHECK) {
                [true, _] => return Ok(()),
                [false, false] => continue,
                [false, true] => {}
            }
            match exchange::read(&mut stream) {
                Ok(None) => return Ok(()),
                Ok(Some(request)) => {
                    if self.answer(&mut stream, request)? == Next::End {
                        return Ok(());
                    }
                }
                Err(error @ TunnelError::Message(_)) => {
                    // The stream is out of step, so this answer is the last.
                    return exchange::write(&mut stream, &Reply::Failed(error.failure()));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// A unix socket that only root may use, in place of one that nobody serves any more.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Accepts connections until the tunnel is over: control requests, and questions of `wg` where there is a socket for them.
pub(crate) fn run(service: &Arc<Service>, control: &UnixListener, wg: Option<&UnixListener>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let outcome = Arc::clone(&service.outcome);
    loop {
        let ready = match wg {
            Some(wg) => wait_readable([outcome.event(), control, wg], STOP_CHECK),
            None => {
                let [over, control] = wait_readable([outcome.event(), control], STOP_CHECK);
                [over, control, false]
            }
        };
        let [false, for_control, for_wg] = ready else { return };
        if for_control && let Ok((stream, _)) = control.accept() {
            start(service, &connections, stream, |service, stream| service.serve(stream));
        }
        if for_wg && let Some(Ok((stream, _))) = wg.map(UnixListener::accept) {
            start(service, &connections, stream, |service, stream| wg_socket::serve(&service.datapath, stream));
        }
    }
}

/// Serves a connection on a thread of its own; closes it at once when there are too many.
fn start(
    service: &Arc<Service>,
    connections: &Arc<AtomicUsize>,
    stream: UnixStream,
    serve: impl FnOnce(&Service, UnixStream) -> Result<(), TunnelError> + Send + 'static,
) {
    if connections.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
        connections.fetch_sub(1, Ordering::Relaxed);
        tracing::warn!(limit = MAX_CONNECTIONS, "too many control connections");
        return;
    }
    let (service, count) = (Arc::clone(service), Arc::clone(connections));
    let run = move || {
        let result = stream.set_nonblocking(false).map_err(TunnelError::Exchange).and_then(|()| serve(&service, stream));
        if let Err(error) = result {
            tracing::debug!(failure = %error.failure(), "a control connection ended");
        }
        count.fetch_sub(1, Ordering::Relaxed);
    };
    if let Err(error) = thread::Builder::new().name("control".to_owned()).spawn(run) {
        connections.fetch_sub(1, Ordering::Relaxed);
        tracing::warn!(%error, "could not serve a control connection");
    }
}
