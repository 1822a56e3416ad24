//! What the disk has left, and the ballast that is given up when it has nothing.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use nix::fcntl::{FallocateFlags, fallocate};

use crate::{DiskLimits, RaftError};

/// How old an observation of the free space may be.
const OBSERVED_FOR: Duration = Duration::from_millis(250);

/// The file system of the Raft directory.
#[derive(Debug)]
pub(crate) struct Disk {
    directory: PathBuf,
    limits: DiskLimits,
    free: AtomicU64,
    observed: Mutex<Option<Instant>>,
}

impl Disk {
    /// Lays the ballast where there is room for it.
    pub(crate) fn open(directory: &Path, limits: DiskLimits) -> Self {
        let disk = Self { directory: directory.to_owned(), limits, free: AtomicU64::new(u64::MAX), observed: Mutex::new(None) };
        disk.restore_ballast();
        disk
    }

    /// How much is left, in bytes, if that is too little to take more proposals.
    pub(crate) fn refuses(&self) -> Option<u64> {
        self.observe();
        let free = self.free.load(Ordering::Relaxed);
        (free < self.limits.refuse_below_bytes).then_some(free)
    }

    /// Gives the ballast up, so that the log can be closed and opened again.
    pub(crate) fn drop_ballast(&self) {
        let path = self.ballast();
        match fs::remove_file(&path) {
            Ok(()) => tracing::warn!(path = %path.display(), "the disk is full; the ballast was given up"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::error!(path = %path.display(), %error, "the disk is full and the ballast cannot be given up"),
        }
    }

    /// Lays the ballast again when there is room for it and for what proposals need.
    pub(crate) fn restore_ballast(&self) {
        let path = self.ballast();
        let size = self.limits.ballast_bytes;
        let laid = fs::metadata(&path).is_ok_and(|meta| meta.len() == size);
        if laid || size == 0 || free_bytes(&self.directory).is_none_or(|free| free < size + self.limits.refuse_below_bytes) {
            return;
        }
        let result =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).and_then(|file| allocate(&file, size));
        if let Err(error) = result {
            tracing::warn!(path = %path.display(), %error, "the ballast could not be laid");
            drop(fs::remove_file(&path));
        }
    }

    fn ballast(&self) -> PathBuf {
        self.directory.join("ballast")
    }

    fn observe(&self) {
        let Ok(mut observed) = self.observed.try_lock() else { return };
        if observed.is_some_and(|at| at.elapsed() < OBSERVED_FOR) {
            return;
        }
        *observed = Some(Instant::now());
        if let Some(free) = free_bytes(&self.directory) {
            self.free.store(free, Ordering::Relaxed);
        }
    }

    /// Forgets the last observation, so that the next question looks again.
    pub(crate) fn look_again(&self) {
        *self.observed.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn allocate(file: &File, size: u64) -> io::Result<()> {
    let length = libc::off_t::try_from(size).map_err(io::Error::other)?;
    fallocate(file, FallocateFlags::empty(), 0, length).map_err(io::Error::from)?;
    file.sync_all()
}

fn free_bytes(directory: &Path) -> Option<u64> {
    let stat = nix::sys::statvfs::statvfs(directory).ok()?;
    Some(stat.blocks_available().saturating_mul(stat.fragment_size()))
}

/// Makes the entry of `path` in its directory durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), RaftError> {
    let parent = path.parent().unwrap_or(path);
    File::open(parent).and_then(|directory| directory.sync_all()).map_err(|source| RaftError::Io {
        what: "sync",
        path: parent.to_owned(),
        source,
    })
}

/// Replaces a file as a whole: temporary file, fsync, rename, fsync of the directory.
pub(crate) fn replace_file(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), RaftError> {
    let temporary = path.with_extension("new");
    let failed = |what| {
        let path = temporary.clone();
        move |source| RaftError::Io { what, path, source }
    };
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary).map_err(failed("create"))?;
    write(&mut file).map_err(failed("write"))?;
    file.sync_all().map_err(failed("sync"))?;
    fs::rename(&temporary, path).map_err(failed("rename"))?;
    sync_directory(path)
}
