//! Certificates as this cluster writes and reads them: chains, root bundles, and the identity a certificate states.

use std::time::{Duration, SystemTime};

use rcon_types::{ClusterId, NodeId, Role};
use rustls_pki_types::CertificateDer;
use x509_parser::{certificate::X509Certificate, prelude::FromDer, time::ASN1Time, x509::X509Name};

use crate::{
    IdentityError,
    key::{KeyDigest, key_digest},
};

/// The tag of a certificate in PEM (RFC 7468 §5).
const CERTIFICATE_TAG: &str = "CERTIFICATE";
/// The most certificates that a chain or a bundle may have; a rotation of the root needs three.
pub const MAX_CERTIFICATES: usize = 8;

/// A node's certificate, first, and what leads from it to a root, if anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateChain {
    certificates: Vec<CertificateDer<'static>>,
}

/// The roots that a node trusts: one, or two and a cross-signed one while the root is rotated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootBundle {
    certificates: Vec<CertificateDer<'static>>,
}

/// Who a certificate says that its owner is. The role is what it was when the certificate was issued; the state knows better.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The node (CN).
    pub node_id: NodeId,
    /// Its role when the certificate was issued (OU).
    pub role: Role,
    /// Its cluster (O).
    pub cluster_id: ClusterId,
    /// Which key the certificate is for.
    pub public_key_digest: KeyDigest,
    /// Whether the certificate's time is over. Such a peer may renew and nothing else.
    pub expired: bool,
}

/// From when to when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second of it.
    pub not_before: SystemTime,
    /// The last second of it.
    pub not_after: SystemTime,
}

impl CertificateChain {
    /// A chain of certificates (DER), the node's own first.
    ///
    /// # Errors
    /// When it is empty or too long, or its first one does not state a node, a role and a cluster.
    pub fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, IdentityError> {
        check_count(certificates.len())?;
        let chain = Self { certificates };
        chain.identity(SystemTime::UNIX_EPOCH)?;
        Ok(chain)
    }

    /// The chain in a PEM file.
    ///
    /// # Errors
    /// As [`CertificateChain::new`], and when the text is no PEM.
    pub fn from_pem(text: &str) -> Result<Self, IdentityError> {
        Self::new(parse_pem(text)?)
    }

    /// The chain as a PEM file.
    #[must_use]
    pub fn to_pem(&self) -> String {
        write_pem(&self.certificates)
    }

    /// Who the first certificate is for.
    ///
    /// # Errors
    /// When it does not say so in our way.
    pub fn identity(&self, now: SystemTime) -> Result<PeerIdentity, IdentityError> {
        PeerIdentity::from_certificate(self.leaf(), now)
    }

    /// From when to when the first certificate is valid.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn validity(&self) -> Result<Validity, IdentityError> {
        Validity::of(self.leaf())
    }

    /// The node's own certificate (DER).
    #[must_use]
    pub fn leaf(&self) -> &CertificateDer<'static> {
        &self.certificates[0]
    }

    /// All certificates, the node's own first.
    #[must_use]
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }
}

impl RootBundle {
    /// A bundle of root certificates (DER).
    ///
    /// # Errors
    /// When it is empty or too long, or one of them is no certificate of an authority.
    pub fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, IdentityError> {
        check_count(certificates.len())?;
        for der in &certificates {
            if !parse(der)?.is_ca() {
                return Err(IdentityError::Certificate { why: "a root certificate is not one of an authority".to_owned() });
            }
        }
        Ok(Self { certificates })
    }

    /// The bundle in a PEM file.
    ///
    /// # Errors
    /// As [`RootBundle::new`], and when the text is no PEM.
    pub fn from_pem(text: &str) -> Result<Self, IdentityError> {
        Self::new(parse_pem(text)?)
    }

    /// The bundle as a PEM file.
    #[must_use]
    pub fn to_pem(&self) -> String {
        write_pem(&self.certificates)
    }

