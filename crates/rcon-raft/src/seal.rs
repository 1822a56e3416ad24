//! Sealing what lies on this manager's disk: XChaCha20-Poly1305 under a key that never leaves it.
//!
//! Plaintext and what it is (node, kind, position) flow in, `nonce ‖ ciphertext ‖ tag` flows out, and back. The 24-byte nonce is
//! random for each start of the process plus a counter, so that it never repeats under one key.

use std::{
    fmt,
    fs::OpenOptions,
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use chacha20poly1305::{AeadInOut as _, KeyInit as _, Tag, XChaCha20Poly1305, XNonce};
use rcon_types::NodeId;
use zeroize::Zeroizing;

use crate::{RaftError, disk::sync_directory};

/// Length of the key in bytes.
const KEY_LENGTH: usize = 32;
/// Length of the nonce in bytes (draft-irtf-cfrg-xchacha §2).
const NONCE_LENGTH: usize = 24;
/// Length of the tag in bytes (RFC 8439 §2.5).
const TAG_LENGTH: usize = 16;
/// What sealing adds to a text.
pub(crate) const OVERHEAD: usize = NONCE_LENGTH + TAG_LENGTH;

/// What a sealed text is, so that none can be put in another's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An entry of the log: term, leader, index.
    Entry { term: u64, leader: u64, index: u64 },
    /// A part of a snapshot: index of its last entry, number of the part, whether it is the last.
    Snapshot { index: u64, part: u64, last: bool },
}

/// Opens and seals with one manager's key.
#[derive(Clone)]
pub(crate) struct Sealer {
    inner: Arc<Inner>,
}

struct Inner {
    cipher: XChaCha20Poly1305,
    node_id: NodeId,
    nonce_prefix: [u8; 16],
    sealed: AtomicU64,
}

/// The text is not what was sealed, or not in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the seal is broken")]
pub(crate) struct Broken;

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("node_id", &self.inner.node_id).finish_non_exhaustive()
    }
}

impl Sealer {
    /// With the key in `path`, which is made where it is missing and `may_create`.
    pub(crate) fn open(path: &Path, node_id: NodeId, may_create: bool) -> Result<Self, RaftError> {
        let failed = |what| move |source| RaftError::Io { what, path: path.to_owned(), source };
        let mut key = Zeroizing::new([0_u8; KEY_LENGTH]);
        match OpenOptions::new().read(true).open(path) {
            Ok(mut file) => {
                let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_LENGTH + 1));
                file.read_to_end(&mut bytes).map_err(failed("read"))?;
                let length = bytes.len();
                let damaged =
                    || RaftError::Damaged { path: path.to_owned(), offset: 0, why: format!("a key has 32 bytes, this one {length}") };
                *key = <[u8; KEY_LENGTH]>::try_from(bytes.as_slice()).map_err(|_| damaged())?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && may_create => {
                random(key.as_mut()).map_err(failed("make a key for"))?;
                let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed("create"))?;
                file.write_all(key.as_ref()).and_then(|()| file.sync_all()).map_err(failed("write"))?;
                sync_directory(path)?;
            }
            Err(error) => return Err(failed("open")(error)),
        }
        let mut nonce_prefix = [0; 16];
        random(&mut nonce_prefix).map_err(failed("draw a nonce for"))?;
        let cipher = XChaCha20Poly1305::new((&*key).into());
        Ok(Self { inner: Arc::new(Inner { cipher, node_id, nonce_prefix, sealed: AtomicU64::new(0) }) })
    }

    /// `nonce ‖ ciphertext ‖ tag`.
    pub(crate) fn seal(&self, kind: Kind, text: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LENGTH];
        nonce[..16].copy_from_slice(&self.inner.nonce_prefix);
        nonce[16..].copy_from_slice(&self.inner.sealed.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        let mut sealed = Vec::with_capacity(text.len() + OVERHEAD);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(text);
        let aad = self.associated(kind);
        let tag = self.inner.cipher.encrypt_inout_detached(&XNonce::from(nonce), &aad, (&mut sealed[NONCE_LENGTH..]).into());
        // It only fails above 256 GiB, and records are at most a few MiB.
        sealed.extend_from_slice(tag.as_ref().map_or(&[0; TAG_LENGTH], |tag| tag.as_ref()));
        sealed
    }

    /// The text again.
    pub(crate) fn open_sealed(&self, kind: Kind, sealed: &[u8]) -> Result<Vec<u8>, Broken> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LENGTH>().ok_or(Broken)?;
        let (ciphertext, tag) = rest.split_last_chunk::<TAG_LENGTH>().ok_or(Broken)?;
        let mut text = ciphertext.to_vec();
        let aad = self.associated(kind);
        let opened = self.inner.cipher.decrypt_inout_detached(&XNonce::from(*nonce), &aad, text.as_mut_slice().into(), &Tag::from(*tag));
        opened.map(|()| text).map_err(|_| Broken)
    }

    /// Node, kind and position: 16 + 1 + 24 bytes.
    fn associated(&self, kind: Kind) -> [u8; 41] {
        let mut aad = [0; 41];
        aad[..16].copy_from_slice(&self.inner.node_id.to_bytes());
        let (tag, position) = match kind {
            Kind::Entry { term, leader, index } => (1, [term, leader, index]),
            Kind::Snapshot { index, part, last } => (2, [index, part, u64::from(last)]),
        };
        aad[16] = tag;
        for (slot, number) in aad[17..].chunks_exact_mut(8).zip(position) {
            slot.copy_from_slice(&number.to_be_bytes());
        }
        aad
    }
}

fn random(bytes: &mut [u8]) -> io::Result<()> {
    getrandom::fill(bytes).map_err(|e| io::Error::other(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_holds_text_place_and_owner() {
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("seal.key");
        let sealer = Sealer::open(&key, NodeId::from_bytes([1; 16]), true).unwrap();
        let kind = Kind::Entry { term: 1, leader: 2, index: 3 };
        let sealed = sealer.seal(kind, b"text");
        assert_eq!(sealer.open_sealed(kind, &sealed).unwrap(), b"text");
        assert_eq!(Sealer::open(&key, NodeId::from_bytes([1; 16]), false).unwrap().open_sealed(kind, &sealed).unwrap(), b"text");
        assert_eq!(sealer.open_sealed(Kind::Entry { term: 1, leader: 2, index: 4 }, &sealed), Err(Broken));
        assert_eq!(sealer.open_sealed(Kind::Snapshot { index: 1, part: 2, last: false }, &sealed), Err(Broken));
        assert_eq!(Sealer::open(&key, NodeId::from_bytes([2; 16]), false).unwrap().open_sealed(kind, &sealed), Err(Broken));
        assert_ne!(sealed, sealer.seal(kind, b"text"), "a nonce never repeats");
        for position in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[position] ^= 1;
            assert_eq!(sealer.open_sealed(kind, &flipped), Err(Broken));
        }
        assert_eq!(sealer.open_sealed(kind, &sealed[..OVERHEAD - 1]), Err(Broken));
    }
}
