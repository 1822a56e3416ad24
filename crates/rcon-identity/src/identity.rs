//! A member's identity while it lives: TLS configurations that follow its certificate and roots without a restart.

use std::{fmt, sync::Arc, time::SystemTime};

use arc_swap::ArcSwap;
use rcon_types::{ClusterId, NodeId, Role};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SignatureScheme,
    client::{ResolvesClientCert, Resumption},
    crypto::CryptoProvider,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
    version::TLS13,
};

use crate::{
    ALPN, CertificateChain, IdentityError, JoinToken, Membership, NodeKey, PeerIdentity, RootBundle,
    certificate::Validity,
    verifier::{ClientVerifier, JoiningVerifier, ServerVerifier},
};

/// What one handshake uses; replaced as a whole.
pub(crate) struct Current {
    pub(crate) own: PeerIdentity,
    pub(crate) root_store: Arc<RootCertStore>,
    pub(crate) client_verifier: Arc<dyn ClientCertVerifier>,
    certified: Arc<CertifiedKey>,
    certificate: CertificateChain,
    roots: RootBundle,
    validity: Validity,
}

/// The live handle of a node's membership. Cheap to share; every configuration made from it sees a replaced certificate in its
/// next handshake. Sessions are never resumed, so that no old decision outlives a replacement.
pub struct Identity {
    key: NodeKey,
    node_id: NodeId,
    cluster_id: ClusterId,
    current: Arc<ArcSwap<Current>>,
    provider: Arc<CryptoProvider>,
    server_config: Arc<ServerConfig>,
}

impl Identity {
    /// The identity of a membership. An expired certificate is accepted: it is good for renewing.
    ///
    /// # Errors
    /// When the certificate is not for the key, or not signed by one of the roots.
    pub fn new(membership: Membership) -> Result<Self, IdentityError> {
        let Membership { key, certificate, roots } = membership;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let first = Current::new(&key, certificate, roots, &provider)?;
        let (node_id, cluster_id) = (first.own.node_id, first.own.cluster_id);
        let current = Arc::new(ArcSwap::from_pointee(first));
        let server_config = Arc::new(server_config(&current, &provider)?);
        Ok(Self { key, node_id, cluster_id, current, provider, server_config })
    }

    /// Which node this is.
    #[must_use]
    pub const fn node_id(&self) -> NodeId {
        self.node_id
    }

    /// Which cluster it is of.
    #[must_use]
    pub const fn cluster_id(&self) -> ClusterId {
        self.cluster_id
    }

    /// The role in the certificate.
    #[must_use]
    pub fn role(&self) -> Role {
        self.current.load().own.role
    }

    /// Who a peer would see, now.
    #[must_use]
    pub fn own(&self) -> PeerIdentity {
        let current = self.current.load();
        PeerIdentity { expired: SystemTime::now() > current.validity.not_after, ..current.own.clone() }
    }

    /// The certificate in use.
    #[must_use]
    pub fn certificate(&self) -> CertificateChain {
        self.current.load().certificate.clone()
    }

