//! A node's identity on disk: `<data-dir>/identity/`.
//!
//! | file | what | made |
//! |---|---|---|
//! | `node.key` | P-256 key, PKCS #8 | before the first request for a certificate |
//! | `wireguard.key` | X25519 key, base64 | when first asked for |
//! | `roots.crt` | root bundle | before the certificate |
//! | `node.crt` | certificate chain | last: a node is a member if and only if it is there |
//!
//! Each is replaced whole, in this order, so a crash leaves either the old membership or the new one: a key serves all
//! certificates of one membership, and a new bundle trusts the issuer of the certificate before it. Leaving renames the
//! directory away in one step, so that no key of an old membership is ever used for a new one.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use crate::{CertificateChain, IdentityError, NodeKey, RootBundle, WireGuardKey, atomic_file};

const NODE_KEY: &str = "node.key";
const WIREGUARD_KEY: &str = "wireguard.key";
const ROOTS: &str = "roots.crt";
const CERTIFICATE: &str = "node.crt";
/// Where a left membership goes before it is removed.
const LEFT: &str = "identity.left";
/// The directory's name inside the data directory.
const DIRECTORY: &str = "identity";

/// The identity directory of one data directory. One process at a time (the agent holds the data directory's lock).
#[derive(Debug)]
pub struct IdentityStore {
    data: PathBuf,
    directory: PathBuf,
}

/// What makes a host a member of a cluster.
#[derive(Debug)]
pub struct Membership {
    /// The node's key.
    pub key: NodeKey,
    /// Its certificate.
    pub certificate: CertificateChain,
    /// Whom it trusts.
    pub roots: RootBundle,
}

