//! A server on TCP: mutual TLS, garbage kept at the door.

use std::{future::Future, io, net::SocketAddr, path::PathBuf, sync::Arc, time::SystemTime};

use rcon_identity::{Identity, PeerIdentity, certificate::Validity};
use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::service::Routes;

use crate::{
    caller::Connection,
    incoming::Accepted,
    limits,
    service::{Ending, Service},
};

/// Why a server could not serve.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The unix socket could not be made.
    #[error("could not listen on `{}`", path.display())]
    Listen {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The HTTP/2 server ended by itself.
    #[error("the server stopped")]
    Stopped(#[source] tonic::transport::Error),
}

impl From<ServeError> for rcon_types::Failure {
    fn from(error: ServeError) -> Self {
        Self::from_error(rcon_types::FailureKind::Internal, &error)
    }
}

/// Serves `routes` over mutual TLS until `shutdown` completes, then gives open requests [`limits::SHUTDOWN_GRACE`]. Clients
/// without a certificate are let in, for joining; [`crate::caller`] tells them apart.
///
/// # Errors
/// When the HTTP/2 server ends by itself.
pub async fn serve(
    listener: TcpListener,
    identity: Arc<Identity>,
    routes: Routes,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let (service, accepted) = Service::new(routes);
    let door = Arc::new(Door {
        acceptor: TlsAcceptor::from(identity.server_config()),
        ending: service.ending(),
        accepted,
        anonymous: Arc::new(Semaphore::new(limits::MAX_ANONYMOUS)),
    });
    service.run(accept(listener, door), shutdown).await
}

/// What each handshake needs.
struct Door {
    acceptor: TlsAcceptor,
    ending: Ending,
    accepted: mpsc::Sender<Accepted<TlsStream<TcpStream>>>,
    anonymous: Arc<Semaphore>,
}

async fn accept(listener: TcpListener, door: Arc<Door>) {
    let handshakes = Arc::new(Semaphore::new(limits::MAX_HANDSHAKES));
    // Dropping the set, when the server ends, ends the handshakes.
    let mut tasks = JoinSet::new();
    while let Ok(permit) = Arc::clone(&handshakes).acquire_owned().await {
        while tasks.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, remote)) => {
                let door = Arc::clone(&door);
                tasks.spawn(async move {
                    let _permit = permit;
                    door.shake_hands(stream, remote).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection; trying again");
                tokio::time::sleep(limits::ACCEPT_REST).await;
            }
        }
    }
}

impl Door {
    async fn shake_hands(&self, stream: TcpStream, remote: SocketAddr) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%remote, %error, "a client left at once");
            return;
        }
        let stream = match tokio::time::timeout(limits::HANDSHAKE_TIMEOUT, self.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%remote, %error, "a client failed the TLS handshake");
                return;
            }
            Err(_) => {
                tracing::debug!(%remote, "a client was too slow for the TLS handshake");
                return;
            }
        };
        if let Some(accepted) = self.admit(stream, remote) {
            // An error means that the server is stopping.
            let _ = self.accepted.send(accepted).await;
        }
    }

    fn admit(&self, stream: TlsStream<TcpStream>, remote: SocketAddr) -> Option<Accepted<TlsStream<TcpStream>>> {
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let Some(certificate) = shown else {
            let Ok(permit) = Arc::clone(&self.anonymous).try_acquire_owned() else {
                tracing::warn!(%remote, "a client without a certificate was turned away: there are too many of them");
                return None;
            };
            let ending = self.ending.clone();
            let end = Box::pin(async move {
                let _permit = permit;
                // Either way the connection ends.
                let _ = tokio::time::timeout(limits::ANONYMOUS_LIFE, ending.wait()).await;
            });
            return Some(Accepted::new(stream, Connection::Anonymous { remote }, end));
        };
        let read = PeerIdentity::from_certificate(certificate, SystemTime::now()).and_then(|peer| Ok((peer, Validity::of(certificate)?)));
        match read {
            Ok((peer, validity)) => {
                let connection = Connection::Node { peer, not_after: validity.not_after, remote };
                Some(Accepted::new(stream, connection, self.ending.clone().boxed()))
            }
            Err(error) => {
                tracing::warn!(%remote, %error, "a verified certificate could not be read");
                None
            }
        }
    }
}
