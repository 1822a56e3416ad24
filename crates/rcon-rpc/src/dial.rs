//! Opening connections, and saying clearly why one could not be opened.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use rcon_identity::{
    PeerRefused,
    rustls::{self, ClientConfig, pki_types::ServerName},
};
use rcon_types::{Failure, FailureKind};
use thiserror::Error;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{Address, limits};

/// Why a server could not be reached.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The host's name has no address.
    #[error("could not find the host of {address}")]
    Resolve {
        /// Who was to be reached.
        address: Address,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nobody answers there.
    #[error("could not connect to {address}")]
    Dial {
        /// Who was to be reached.
        address: Address,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nobody answered in time.
    #[error("no answer from {address} within {} s", limits::CONNECT_TIMEOUT.as_secs())]
    Timeout {
        /// Who was to be reached.
        address: Address,
    },
    /// Somebody answered who does not speak TLS as nodes do, or who refused us.
    #[error("could not agree on TLS with {address}")]
    Handshake {
        /// Who was to be reached.
        address: Address,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Somebody answered who is not the one we look for.
    #[error("refused to talk to {address}")]
    Refused {
        /// Who was to be reached.
        address: Address,
        /// Why.
        #[source]
        source: PeerRefused,
    },
    /// The agent of this host does not answer.
    #[error("could not reach rcond at `{}`", path.display())]
    Local {
        /// Its socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The other part of this process has ended.
    #[error("this process is stopping")]
    Stopping,
}

impl ConnectError {
    /// The failure as its user sees it.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let kind = match self {
            Self::Refused { .. } => FailureKind::Unauthenticated,
            Self::Local { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => FailureKind::PermissionDenied,
            _ => FailureKind::Unavailable,
        };
        Failure::from_error(kind, self).hint(self.hint())
    }

    fn hint(&self) -> String {
        match self {
            Self::Resolve { .. } => "check the spelling, or give an IP address".to_owned(),
            Self::Dial { address, .. } | Self::Timeout { address } => {
                format!("check that rcond runs there and is in a cluster, and that no firewall is before TCP port {}", address.port())
            }
            Self::Handshake { .. } => "check that the port is rcond's, and that this node is still in the cluster".to_owned(),
            Self::Refused { source, .. } => source.hint().to_owned(),
            Self::Local { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => {
                    "run it as root, or as a member of the group that rcond's configuration names".to_owned()
                }
                _ => "start rcond, or name its socket in RCON_HOST".to_owned(),
            },
            Self::Stopping => "try again when rcond is up".to_owned(),
        }
    }
}

/// A TLS connection to a node.
pub(crate) async fn tls(address: Address, config: Arc<ClientConfig>) -> Result<TlsStream<TcpStream>, ConnectError> {
    let dialling = async {
        let stream = tcp(&address).await?;
        // Names play no part in the verification; the API wants one.
        let name = ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into());
        TlsConnector::from(config).connect(name, stream).await.map_err(|source| match peer_refused(&source) {
            Some(source) => ConnectError::Refused { address: address.clone(), source },
            None => ConnectError::Handshake { address: address.clone(), source },
        })
    };
    match tokio::time::timeout(limits::CONNECT_TIMEOUT, dialling).await {
        Ok(result) => result,
        Err(_) => Err(ConnectError::Timeout { address }),
    }
}

async fn tcp(address: &Address) -> Result<TcpStream, ConnectError> {
    let resolve_failed = |source| ConnectError::Resolve { address: address.clone(), source };
    let found: Vec<SocketAddr> = tokio::net::lookup_host((address.host(), address.port()))
        .await
        .map_err(resolve_failed)?
        .take(limits::MAX_ADDRESSES_TRIED)
        .collect();
    let mut last = None;
    for candidate in found {
        match TcpStream::connect(candidate).await {
            Ok(stream) => {
                stream.set_nodelay(true).map_err(|source| ConnectError::Dial { address: address.clone(), source })?;
                return Ok(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(match last {
        Some(source) => ConnectError::Dial { address: address.clone(), source },
        None => resolve_failed(io::ErrorKind::NotFound.into()),
    })
}

/// A connection to the agent of this host.
pub(crate) async fn unix(path: PathBuf) -> Result<UnixStream, ConnectError> {
    UnixStream::connect(&path).await.map_err(|source| ConnectError::Local { path, source })
}

/// Our own verifier's reason, where it was that which ended the handshake.
fn peer_refused(error: &io::Error) -> Option<PeerRefused> {
    rcon_identity::peer_refused(error.get_ref()?.downcast_ref::<rustls::Error>()?)
}
