//! The cluster's certificate authority: a P-256 root that signs node certificates and nothing else.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose, PublicKeyData, SerialNumber,
};
use rcon_types::{ClusterId, NodeId, Role};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::{
    CertificateChain, IdentityError, JoinSecret, JoinToken, NodeKey, RequestedKey, RootBundle,
    certificate::{Validity, certificate_key_digest, cluster_of_root},
    key::KeyDigest,
};

/// The life of a node certificate where nobody says otherwise; Docker Swarm's too.
pub const DEFAULT_CERTIFICATE_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
/// The least life of a node certificate: below it, renewing would be all that a cluster does.
pub const MINIMUM_CERTIFICATE_LIFE: Duration = Duration::from_secs(3600);
/// The life of the root: 20 years. It is rotated, not renewed.
const ROOT_LIFE: Duration = Duration::from_secs(20 * 365 * 24 * 3600);
/// How far certificates are dated back, so that a node whose clock is behind accepts them.
const BACKDATE: Duration = Duration::from_secs(3600);

/// Whom a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// The node (CN).
    pub node_id: NodeId,
    /// Its role in the state now (OU).
    pub role: Role,
    /// The cluster (O); must be the authority's own.
    pub cluster_id: ClusterId,
}

/// The root's key and certificate. Lives where managers are, inside the sealed state.
pub struct CertificateAuthority {
    key: NodeKey,
    root: CertificateDer<'static>,
    cluster_id: ClusterId,
}

impl CertificateAuthority {
    /// A new root for a new cluster, valid from an hour before `now` for 20 years.
    ///
    /// # Errors
    /// When a key cannot be made or the root not signed.
    pub fn generate(cluster_id: ClusterId, now: SystemTime) -> Result<Self, IdentityError> {
        let key = NodeKey::generate()?;
        let mut name = DistinguishedName::new();
        name.push(DnType::OrganizationName, cluster_id.to_string());
        name.push(DnType::CommonName, "rcon root");
        let mut params = base_params(name, now, ROOT_LIFE)?;
        // One step below the root is left for a cross-signed root while the authority is rotated.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = params
            .self_signed(key.pair())
            .map_err(|source| IdentityError::Issue { subject: format!("the root of cluster {cluster_id}"), source: source.into() })?;
        Ok(Self { key, root: root.der().clone(), cluster_id })
    }

    /// The authority as the state keeps it: a bundle of root certificates and a PKCS #8 key, which is that of one of them.
    ///
    /// # Errors
    /// When the key is none or that of no root in the bundle.
    pub fn from_parts(roots: &RootBundle, key_pkcs8: &[u8]) -> Result<Self, IdentityError> {
        let key = NodeKey::from_pkcs8(key_pkcs8)?;
        for root in roots.certificates() {
            if certificate_key_digest(root)? == key.public_key_digest() {
                return Ok(Self { key, root: root.clone(), cluster_id: cluster_of_root(root)? });
            }
        }
        Err(IdentityError::ForeignRoot { roots: roots.certificates().len() })
    }

    /// Signs a certificate for a proven key, valid from an hour before `now` until `life` after it. Everything in it is
    /// written here; nothing but the key is the requester's.
    ///
    /// # Errors
    /// When the life is under [`MINIMUM_CERTIFICATE_LIFE`] or beyond the root's, the cluster another, or signing fails.
    pub fn issue(&self, key: &RequestedKey, subject: Subject, life: Duration, now: SystemTime) -> Result<CertificateChain, IdentityError> {
        if subject.cluster_id != self.cluster_id {
            return Err(IdentityError::Mismatch { why: format!("this authority is of cluster {}", self.cluster_id) });
        }
        let refused = || IdentityError::Life { asked_s: life.as_secs(), minimum_s: MINIMUM_CERTIFICATE_LIFE.as_secs() };
        let end = now.checked_add(life).ok_or_else(refused)?;
        if life < MINIMUM_CERTIFICATE_LIFE || end > Validity::of(&self.root)?.not_after {
            return Err(refused());
        }
        let mut name = DistinguishedName::new();
        name.push(DnType::OrganizationName, subject.cluster_id.to_string());
        name.push(DnType::OrganizationalUnitName, subject.role.as_str());
        name.push(DnType::CommonName, subject.node_id.to_string());
        let mut params = base_params(name, now, life)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let failed = |source: rcgen::Error| IdentityError::Issue { subject: format!("node {}", subject.node_id), source: source.into() };
        let issuer = Issuer::from_ca_cert_der(&self.root, self.key.pair()).map_err(failed)?;
        let certificate = params.signed_by(key.key(), &issuer).map_err(failed)?;
        CertificateChain::new(vec![certificate.der().clone()])
    }

    /// Which cluster's authority this is.
    #[must_use]
    pub const fn cluster_id(&self) -> ClusterId {
        self.cluster_id
    }

    /// The root alone, as a bundle.
    ///
    /// # Errors
    /// Never for a root that was made here.
    pub fn roots(&self) -> Result<RootBundle, IdentityError> {
        RootBundle::new(vec![self.root.clone()])
    }

    /// The root's key as a PKCS #8 document, for the sealed state.
    #[must_use]
    pub fn key_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        self.key.to_pkcs8()
    }

    /// Which key the root has.
    #[must_use]
    pub fn root_key_digest(&self) -> KeyDigest {
        crate::key::key_digest(&self.key.pair().subject_public_key_info())
    }

    /// The token that carries this secret to a joiner.
    #[must_use]
    pub fn token(&self, secret: JoinSecret) -> JoinToken {
        JoinToken::new(self.root_key_digest(), secret)
    }
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority").field("cluster_id", &self.cluster_id).finish_non_exhaustive()
    }
}

