//! Join tokens: `RCTKN-1-<digest of the root's public key>-<secret>`.
//!
//! The digest lets the joiner refuse a stranger before it says the secret; the secret lets the cluster refuse a stranger.

use std::{fmt, str::FromStr};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::{IdentityError, base36, key::KeyDigest};

/// What a token begins with: the kind and the version of its format.
const PREFIX: &str = "RCTKN-1-";
/// 256 bits in base 36.
const DIGEST_WIDTH: usize = 50;
/// 128 bits in base 36.
const SECRET_WIDTH: usize = 25;

/// The secret half of a join token: 128 random bits.
#[derive(Clone)]
pub struct JoinSecret([u8; 16]);

/// A join token as an operator carries it from a manager to a new host.
#[derive(Clone, Debug)]
pub struct JoinToken {
    root_key_digest: KeyDigest,
    secret: JoinSecret,
}

impl JoinSecret {
    /// A new secret from the operating system's randomness.
    ///
    /// # Errors
    /// When there is none.
    pub fn generate() -> Result<Self, IdentityError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|source| IdentityError::Random { what: "join token", source })?;
        Ok(Self(bytes))
    }

    /// The secret of these 16 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The secret in a protobuf field; `None` unless it has 16 bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The secret itself, for the one request that needs it.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// SHA-256 of the secret: what the state keeps of it. 128 random bits need no slower hash.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }

    /// Whether this is the secret of that hash, in constant time.
    #[must_use]
    pub fn matches(&self, hash: &[u8]) -> bool {
        self.hash().as_slice().ct_eq(hash).into()
    }
}

impl Drop for JoinSecret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for JoinSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("redacted")
    }
}

impl JoinToken {
    /// The token for a cluster whose root has that key.
    #[must_use]
    pub const fn new(root_key_digest: KeyDigest, secret: JoinSecret) -> Self {
        Self { root_key_digest, secret }
    }

    /// Which key the root of the cluster has.
    #[must_use]
    pub const fn root_key_digest(&self) -> KeyDigest {
        self.root_key_digest
    }

    /// The secret half.
    #[must_use]
    pub const fn secret(&self) -> &JoinSecret {
        &self.secret
    }

    /// The whole token, secret included. There is no `Display`, so that it is never printed by accident.
    #[must_use]
    pub fn reveal(&self) -> String {
        let digest = base36::encode(&self.root_key_digest, DIGEST_WIDTH);
        let secret = base36::encode(&self.secret.0, SECRET_WIDTH);
        format!("{PREFIX}{digest}-{secret}")
    }
}

impl FromStr for JoinToken {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        // The text is never repeated in an error: it may be a secret with a slip of the pen in it.
        let refuse = |why: String| IdentityError::Token { why };
        let text = text.trim();
        if text.starts_with("SWMTKN-") {
            return Err(refuse("it is one of Docker Swarm; rcon's begin with RCTKN-1-".to_owned()));
        }
        let Some(rest) = text.strip_prefix(PREFIX) else {
            return Err(refuse(match text.starts_with("RCTKN-") {
                true => "its version is not 1; this rcond may be older than the cluster".to_owned(),
                false => format!("it does not begin with {PREFIX}"),
            }));
        };
        let Some((digest, secret)) = rest.split_once('-') else {
            return Err(refuse("its second part is missing".to_owned()));
        };
        if digest.len() != DIGEST_WIDTH {
            return Err(refuse(format!("its first part has {} characters, not {DIGEST_WIDTH}", digest.len())));
        }
        if secret.len() != SECRET_WIDTH {
            return Err(refuse(format!("its second part has {} characters, not {SECRET_WIDTH}", secret.len())));
        }
        let root_key_digest = base36::decode(digest)
            .ok_or_else(|| refuse("its first part has characters other than 0-9 and a-z, or is too large".to_owned()))?;
        let secret = base36::decode(secret)
            .ok_or_else(|| refuse("its second part has characters other than 0-9 and a-z, or is too large".to_owned()))?;
        Ok(Self { root_key_digest, secret: JoinSecret(secret) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        JoinToken::new(std::array::from_fn(|i| 3 * i as u8), JoinSecret::from_bytes(std::array::from_fn(|i| 200 + i as u8)))
    }

    #[test]
    fn a_token_survives_its_text() {
        let text = token().reveal();
        assert_eq!(text.len(), 8 + 50 + 1 + 25);
        let again: JoinToken = format!(" {text}\n").parse().unwrap();
        assert_eq!(again.root_key_digest(), token().root_key_digest());
        assert_eq!(again.secret().as_bytes(), token().secret().as_bytes());
    }

    #[test]
    fn a_wrong_text_is_refused_with_the_reason_and_never_repeated() {
        let good = token().reveal();
        let cases = [
            ("", "does not begin"),
            ("SWMTKN-1-abc-def", "Docker Swarm"),
            (&good.replace("RCTKN-1", "RCTKN-2"), "version"),
            (&good[..20], "second part is missing"),
            (&good[..good.len() - 1], "24 characters, not 25"),
            (&good.to_uppercase(), "other than"),
            (&format!("RCTKN-1-{}-{}", "z".repeat(50), "0".repeat(25)), "too large"),
        ];
        for (text, expected) in cases {
            let error = text.parse::<JoinToken>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
    }

    #[test]
    fn a_secret_shows_itself_only_when_asked() {
        assert!(!format!("{:?}", token()).contains("200"));
        assert!(format!("{:?}", token()).contains("redacted"));
        let secret = JoinSecret::generate().unwrap();
        assert!(secret.matches(&secret.hash()));
        assert!(!secret.matches(&token().secret().hash()));
        assert!(!secret.matches(&[]));
    }
}