    /// The certificates.
    #[must_use]
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }
}

impl PeerIdentity {
    /// Who a certificate (DER) is for. Says nothing about who signed it.
    ///
    /// # Errors
    /// When it has not exactly one CN, OU and O, or they are no node, role and cluster.
    pub fn from_certificate(der: &CertificateDer<'_>, now: SystemTime) -> Result<Self, IdentityError> {
        let certificate = parse(der)?;
        let subject = certificate.subject();
        let node_id = one("CN", subject.iter_common_name(), subject)?;
        let role = one("OU", subject.iter_organizational_unit(), subject)?;
        let cluster_id = one("O", subject.iter_organization(), subject)?;
        Ok(Self {
            node_id: node_id.parse().map_err(|e| malformed(format!("CN: {e}")))?,
            role: role.parse().map_err(|e| malformed(format!("OU: {e}")))?,
            cluster_id: cluster_id.parse().map_err(|e| malformed(format!("O: {e}")))?,
            public_key_digest: key_digest(certificate.public_key().raw),
            expired: now > time(certificate.validity().not_after)?,
        })
    }
}

impl Validity {
    /// The validity of a certificate (DER).
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(der: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let certificate = parse(der)?;
        Ok(Self { not_before: time(certificate.validity().not_before)?, not_after: time(certificate.validity().not_after)? })
    }
}

/// The digest of the key that a certificate (DER) is for.
///
/// # Errors
/// When it cannot be read.
pub fn certificate_key_digest(der: &CertificateDer<'_>) -> Result<KeyDigest, IdentityError> {
    Ok(key_digest(parse(der)?.public_key().raw))
}

/// The cluster that a root certificate (DER) is of.
pub(crate) fn cluster_of_root(der: &CertificateDer<'_>) -> Result<ClusterId, IdentityError> {
    let certificate = parse(der)?;
    let subject = certificate.subject();
    one("O", subject.iter_organization(), subject)?.parse().map_err(|e| malformed(format!("O: {e}")))
}

pub(crate) fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, IdentityError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(malformed("bytes follow it".to_owned())),
        Err(e) => Err(malformed(e.to_string())),
    }
}

/// The only attribute of its kind: two could be read differently by two readers.
fn one<'a>(
    what: &str,
    mut attributes: impl Iterator<Item = &'a x509_parser::x509::AttributeTypeAndValue<'a>>,
    subject: &X509Name<'_>,
) -> Result<&'a str, IdentityError> {
    match (attributes.next(), attributes.next()) {
        (Some(attribute), None) => attribute.as_str().map_err(|e| malformed(format!("{what}: {e}"))),
        _ => Err(malformed(format!("its subject `{subject}` has not exactly one {what}"))),
    }
}

fn time(time: ASN1Time) -> Result<SystemTime, IdentityError> {
    u64::try_from(time.timestamp())
        .ok()
        .and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)))
        .ok_or_else(|| malformed("its time is before 1970".to_owned()))
}

fn check_count(count: usize) -> Result<(), IdentityError> {
    if (1..=MAX_CERTIFICATES).contains(&count) {
        Ok(())
    } else {
        Err(malformed(format!("there are {count} certificates, not 1 to {MAX_CERTIFICATES}")))
    }
}

fn malformed(why: String) -> IdentityError {
    IdentityError::Certificate { why }
}

fn parse_pem(text: &str) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let documents = pem::parse_many(text).map_err(|e| malformed(e.to_string()))?;
    documents
        .into_iter()
        .map(|document| match document.tag() {
            CERTIFICATE_TAG => Ok(CertificateDer::from(document.into_contents())),
            other => Err(malformed(format!("there is a {other} among the certificates"))),
        })
        .collect()
}

fn write_pem(certificates: &[CertificateDer<'static>]) -> String {
    let documents: Vec<_> = certificates.iter().map(|der| pem::Pem::new(CERTIFICATE_TAG, der.to_vec())).collect();
    pem::encode_many(&documents)
}