fn base_params(name: DistinguishedName, now: SystemTime, life: Duration) -> Result<rcgen::CertificateParams, IdentityError> {
    let refused = || IdentityError::Life { asked_s: life.as_secs(), minimum_s: MINIMUM_CERTIFICATE_LIFE.as_secs() };
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = name;
    params.not_before = date(now.checked_sub(BACKDATE).ok_or_else(refused)?).ok_or_else(refused)?;
    params.not_after = date(now.checked_add(life).ok_or_else(refused)?).ok_or_else(refused)?;
    params.serial_number = Some(random_serial()?);
    Ok(params)
}

/// A moment as X.509 can write it (years 0 to 9999, RFC 5280 §4.1.2.5).
fn date(time: SystemTime) -> Option<OffsetDateTime> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    OffsetDateTime::from_unix_timestamp(i64::try_from(since.as_secs()).ok()?).ok()
}

/// 127 random bits: positive, and never twice (RFC 5280 §4.1.2.2).
fn random_serial() -> Result<SerialNumber, IdentityError> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|source| IdentityError::Random { what: "serial number", source })?;
    bytes[0] &= 0x7f;
    Ok(SerialNumber::from_slice(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::parse;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn authority() -> CertificateAuthority {
        CertificateAuthority::generate(ClusterId::from_bytes([7; 16]), now()).unwrap()
    }

    fn subject() -> Subject {
        Subject { node_id: NodeId::from_bytes([9; 16]), role: Role::Worker, cluster_id: ClusterId::from_bytes([7; 16]) }
    }

    fn requested() -> RequestedKey {
        RequestedKey::from_request(&NodeKey::generate().unwrap().certificate_request().unwrap()).unwrap()
    }

    #[test]
    fn a_certificate_says_who_for_how_long_and_for_which_key() {
        let key = requested();
        let chain = authority().issue(&key, subject(), DEFAULT_CERTIFICATE_LIFE, now()).unwrap();
        let identity = chain.identity(now()).unwrap();
        assert_eq!((identity.node_id, identity.role, identity.cluster_id), (subject().node_id, Role::Worker, subject().cluster_id));
        assert_eq!(identity.public_key_digest, key.digest());
        assert!(!identity.expired);
        let validity = chain.validity().unwrap();
        assert_eq!(validity.not_before, now() - BACKDATE);
        assert_eq!(validity.not_after, now() + DEFAULT_CERTIFICATE_LIFE);
        assert!(chain.identity(now() + DEFAULT_CERTIFICATE_LIFE + Duration::from_secs(1)).unwrap().expired);
        let again = CertificateChain::from_pem(&chain.to_pem()).unwrap();
        assert_eq!(again, chain);
    }

    #[test]
    fn a_request_for_a_ca_with_other_names_gets_neither() {
        let pair = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["manager.example".to_owned(), "10.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, NodeId::from_bytes([1; 16]).to_string());
        params.distinguished_name.push(DnType::OrganizationalUnitName, "manager");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let request = params.serialize_request(&pair).unwrap();
        let key = RequestedKey::from_request(request.der()).unwrap();

        let chain = authority().issue(&key, subject(), DEFAULT_CERTIFICATE_LIFE, now()).unwrap();
        let identity = chain.identity(now()).unwrap();
        assert_eq!((identity.node_id, identity.role), (subject().node_id, Role::Worker));
        let certificate = parse(chain.leaf()).unwrap();
        assert!(!certificate.is_ca());
        assert!(certificate.subject_alternative_name().unwrap().is_none());
        assert!(!certificate.key_usage().unwrap().unwrap().value.key_cert_sign());
    }

    #[test]
    fn lives_that_are_too_short_or_outlive_the_root_are_refused() {
        for life in [Duration::ZERO, MINIMUM_CERTIFICATE_LIFE - Duration::from_secs(1), ROOT_LIFE + Duration::from_secs(1), Duration::MAX] {
            let refused = authority().issue(&requested(), subject(), life, now()).unwrap_err();
            assert!(matches!(refused, IdentityError::Life { .. }), "{life:?}: {refused}");
        }
        assert!(authority().issue(&requested(), subject(), MINIMUM_CERTIFICATE_LIFE, now()).is_ok());
    }

    #[test]
    fn an_authority_survives_its_parts_and_no_foreign_key_is_taken_for_it() {
        let authority = authority();
        let roots = RootBundle::from_pem(&authority.roots().unwrap().to_pem()).unwrap();
        let again = CertificateAuthority::from_parts(&roots, &authority.key_pkcs8()).unwrap();
        assert_eq!((again.cluster_id(), again.root_key_digest()), (authority.cluster_id(), authority.root_key_digest()));
        let foreign = NodeKey::generate().unwrap().to_pkcs8();
        assert!(matches!(CertificateAuthority::from_parts(&roots, &foreign), Err(IdentityError::ForeignRoot { roots: 1 })));
    }

    #[test]
    fn an_authority_signs_for_its_own_cluster_alone() {
        let other = Subject { cluster_id: ClusterId::from_bytes([8; 16]), ..subject() };
        assert!(matches!(authority().issue(&requested(), other, DEFAULT_CERTIFICATE_LIFE, now()), Err(IdentityError::Mismatch { .. })));
    }

    #[test]
    fn two_certificates_for_one_key_have_different_serials() {
        let (authority, key) = (authority(), requested());
        let serials: Vec<_> = (0..2)
            .map(|_| {
                parse(authority.issue(&key, subject(), DEFAULT_CERTIFICATE_LIFE, now()).unwrap().leaf()).unwrap().raw_serial().to_vec()
            })
            .collect();
        assert_ne!(serials[0], serials[1]);
    }
}
