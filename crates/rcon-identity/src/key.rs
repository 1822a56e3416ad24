//! Private keys of a node: the P-256 key behind its certificate, and the X25519 key of its WireGuard tunnels.

use std::fmt;

use base64::Engine as _;
use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::IdentityError;

/// The tag of a PKCS #8 key in PEM (RFC 7468 §10).
const PRIVATE_KEY_TAG: &str = "PRIVATE KEY";

/// SHA-256 of a key's SubjectPublicKeyInfo (RFC 5280 §4.1.2.7): names a public key in tokens and in the state.
pub type KeyDigest = [u8; 32];

/// The digest of a SubjectPublicKeyInfo in DER.
#[must_use]
pub fn key_digest(subject_public_key_info: &[u8]) -> KeyDigest {
    Sha256::digest(subject_public_key_info).into()
}

/// A node's key pair on P-256; made on the node, never leaving it.
pub struct NodeKey {
    pair: rcgen::KeyPair,
}

impl NodeKey {
    /// A new key from the operating system's randomness.
    ///
    /// # Errors
    /// When there is none.
    pub fn generate() -> Result<Self, IdentityError> {
        let pair = rcgen::KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|source| IdentityError::Key {
            action: "make",
            what: "node key",
            source: source.into(),
        })?;
        Ok(Self { pair })
    }

    /// The key in a PKCS #8 document (DER).
    ///
    /// # Errors
    /// When it is none, or not on P-256.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, IdentityError> {
        let der = PrivatePkcs8KeyDer::from(der);
        let pair = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256).map_err(|source| IdentityError::Key {
            action: "read",
            what: "node key",
            source: source.into(),
        })?;
        Ok(Self { pair })
    }

    /// The key in a PEM file.
    ///
    /// # Errors
    /// When there is no PKCS #8 key on P-256 in it.
    pub fn from_pem(text: &str) -> Result<Self, IdentityError> {
        let document = pem::parse(text).map_err(|source| IdentityError::Key { action: "read", what: "node key", source: source.into() })?;
        let contents = Zeroizing::new(document.into_contents());
        Self::from_pkcs8(&contents)
    }

    /// The key as a PEM file.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(pem::encode(&pem::Pem::new(PRIVATE_KEY_TAG, self.pair.serialized_der())))
    }

    /// The key as a PKCS #8 document.
    #[must_use]
    pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.pair.serialize_der())
    }

    /// Which key this is.
    #[must_use]
    pub fn public_key_digest(&self) -> KeyDigest {
        key_digest(&self.pair.subject_public_key_info())
    }

    /// 16 bytes that name a first request for a certificate with this key, so that the same request sent twice makes one node.
    /// As random as the key itself, and needs no file of its own.
    #[must_use]
    pub fn request_id(&self) -> [u8; 16] {
        let digest = Sha256::new().chain_update(b"rcon join request").chain_update(self.public_key_digest()).finalize();
        std::array::from_fn(|i| digest[i])
    }

    /// A PKCS #10 request (DER), signed by the key: proves possession of it and says nothing else.
    ///
    /// # Errors
    /// When signing fails.
    pub fn certificate_request(&self) -> Result<Vec<u8>, IdentityError> {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let request = params
            .serialize_request(&self.pair)
            .map_err(|source| IdentityError::Issue { subject: "this node's request".to_owned(), source: source.into() })?;
        Ok(request.der().to_vec())
    }

    pub(crate) const fn pair(&self) -> &rcgen::KeyPair {
        &self.pair
    }

    pub(crate) fn to_rustls(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pair.serialize_der()))
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKey(redacted)")
    }
}

/// A node's X25519 key pair for WireGuard; made on the node, never leaving it.
pub struct WireGuardKey {
    secret: x25519_dalek::StaticSecret,
}

impl WireGuardKey {
    /// A new key from the operating system's randomness.
    ///
    /// # Errors
    /// When there is none.
    pub fn generate() -> Result<Self, IdentityError> {
        let mut bytes = Zeroizing::new([0u8; 32]);
        getrandom::fill(bytes.as_mut_slice()).map_err(|source| IdentityError::Random { what: "WireGuard key", source })?;
        Ok(Self::from_bytes(*bytes))
    }

    /// The key of these 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self { secret: bytes.into() }
    }

    /// The key as `wg genkey` prints one: 44 characters of base64.
    ///
    /// # Errors
    /// When the text is not 32 bytes in base64.
    pub fn from_base64(text: &str) -> Result<Self, IdentityError> {
        let refuse = |source| IdentityError::Key { action: "read", what: "WireGuard key", source };
        let bytes = base64::engine::general_purpose::STANDARD.decode(text.trim()).map_err(|e| refuse(e.into()))?;
        let bytes = Zeroizing::new(bytes);
        let bytes: [u8; 32] = bytes.as_slice().try_into().map_err(|_| refuse("it has not 32 bytes".into()))?;
        Ok(Self::from_bytes(bytes))
    }

    /// The private key as `wg` reads one.
    #[must_use]
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(self.secret.as_bytes()))
    }

    /// The private half, for the tunnel alone.
    #[must_use]
    pub fn private_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.secret.to_bytes())
    }

    /// The public half, which the cluster knows.
    #[must_use]
    pub fn public_bytes(&self) -> [u8; 32] {
        x25519_dalek::PublicKey::from(&self.secret).to_bytes()
    }
}

impl fmt::Debug for WireGuardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WireGuardKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_their_files_and_never_show_themselves() {
        let key = NodeKey::generate().unwrap();
        let again = NodeKey::from_pem(&key.to_pem()).unwrap();
        assert_eq!(key.public_key_digest(), again.public_key_digest());
        assert_eq!(key.request_id(), again.request_id());
        assert_eq!(format!("{key:?}"), "NodeKey(redacted)");

        let key = WireGuardKey::generate().unwrap();
        assert_eq!(WireGuardKey::from_base64(&key.to_base64()).unwrap().public_bytes(), key.public_bytes());
        assert_eq!(format!("{key:?}"), "WireGuardKey(redacted)");
    }

    #[test]
    fn the_public_half_is_the_one_that_wg_pubkey_prints() {
        let key = WireGuardKey::from_base64("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=").unwrap();
        let public = base64::engine::general_purpose::STANDARD.encode(key.public_bytes());
        assert_eq!(public, "E75P6uryBMf9M1j8nAByGIHRdCeBKCJ+xnTzf3/pe20=");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert!(NodeKey::from_pem("").is_err());
        assert!(NodeKey::from_pkcs8(&[0; 40]).is_err());
        assert!(WireGuardKey::from_base64("AAAA").is_err());
        assert!(WireGuardKey::from_base64("not base64!").is_err());
    }
}