    /// From when to when the certificate in use is valid.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.current.load().validity
    }

    /// The roots that are trusted.
    #[must_use]
    pub fn roots(&self) -> RootBundle {
        self.current.load().roots.clone()
    }

    /// A request (DER) for the next certificate of the same key.
    ///
    /// # Errors
    /// When signing fails.
    pub fn certificate_request(&self) -> Result<Vec<u8>, IdentityError> {
        self.key.certificate_request()
    }

    /// Uses another certificate and other roots from the next handshake on; connections that are open stay.
    ///
    /// # Errors
    /// When the certificate is for another key, node or cluster, or not signed by one of the roots. Nothing changes then.
    pub fn replace(&self, certificate: CertificateChain, roots: RootBundle) -> Result<(), IdentityError> {
        let next = Current::new(&self.key, certificate, roots, &self.provider)?;
        if (next.own.node_id, next.own.cluster_id) != (self.node_id, self.cluster_id) {
            return Err(IdentityError::Mismatch { why: format!("it is for node {} of cluster {}", next.own.node_id, next.own.cluster_id) });
        }
        tracing::info!(role = %next.own.role, "the node's certificate was replaced");
        self.current.store(Arc::new(next));
        Ok(())
    }

    /// For the server side of 2377/tcp: TLS 1.3, h2; a client certificate is optional, verified where it is shown.
    #[must_use]
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server_config)
    }

    /// For calling a node of the cluster: `expected`, or any.
    ///
    /// # Errors
    /// When rustls refuses the configuration.
    pub fn client_config(&self, expected: Option<NodeId>) -> Result<Arc<ClientConfig>, IdentityError> {
        let verifier = ServerVerifier::new(Arc::clone(&self.current), expected, &self.provider);
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(|source| IdentityError::Tls { source })?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(Resolver(Arc::clone(&self.current))));
        finish_client(&mut config);
        Ok(Arc::new(config))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("own", &self.own()).finish_non_exhaustive()
    }
}

/// For a host that has a token and no certificate: the server must hold the root that the token names, and be a manager.
/// The handshake fails before a byte of the request is sent otherwise.
///
/// # Errors
/// When rustls refuses the configuration.
pub fn joining_config(token: &JoinToken) -> Result<Arc<ClientConfig>, IdentityError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = JoiningVerifier::new(token.root_key_digest(), &provider);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|source| IdentityError::Tls { source })?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    finish_client(&mut config);
    Ok(Arc::new(config))
}

fn finish_client(config: &mut ClientConfig) {
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
}

fn server_config(current: &Arc<ArcSwap<Current>>, provider: &Arc<CryptoProvider>) -> Result<ServerConfig, IdentityError> {
    let verifier = ClientVerifier::new(Arc::clone(current), provider);
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(|source| IdentityError::Tls { source })?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(Resolver(Arc::clone(current))));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

impl Current {
    fn new(key: &NodeKey, certificate: CertificateChain, roots: RootBundle, provider: &Arc<CryptoProvider>) -> Result<Self, IdentityError> {
        let own = certificate.identity(SystemTime::UNIX_EPOCH)?;
        if own.public_key_digest != key.public_key_digest() {
            return Err(IdentityError::Mismatch { why: "it is for another key than this node's".to_owned() });
        }
        let validity = certificate.validity()?;
        let mut root_store = RootCertStore::empty();
        for root in roots.certificates() {
            root_store.add(root.clone()).map_err(|source| IdentityError::Tls { source })?;
        }
        let root_store = Arc::new(root_store);
        let client_verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&root_store), Arc::clone(provider))
            .clear_root_hint_subjects()
            .build()
            .map_err(|e| IdentityError::Certificate { why: e.to_string() })?;
        check_own(&certificate, validity, client_verifier.as_ref())?;
        // The roots travel with the certificate, so that a joiner can compare them with its token.
        let shown = certificate.certificates().iter().chain(roots.certificates()).cloned().collect();
        let certified = CertifiedKey::from_der(shown, key.to_rustls(), provider).map_err(|source| IdentityError::Tls { source })?;
        Ok(Self { own, root_store, client_verifier, certified: Arc::new(certified), certificate, roots, validity })
    }
}

/// Whether our own certificate leads to one of our roots; time is no matter.
fn check_own(certificate: &CertificateChain, validity: Validity, verifier: &dyn ClientCertVerifier) -> Result<(), IdentityError> {
    let last_day = validity.not_after.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    verifier
        .verify_client_cert(certificate.leaf(), &certificate.certificates()[1..], rustls_pki_types::UnixTime::since_unix_epoch(last_day))
        .map(|_| ())
        .map_err(|e| IdentityError::Mismatch { why: format!("none of the roots has signed it ({e})") })
}

/// Shows the certificate of the moment, on either side.
struct Resolver(Arc<ArcSwap<Current>>);

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().certified))
    }
}

impl ResolvesClientCert for Resolver {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().certified))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
