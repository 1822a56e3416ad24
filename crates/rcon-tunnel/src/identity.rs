//! This node's WireGuard key pair, as the identity keeps it in a file.

use std::{fs::File, io, io::Read, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use boringtun::x25519::{PublicKey, StaticSecret};
use rcon_packet::control;

use crate::{TunnelError, limits::MAX_KEY_FILE};

/// The key pair. Its private half is in no log and in no file of ours.
pub(crate) struct Identity {
    pub(crate) secret: StaticSecret,
    pub(crate) public: PublicKey,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("public", &self.public_key()).finish_non_exhaustive()
    }
}

impl Identity {
    /// Reads the private key from a file: 32 raw bytes, 64 hexadecimal digits, or base64.
    pub(crate) fn read(path: &Path) -> Result<Self, TunnelError> {
        let failed = |source| TunnelError::PrivateKey { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        File::open(path).map_err(failed)?.take(MAX_KEY_FILE).read_to_end(&mut bytes).map_err(failed)?;
        let key = parse(&bytes).ok_or_else(|| {
            let what = "neither 32 bytes, nor 64 hexadecimal digits, nor base64 of 32 bytes";
            failed(io::Error::new(io::ErrorKind::InvalidData, what))
        })?;
        let secret = StaticSecret::from(key);
        Ok(Self { public: PublicKey::from(&secret), secret })
    }

    /// The public half.
    pub(crate) fn public_key(&self) -> control::PublicKey {
        control::PublicKey(self.public.to_bytes())
    }
}

fn parse(bytes: &[u8]) -> Option<[u8; 32]> {
    if let Ok(raw) = bytes.try_into() {
        return Some(raw);
    }
    let text = std::str::from_utf8(bytes).ok()?.trim();
    let decoded = if text.len() == 64 { hex::decode(text).ok()? } else { STANDARD.decode(text).ok()? };
    decoded.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_in_each_of_its_forms_and_never_printed() {
        let key = [7; 32];
        assert_eq!(parse(&key), Some(key));
        assert_eq!(parse(format!("{}\n", hex::encode(key)).as_bytes()), Some(key));
        assert_eq!(parse(format!("{}\n", STANDARD.encode(key)).as_bytes()), Some(key));
        for bad in ["", "x", &"z".repeat(64), &"0".repeat(62)] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        std::fs::write(&path, key).unwrap();
        let printed = format!("{:?}", Identity::read(&path).unwrap());
        assert!(!printed.contains(&hex::encode(key)) && printed.contains("public"));
        assert!(Identity::read(&directory.path().join("none")).is_err());
    }
}