impl IdentityStore {
    /// Opens, and makes where it is missing, the identity directory of a data directory; removes what an interrupted leave left.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn open(data_directory: &Path) -> Result<Self, IdentityError> {
        let store = Self { data: data_directory.to_owned(), directory: data_directory.join(DIRECTORY) };
        store.remove_left()?;
        store.make_directory()?;
        Ok(store)
    }

    /// The membership, or nothing where this host is in no cluster.
    ///
    /// # Errors
    /// When a file is missing or damaged, or they do not belong together.
    pub fn load(&self) -> Result<Option<Membership>, IdentityError> {
        let Some(certificate) = self.read(CERTIFICATE, CertificateChain::from_pem)? else { return Ok(None) };
        let key = self.require(NODE_KEY, NodeKey::from_pem)?;
        let roots = self.require(ROOTS, RootBundle::from_pem)?;
        Ok(Some(Membership { key, certificate, roots }))
    }

    /// The node's key; made, and on disk, before it is returned for the first time. A join that is tried again uses it again.
    ///
    /// # Errors
    /// When it cannot be made, written or read.
    pub fn node_key(&self) -> Result<NodeKey, IdentityError> {
        if let Some(key) = self.read(NODE_KEY, NodeKey::from_pem)? {
            return Ok(key);
        }
        let key = NodeKey::generate()?;
        atomic_file::write(&self.directory, NODE_KEY, key.to_pem().as_bytes())?;
        Ok(key)
    }

    /// The node's WireGuard key; made, and on disk, before it is returned for the first time.
    ///
    /// # Errors
    /// When it cannot be made, written or read.
    pub fn wireguard_key(&self) -> Result<WireGuardKey, IdentityError> {
        if let Some(key) = self.read(WIREGUARD_KEY, WireGuardKey::from_base64)? {
            return Ok(key);
        }
        let key = WireGuardKey::generate()?;
        atomic_file::write(&self.directory, WIREGUARD_KEY, key.to_base64().as_bytes())?;
        Ok(key)
    }

    /// Writes a certificate, first or next, and whom to trust with it. Durable when it returns.
    ///
    /// # Errors
    /// When the certificate is not for the key on disk, or the file system refuses.
    pub fn install(&self, certificate: &CertificateChain, roots: &RootBundle) -> Result<(), IdentityError> {
        let key = self.require(NODE_KEY, NodeKey::from_pem)?;
        let digest = crate::certificate::certificate_key_digest(certificate.leaf())?;
        if digest != key.public_key_digest() {
            return Err(IdentityError::Mismatch { why: "it is for another key than this node's".to_owned() });
        }
        atomic_file::write(&self.directory, ROOTS, roots.to_pem().as_bytes())?;
        atomic_file::write(&self.directory, CERTIFICATE, certificate.to_pem().as_bytes())
    }

    /// Forgets the membership and every key of it. Durable when it returns.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn forget(&self) -> Result<(), IdentityError> {
        self.remove_left()?;
        let failed = |source| IdentityError::File { action: "remove", path: self.directory.clone(), source };
        fs::rename(&self.directory, self.data.join(LEFT)).map_err(failed)?;
        atomic_file::sync_directory(&self.data)?;
        self.make_directory()?;
        self.remove_left()
    }

    fn make_directory(&self) -> Result<(), IdentityError> {
        let failed = |source| IdentityError::File { action: "make", path: self.directory.clone(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory).map_err(failed)?;
        fs::set_permissions(&self.directory, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        atomic_file::sync_directory(&self.data)
    }

    fn remove_left(&self) -> Result<(), IdentityError> {
        let path = self.data.join(LEFT);
        match fs::remove_dir_all(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(IdentityError::File { action: "remove", path, source }),
            _ => Ok(()),
        }
    }

    fn read<T>(&self, name: &str, parse: impl FnOnce(&str) -> Result<T, IdentityError>) -> Result<Option<T>, IdentityError> {
        let Some(text) = atomic_file::read(&self.directory, name)? else { return Ok(None) };
        let text = zeroize::Zeroizing::new(text);
        parse(&text).map(Some).map_err(|source| IdentityError::Damaged { path: self.directory.join(name), source: Box::new(source) })
    }

    fn require<T>(&self, name: &str, parse: impl FnOnce(&str) -> Result<T, IdentityError>) -> Result<T, IdentityError> {
        self.read(name, parse)?.ok_or_else(|| IdentityError::File {
            action: "read",
            path: self.directory.join(name),
            source: io::ErrorKind::NotFound.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use rcon_types::{ClusterId, NodeId, Role};

    use super::*;
    use crate::{CertificateAuthority, DEFAULT_CERTIFICATE_LIFE, RequestedKey, Subject};

    fn certify(key: &NodeKey) -> (CertificateChain, RootBundle) {
        let cluster_id = ClusterId::from_bytes([1; 16]);
        let authority = CertificateAuthority::generate(cluster_id, SystemTime::now()).unwrap();
        let requested = RequestedKey::from_request(&key.certificate_request().unwrap()).unwrap();
        let subject = Subject { node_id: NodeId::from_bytes([2; 16]), role: Role::Worker, cluster_id };
        let chain = authority.issue(&requested, subject, DEFAULT_CERTIFICATE_LIFE, SystemTime::now()).unwrap();
        (chain, authority.roots().unwrap())
    }

    #[test]
    fn a_membership_is_there_again_after_a_restart_and_its_files_are_the_owners_alone() {
        let data = tempfile::tempdir().unwrap();
        let store = IdentityStore::open(data.path()).unwrap();
        assert!(store.load().unwrap().is_none());
        let key = store.node_key().unwrap();
        let wireguard = store.wireguard_key().unwrap().public_bytes();
        assert!(store.load().unwrap().is_none(), "a key alone makes no member");
        let (chain, roots) = certify(&key);
        store.install(&chain, &roots).unwrap();

        let store = IdentityStore::open(data.path()).unwrap();
        let membership = store.load().unwrap().unwrap();
        assert_eq!(membership.key.public_key_digest(), key.public_key_digest());
        assert_eq!((membership.certificate, membership.roots), (chain, roots));
        assert_eq!(store.wireguard_key().unwrap().public_bytes(), wireguard);
        for entry in fs::read_dir(data.path().join(DIRECTORY)).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        }
        assert_eq!(fs::metadata(data.path().join(DIRECTORY)).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_crash_between_any_two_steps_leaves_the_old_or_the_new_membership() {
        let data = tempfile::tempdir().unwrap();
        let directory = data.path().join(DIRECTORY);
        let store = IdentityStore::open(data.path()).unwrap();
        let key = store.node_key().unwrap();
        let (chain, roots) = certify(&key);
        // Join, cut after the roots; with the temporary files that a crash leaves.
        fs::write(directory.join(".node.key.new"), "half").unwrap();
        fs::write(directory.join(".node.crt.new"), "half").unwrap();
        atomic_file::write(&directory, ROOTS, roots.to_pem().as_bytes()).unwrap();
        let store = IdentityStore::open(data.path()).unwrap();
        assert!(store.load().unwrap().is_none());
        assert_eq!(store.node_key().unwrap().public_key_digest(), key.public_key_digest(), "the join is tried again with the same key");
        store.install(&chain, &roots).unwrap();
        assert_eq!(store.load().unwrap().unwrap().certificate, chain);
        // Leave, cut after the rename.
        fs::rename(&directory, data.path().join(LEFT)).unwrap();
        let store = IdentityStore::open(data.path()).unwrap();
        assert!(store.load().unwrap().is_none());
        assert!(!data.path().join(LEFT).exists());
        assert_ne!(store.node_key().unwrap().public_key_digest(), key.public_key_digest());
    }

    #[test]
    fn leaving_forgets_every_key() {
        let data = tempfile::tempdir().unwrap();
        let store = IdentityStore::open(data.path()).unwrap();
        let (key, wireguard) = (store.node_key().unwrap(), store.wireguard_key().unwrap());
        let (chain, roots) = certify(&key);
        store.install(&chain, &roots).unwrap();
        store.forget().unwrap();
        store.forget().unwrap();
        assert!(store.load().unwrap().is_none());
        assert_ne!(store.node_key().unwrap().public_key_digest(), key.public_key_digest());
        assert_ne!(store.wireguard_key().unwrap().public_bytes(), wireguard.public_bytes());
    }

    #[test]
    fn damage_is_named_and_nothing_is_made_in_its_place() {
        let data = tempfile::tempdir().unwrap();
        let store = IdentityStore::open(data.path()).unwrap();
        let key = store.node_key().unwrap();
        let (chain, roots) = certify(&key);
        store.install(&chain, &roots).unwrap();
        for name in [NODE_KEY, ROOTS, CERTIFICATE] {
            let path = data.path().join(DIRECTORY).join(name);
            let whole = fs::read(&path).unwrap();
            fs::write(&path, &whole[..whole.len() / 2]).unwrap();
            let error = store.load().unwrap_err();
            assert!(matches!(error, IdentityError::Damaged { .. }) && error.to_string().contains(name), "{error}");
            fs::write(&path, whole).unwrap();
        }
        fs::remove_file(data.path().join(DIRECTORY).join(NODE_KEY)).unwrap();
        assert!(store.load().is_err());
        let foreign = certify(&NodeKey::generate().unwrap());
        store.node_key().unwrap();
        assert!(matches!(store.install(&foreign.0, &foreign.1), Err(IdentityError::Mismatch { .. })));
    }
}
