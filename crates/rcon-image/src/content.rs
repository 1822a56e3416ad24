//! Blobs, named by their digest.
//!
//! A blob is written below `tmp/`, digested on the way, synced, and only then given its name: what has a name is whole.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{
    digest::{Digest, DigestWriter},
    disk::{clear_dir, make_private_dir, sync_dir},
    error::ImageError,
    limits::DOCUMENT_BYTES,
};

/// The blobs of this host: `<root>/sha256/<hex>`.
#[derive(Debug)]
pub struct ContentStore {
    blobs: PathBuf,
    temporary: PathBuf,
    next: AtomicU64,
}

impl ContentStore {
    /// Opens the store in `root`, and clears what interrupted writes left.
    ///
    /// # Errors
    /// When its directories cannot be made or cleared.
    pub fn open(root: &Path) -> Result<Self, ImageError> {
        let (blobs, temporary) = (root.join("sha256"), root.join("tmp"));
        for dir in [&blobs, &temporary] {
            make_private_dir(dir).map_err(ImageError::io("make", dir))?;
        }
        clear_dir(&temporary).map_err(ImageError::io("clear", &temporary))?;
        Ok(Self { blobs, temporary, next: AtomicU64::new(0) })
    }

    /// Begins a blob; nobody sees it before it is committed.
    ///
    /// # Errors
    /// When its file cannot be made.
    pub fn writer(&self) -> Result<BlobWriter<'_>, ImageError> {
        let path = self.temporary.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        let file = File::create_new(&path).map_err(ImageError::io("make", &path))?;
        Ok(BlobWriter { store: self, guard: RemoveOnDrop(path), inner: DigestWriter::new(file) })
    }

    /// Stores bytes that are in memory.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, ImageError> {
        let mut writer = self.writer()?;
        writer.write_all(bytes).map_err(ImageError::io("write", writer.path()))?;
        Ok(writer.commit(None)?.0)
    }

    /// Opens a blob.
    ///
    /// # Errors
    /// When it is not there.
    pub fn open_blob(&self, digest: &Digest) -> Result<File, ImageError> {
        let path = self.path(digest);
        File::open(&path).map_err(ImageError::io("open", path))
    }

    /// The bytes of a small blob, checked against its digest.
    ///
    /// # Errors
    /// When it is not there, too large for a document, or damaged.
    pub fn document(&self, digest: &Digest) -> Result<Vec<u8>, ImageError> {
        let mut bytes = Vec::new();
        let file = self.open_blob(digest)?;
        file.take(DOCUMENT_BYTES + 1).read_to_end(&mut bytes).map_err(ImageError::io("read", self.path(digest)))?;
        if bytes.len() as u64 > DOCUMENT_BYTES {
            return Err(ImageError::io("read", self.path(digest))(io::ErrorKind::FileTooLarge.into()));
        }
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(ImageError::Digest { expected: *digest, found });
        }
        Ok(bytes)
    }

    /// Whether a blob is there.
    #[must_use]
    pub fn contains(&self, digest: &Digest) -> bool {
        self.path(digest).is_file()
    }

    /// Removes a blob; one that is not there is no error.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, digest: &Digest) -> Result<(), ImageError> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ImageError::io("remove", path)(error)),
            _ => Ok(()),
        }
    }

    /// All blobs, in no order.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list(&self) -> Result<Vec<Digest>, ImageError> {
        let entries = fs::read_dir(&self.blobs).map_err(ImageError::io("read", &self.blobs))?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        Ok(names.filter_map(|name| Digest::from_hex(&name).ok()).collect())
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.hex())
    }
}

/// A blob being written. Dropped without a commit, nothing is left of it.
pub struct BlobWriter<'store> {
    store: &'store ContentStore,
    guard: RemoveOnDrop,
    inner: DigestWriter<File>,
}

impl BlobWriter<'_> {
    /// Gives the blob its name, durably: its digest, which must be `expected` if that is given. Returns it and the size.
    ///
    /// # Errors
    /// When the digest is another one, or the disk refuses.
    pub fn commit(self, expected: Option<Digest>) -> Result<(Digest, u64), ImageError> {
        let (file, digest, bytes) = self.inner.finish();
        if let Some(expected) = expected.filter(|expected| *expected != digest) {
            return Err(ImageError::Digest { expected, found: digest });
        }
        file.sync_all().map_err(ImageError::io("sync", &self.guard.0))?;
        let path = self.store.path(&digest);
        fs::rename(&self.guard.0, &path).map_err(ImageError::io("name", &path))?;
        sync_dir(&self.store.blobs).map_err(ImageError::io("sync", &self.store.blobs))?;
        Ok((digest, bytes))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.guard.0
    }
}

impl Write for BlobWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

struct RemoveOnDrop(PathBuf);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_content_has_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let store = ContentStore::open(dir.path()).unwrap();
        let digest = store.put(b"hello").unwrap();
        assert_eq!(digest, Digest::of(b"hello"));
        assert_eq!(store.document(&digest).unwrap(), b"hello");

        let mut dropped = store.writer().unwrap();
        dropped.write_all(b"half").unwrap();
        drop(dropped);
        let mut wrong = store.writer().unwrap();
        wrong.write_all(b"other").unwrap();
        assert!(matches!(wrong.commit(Some(digest)), Err(ImageError::Digest { .. })));
        assert_eq!(store.list().unwrap(), [digest]);
        assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn damaged_content_is_not_handed_out() {
        let dir = tempfile::tempdir().unwrap();
        let store = ContentStore::open(dir.path()).unwrap();
        let digest = store.put(b"hello").unwrap();
        fs::write(dir.path().join("sha256").join(digest.hex()), b"hellO").unwrap();
        assert!(matches!(store.document(&digest), Err(ImageError::Digest { .. })));
    }

    #[test]
    fn what_an_interrupted_write_left_is_cleared_at_the_next_opening() {
        let dir = tempfile::tempdir().unwrap();
        let store = ContentStore::open(dir.path()).unwrap();
        let mut half = store.writer().unwrap();
        half.write_all(b"half").unwrap();
        std::mem::forget(half);
        let store = ContentStore::open(dir.path()).unwrap();
        assert!(store.list().unwrap().is_empty());
        assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
    }
}
