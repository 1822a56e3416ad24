//! What the authority takes from a certificate request: the public key, and the proof that the sender has its other half.

use std::fmt;

use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData};
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer};

use crate::{
    IdentityError,
    key::{KeyDigest, key_digest},
};

/// The largest request that is looked at, in bytes; ours have about 200.
const MAX_REQUEST_BYTES: usize = 4096;

/// A P-256 public key whose owner has proved to have the private one. Nothing else of the request is kept, so nothing else
/// of it (names, alternative names, CA flags) can find its way into a certificate.
#[derive(Clone)]
pub struct RequestedKey {
    key: rcgen::SubjectPublicKeyInfo,
}

impl RequestedKey {
    /// The key of a PKCS #10 request (DER) with a valid signature of its own.
    ///
    /// # Errors
    /// When the request is malformed, too large, not on P-256, or not signed by the key in it.
    pub fn from_request(der: &[u8]) -> Result<Self, IdentityError> {
        let refuse = |why: &str| IdentityError::Request { why: why.to_owned() };
        if der.len() > MAX_REQUEST_BYTES {
            return Err(refuse("it is too large"));
        }
        let (rest, request) = X509CertificationRequest::from_der(der).map_err(|_| refuse("it is not PKCS #10"))?;
        if !rest.is_empty() {
            return Err(refuse("bytes follow it"));
        }
        let raw = request.certification_request_info.subject_pki.raw;
        let key = rcgen::SubjectPublicKeyInfo::from_der(raw).map_err(|_| refuse("its key is of a kind that is not known"))?;
        if key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(refuse("its key is not on P-256"));
        }
        request.verify_signature().map_err(|_| refuse("it is not signed by the key in it"))?;
        Ok(Self { key })
    }

    /// Which key this is.
    #[must_use]
    pub fn digest(&self) -> KeyDigest {
        key_digest(&self.key.subject_public_key_info())
    }

    pub(crate) const fn key(&self) -> &rcgen::SubjectPublicKeyInfo {
        &self.key
    }
}

impl fmt::Debug for RequestedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestedKey").field("digest", &format_args!("{:02x?}", &self.digest()[..4])).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NodeKey;

    #[test]
    fn a_request_gives_the_key_of_its_sender() {
        let key = NodeKey::generate().unwrap();
        let requested = RequestedKey::from_request(&key.certificate_request().unwrap()).unwrap();
        assert_eq!(requested.digest(), key.public_key_digest());
    }

    #[test]
    fn no_flipped_bit_gives_another_key() {
        let key = NodeKey::generate().unwrap();
        let request = key.certificate_request().unwrap();
        let mut accepted = 0;
        for at in 0..request.len() * 8 {
            let mut forged = request.clone();
            forged[at / 8] ^= 1 << (at % 8);
            // A few bits of the framing are not signed and not looked at; they change nothing.
            if let Ok(found) = RequestedKey::from_request(&forged) {
                assert_eq!(found.digest(), key.public_key_digest(), "bit {at}");
                accepted += 1;
            }
        }
        assert!(accepted < 24, "{accepted} flipped bits went unseen");
    }

    #[test]
    fn other_curves_garbage_and_trailing_bytes_are_refused() {
        let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let request = rcgen::CertificateParams::default().serialize_request(&other).unwrap();
        assert!(RequestedKey::from_request(request.der()).is_err());
        assert!(RequestedKey::from_request(b"").is_err());
        assert!(RequestedKey::from_request(&vec![0x30; 100_000]).is_err());
        let mut longer = NodeKey::generate().unwrap().certificate_request().unwrap();
        longer.push(0);
        assert!(RequestedKey::from_request(&longer).is_err());
    }
}
