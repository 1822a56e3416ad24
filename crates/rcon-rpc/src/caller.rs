//! Who makes a request, as the connection proved it.

use std::{net::SocketAddr, sync::Arc, time::SystemTime};

use rcon_identity::{Identity, PeerIdentity};
use rcon_types::{Failure, FailureKind};
use tonic::{Request, Status};

use crate::failure_to_status;

/// Who makes a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Root of this host, or one of the configured group, over the unix socket.
    Local,
    /// A node of the cluster, by its certificate. The state says whether it still is one, and in which role.
    Node(PeerIdentity),
}

/// What a connection proved; in the extensions of each of its requests.
#[derive(Debug, Clone)]
pub(crate) enum Connection {
    /// Over the unix socket.
    Local,
    /// Over TLS with a certificate that ends at `not_after`.
    Node { peer: PeerIdentity, not_after: SystemTime, remote: SocketAddr },
    /// Over TLS without a certificate: somebody who wants to join.
    Anonymous { remote: SocketAddr },
    /// A part of this process.
    InProcess(Arc<Identity>),
}

/// Who makes this request, with an identity that is valid now.
///
/// # Errors
/// Unauthenticated, when the caller has no certificate or it has expired, also while the connection was open.
pub fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    match renewing_caller(request)? {
        Caller::Node(peer) if peer.expired => Err(failure_to_status(
            Failure::new(FailureKind::Unauthenticated, format!("the certificate of node {} has expired", peer.node_id))
                .hint("the node renews it by itself when a manager answers; check its clock, or remove the node and join again"),
        )),
        caller => Ok(caller),
    }
}

/// Who makes this request, even with an expired certificate: for renewing it, and nothing else.
///
/// # Errors
/// Unauthenticated, when the caller has no certificate.
pub fn renewing_caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    match request.extensions().get::<Connection>() {
        Some(Connection::Local) => Ok(Caller::Local),
        Some(Connection::Node { peer, not_after, .. }) => {
            Ok(Caller::Node(PeerIdentity { expired: SystemTime::now() > *not_after, ..peer.clone() }))
        }
        Some(Connection::InProcess(identity)) => Ok(Caller::Node(identity.own())),
        Some(Connection::Anonymous { .. }) | None => Err(failure_to_status(
            Failure::new(FailureKind::Unauthenticated, "the caller showed no certificate of this cluster")
                .hint("only joining is possible without one: `rconctl swarm join`"),
        )),
    }
}

/// Where a request came from, where it came over the network.
#[must_use]
pub fn remote_address<T>(request: &Request<T>) -> Option<SocketAddr> {
    match request.extensions().get::<Connection>() {
        Some(Connection::Node { remote, .. } | Connection::Anonymous { remote }) => Some(*remote),
        _ => None,
    }
}
