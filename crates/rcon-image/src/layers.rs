//! Unpacked layers: `<root>/<chain id>/fs`, beside a note of what it is.
//!
//! A layer is filled below `tmp/`, synced, and then renamed: what has a chain id's name is whole.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use serde::{Deserialize, Serialize};

use crate::{
    digest::Digest,
    disk::{clear_dir, make_private_dir, sync_dir},
    error::ImageError,
    limits::UnpackLimits,
    unpack::{UnpackError, UnpackReport, Unpacker},
};

/// What is known of an unpacked layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerNote {
    pub(crate) diff_id: Digest,
    pub(crate) size_bytes: u64,
}

/// The unpacked layers of this host.
#[derive(Debug)]
pub(crate) struct LayerStore {
    root: PathBuf,
    temporary: PathBuf,
    unpacker: Unpacker,
    limits: UnpackLimits,
    next: AtomicU64,
}

/// A layer that was unpacked but has no name yet. Dropped, nothing is left of it.
pub(crate) struct Unpacked {
    dir: PathBuf,
    pub(crate) report: UnpackReport,
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl LayerStore {
    pub(crate) fn open(root: PathBuf, unpacker: Unpacker, limits: UnpackLimits) -> Result<Self, ImageError> {
        let temporary = root.join("tmp");
        make_private_dir(&temporary).map_err(ImageError::io("make", &temporary))?;
        clear_dir(&temporary).map_err(ImageError::io("clear", &temporary))?;
        Ok(Self { root, temporary, unpacker, limits, next: AtomicU64::new(0) })
    }

    /// The directory that overlayfs stacks.
    pub(crate) fn dir(&self, chain_id: &Digest) -> PathBuf {
        self.root.join(chain_id.hex()).join("fs")
    }

    /// What is known of a layer; none when it is not there whole.
    pub(crate) fn note(&self, chain_id: &Digest) -> Option<LayerNote> {
        let bytes = fs::read(self.root.join(chain_id.hex()).join("layer.json")).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Unpacks an archive; nobody sees it before [`LayerStore::commit`].
    pub(crate) fn unpack(&self, archive: File) -> Result<Unpacked, ImageError> {
        let dir = self.temporary.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        let root = dir.join("fs");
        make_private_dir(&dir).map_err(ImageError::io("make", &dir))?;
        // From here on, dropping it removes the directory.
        let empty = UnpackReport { diff_id: Digest::of(b""), size_bytes: 0, entries: 0, media_type: String::new() };
        let mut unpacked = Unpacked { dir, report: empty };
        make_root(&root).map_err(ImageError::io("make", &root))?;
        unpacked.report = self.unpacker.unpack(archive, &root, &self.limits)?;
        let note = LayerNote { diff_id: unpacked.report.diff_id, size_bytes: unpacked.report.size_bytes };
        let path = unpacked.dir.join("layer.json");
        let text = serde_json::to_vec(&note).map_err(|error| UnpackError::Process(error.to_string()))?;
        fs::write(&path, text).map_err(ImageError::io("write", &path))?;
        // One sync of the file system instead of one of each file.
        let opened = File::open(&root).map_err(ImageError::io("open", &root))?;
        rustix::fs::syncfs(&opened).map_err(|error| ImageError::io("sync", &root)(error.into()))?;
        Ok(unpacked)
    }

    /// Gives an unpacked layer its name, durably. One that is there already is kept.
    pub(crate) fn commit(&self, unpacked: Unpacked, chain_id: &Digest) -> Result<(), ImageError> {
        let target = self.root.join(chain_id.hex());
        match fs::rename(&unpacked.dir, &target) {
            Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => return Ok(()),
            other => other.map_err(ImageError::io("name", &target))?,
        }
        sync_dir(&self.root).map_err(ImageError::io("sync", &self.root))
    }

    /// Removes a layer; one that is not there is no error. It loses its name first, so that no half of it is ever seen.
    pub(crate) fn remove(&self, chain_id: &Digest) -> Result<(), ImageError> {
        let source = self.root.join(chain_id.hex());
        let doomed = self.temporary.join(format!("gone-{}", self.next.fetch_add(1, Ordering::Relaxed)));
        match fs::rename(&source, &doomed) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(ImageError::io("remove", &source))?,
        }
        fs::remove_dir_all(&doomed).map_err(ImageError::io("remove", doomed))
    }

    /// Chain ids of all layers, in no order.
    pub(crate) fn list(&self) -> Result<Vec<Digest>, ImageError> {
        let entries = fs::read_dir(&self.root).map_err(ImageError::io("read", &self.root))?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        Ok(names.filter_map(|name| Digest::from_hex(&name).ok()).collect())
    }
}

/// The root of a layer: what containers see as `/` when the archive says nothing of it.
fn make_root(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir(path)?;
    // Set apart from making it, for the umask.
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}
