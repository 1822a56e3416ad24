//! The checks behind the TLS configurations: of clients, of servers, and of the server that a joiner meets first.
//!
//! Host names play no part: a peer is right because a root we trust says which node of which cluster it is.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use rcon_types::{ClusterId, NodeId, Role};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature},
    server::{
        ParsedCertificate,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use thiserror::Error;

use crate::{
    PeerIdentity,
    certificate::{Validity, certificate_key_digest},
    identity::Current,
    key::KeyDigest,
};

/// Why we refuse a peer, in words for the log and the person who asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PeerRefused {
    /// The certificate does not state a node, a role and a cluster.
    #[error("the peer's certificate is none of a cluster: {0}")]
    Shape(String),
    /// Another cluster.
    #[error("the peer is of cluster {found}, not of {expected}")]
    Cluster {
        /// The peer's.
        found: ClusterId,
        /// Ours.
        expected: ClusterId,
    },
    /// Another node than the one that was called.
    #[error("the peer is node {found}, not {expected}")]
    Node {
        /// Who answered.
        found: NodeId,
        /// Who was called.
        expected: NodeId,
    },
    /// A joiner met a server that is not of the token's cluster.
    #[error("the server does not hold the root that the token names: it is of another cluster, or a stranger")]
    Token,
    /// A joiner met a worker.
    #[error("the server is a worker; only a manager lets nodes join")]
    NotManager,
    /// No root of ours leads to the certificate, or its time is over or has not begun.
    #[error("the peer's certificate is not valid: {0}")]
    Untrusted(String),
}

impl PeerRefused {
    /// How to mend it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Token => {
                "check that address and token are of the same cluster: `rconctl swarm join-token worker` on a manager prints both"
            }
            Self::NotManager => "give the address of a manager: `rconctl node ls` on one names them",
            Self::Node { .. } => "the address may have moved to another host; `rconctl node update --addr` tells the cluster the new one",
            Self::Shape(_) | Self::Cluster { .. } => "check the address",
            Self::Untrusted(_) => {
                "check the clocks of both hosts; a node that was away for longer than its certificate's life must renew it or join again"
            }
        }
    }

    fn into_tls(self) -> rustls::Error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(self))))
    }
}

/// Why we refused a peer, where it was that which ended a handshake.
#[must_use]
pub fn peer_refused(error: &rustls::Error) -> Option<PeerRefused> {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(other))) => {
            Some(other.downcast_ref().cloned().unwrap_or_else(|| PeerRefused::Untrusted(other.to_string())))
        }
        rustls::Error::InvalidCertificate(why) => Some(PeerRefused::Untrusted(why.to_string())),
        rustls::Error::NoCertificatesPresented => Some(PeerRefused::Untrusted("it showed none".to_owned())),
        _ => None,
    }
}

fn as_system_time(time: UnixTime) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs())
}

fn stated_identity(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<PeerIdentity, rustls::Error> {
    PeerIdentity::from_certificate(certificate, as_system_time(now)).map_err(|e| PeerRefused::Shape(e.to_string()).into_tls())
}

/// TLS 1.2 is not offered, so its signatures cannot come.
fn no_tls12() -> rustls::Error {
    rustls::Error::General("TLS 1.2 is not spoken here".to_owned())
}

/// Checks a client: none is fine (a joiner has no certificate yet), a shown one must be a node's of this cluster, expired or not.
pub(crate) struct ClientVerifier {
    current: Arc<ArcSwap<Current>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientVerifier {
    pub(crate) fn new(current: Arc<ArcSwap<Current>>, provider: &CryptoProvider) -> Self {
        Self { current, algorithms: provider.signature_verification_algorithms }
    }
}

impl fmt::Debug for ClientVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientVerifier")
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let current = self.current.load();
        let found = stated_identity(end_entity, now)?;
        if found.cluster_id != current.own.cluster_id {
            return Err(PeerRefused::Cluster { found: found.cluster_id, expected: current.own.cluster_id }.into_tls());
        }
        // An expired certificate is judged as on its last day; whoever authorises the request sees `expired`.
        let at = if found.expired { last_moment(end_entity)? } else { now };
        current.client_verifier.verify_client_cert(end_entity, intermediates, at)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn last_moment(certificate: &CertificateDer<'_>) -> Result<UnixTime, rustls::Error> {
    let validity = Validity::of(certificate).map_err(|e| PeerRefused::Shape(e.to_string()).into_tls())?;
    Ok(UnixTime::since_unix_epoch(validity.not_after.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()))
}

/// Checks a server: a node of this cluster, and the expected one where there is one.
pub(crate) struct ServerVerifier {
    current: Arc<ArcSwap<Current>>,
    expected: Option<NodeId>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerVerifier {
    pub(crate) fn new(current: Arc<ArcSwap<Current>>, expected: Option<NodeId>, provider: &CryptoProvider) -> Self {
        Self { current, expected, algorithms: provider.signature_verification_algorithms }
    }
}

impl fmt::Debug for ServerVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerVerifier").field("expected", &self.expected).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let current = self.current.load();
        let found = stated_identity(end_entity, now)?;
        if found.cluster_id != current.own.cluster_id {
            return Err(PeerRefused::Cluster { found: found.cluster_id, expected: current.own.cluster_id }.into_tls());
        }
        if let Some(expected) = self.expected.filter(|expected| *expected != found.node_id) {
            return Err(PeerRefused::Node { found: found.node_id, expected }.into_tls());
        }
        let certificate = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(&certificate, &current.root_store, intermediates, now, self.algorithms.all)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Checks the manager that a joiner sends its secret to: the chain must hold a root with the key that the token names, the
/// server's certificate must be signed by that root, and state a manager of the root's cluster.
#[derive(Debug)]
pub(crate) struct JoiningVerifier {
    root_key_digest: KeyDigest,
    algorithms: WebPkiSupportedAlgorithms,
}

impl JoiningVerifier {
    pub(crate) fn new(root_key_digest: KeyDigest, provider: &CryptoProvider) -> Self {
        Self { root_key_digest, algorithms: provider.signature_verification_algorithms }
    }
}

impl ServerCertVerifier for JoiningVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let root = intermediates
            .iter()
            .find(|shown| certificate_key_digest(shown).is_ok_and(|digest| digest == self.root_key_digest))
            .ok_or_else(|| PeerRefused::Token.into_tls())?;
        let mut anchor = RootCertStore::empty();
        anchor.add(root.clone())?;
        let certificate = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(&certificate, &anchor, intermediates, now, self.algorithms.all)?;
        let found = stated_identity(end_entity, now)?;
        let expected = crate::certificate::cluster_of_root(root).map_err(|e| PeerRefused::Shape(e.to_string()).into_tls())?;
        if found.cluster_id != expected {
            return Err(PeerRefused::Cluster { found: found.cluster_id, expected }.into_tls());
        }
        match found.role {
            Role::Manager => Ok(ServerCertVerified::assertion()),
            Role::Worker => Err(PeerRefused::NotManager.into_tls()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
