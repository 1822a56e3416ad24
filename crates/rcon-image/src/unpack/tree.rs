//! The directory that is being filled: every operation stays below it, whatever links are in it.
//!
//! A path's parent is opened with openat2(2) RESOLVE_IN_ROOT, which the kernel resolves as if the directory were `/`;
//! what is then done goes by that descriptor and one name, never following a link at the end.

use std::{
    collections::HashMap,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, mkdirat, openat, openat2, statat, unlinkat},
    io::Errno,
};

use crate::{limits::DEPTH, unpack::path::split};

type Result<T> = std::result::Result<T, Errno>;

/// The root of what is unpacked.
pub(super) struct Tree {
    root: OwnedFd,
    /// The parent that was last asked for: archives list a directory's files together.
    recent: Option<(Vec<u8>, OwnedFd)>,
    /// Depth of directories by inode: links could otherwise stack deep trees on each other.
    depths: HashMap<u64, u32>,
}

/// Opens a directory without following a link in its place.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Tree {
    pub(super) fn new(root: OwnedFd) -> Result<Self> {
        let inode = rustix::fs::fstat(&root)?.st_ino;
        Ok(Self { root, recent: None, depths: HashMap::from([(inode, 0)]) })
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The directory at a clean path; directories that are missing on the way are made, as root's with mode 755.
    pub(super) fn directory(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>> {
        if path.is_empty() {
            return Ok(self.root.as_fd());
        }
        if self.recent.as_ref().is_none_or(|(recent, _)| recent != path) {
            let opened = self.open_or_make(path)?;
            self.recent = Some((path.to_vec(), opened));
        }
        Ok(self.recent.as_ref().map_or_else(|| self.root.as_fd(), |(_, fd)| fd.as_fd()))
    }

    /// The directory at a clean path, if all of it is there.
    pub(super) fn existing(&self, path: &[u8]) -> Result<OwnedFd> {
        let path = if path.is_empty() { &b"."[..] } else { path };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        loop {
            match openat2(&self.root, path, flags, Mode::empty(), resolve) {
                // Something was renamed meanwhile (openat2(2)); nothing here renames, so it passes.
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
    }

    /// Makes a directory, or leaves the one that is there; opened for reading.
    pub(super) fn make_directory(&mut self, parent: &[u8], name: &[u8]) -> Result<OwnedFd> {
        let parent_fd = rustix::io::dup(self.directory(parent)?)?;
        match self.stat(&parent_fd, name)? {
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {}
            Some(_) => {
                self.recent = None;
                unlinkat(&parent_fd, name, AtFlags::empty())?;
                self.make_at(&parent_fd, name)?;
            }
            None => self.make_at(&parent_fd, name)?,
        }
        openat(&parent_fd, name, DIRECTORY, Mode::empty())
    }

    /// Takes away what has a name, with all below it. What is not there is no error.
    pub(super) fn clear(&mut self, parent: &[u8], name: &[u8]) -> Result<()> {
        let parent_fd = rustix::io::dup(self.directory(parent)?)?;
        match self.stat(&parent_fd, name)? {
            None => Ok(()),
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                // It, or something below it, may be the one.
                self.recent = None;
                remove_directory(parent_fd.as_fd(), name)
            }
            Some(_) => {
                // A link on the way to the recent parent may be what goes.
                self.recent = None;
                unlinkat(&parent_fd, name, AtFlags::empty())
            }
        }
    }

    fn stat(&self, parent: &OwnedFd, name: &[u8]) -> Result<Option<Stat>> {
        match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn open_or_make(&mut self, path: &[u8]) -> Result<OwnedFd> {
        match self.existing(path) {
            Err(Errno::NOENT) => {}
            other => return other,
        }
        let Some(parts) = split(path) else { return rustix::io::dup(&self.root) };
        // At most DEPTH levels: paths are clean.
        let parent = self.open_or_make(parts.parent)?;
        self.make_at(&parent, parts.name)?;
        openat(&parent, parts.name, DIRECTORY, Mode::empty())
    }

    fn make_at(&mut self, parent: &OwnedFd, name: &[u8]) -> Result<()> {
        let depth = self.depths.get(&rustix::fs::fstat(parent)?.st_ino).copied().unwrap_or(DEPTH) + 1;
        if depth > DEPTH {
            return Err(Errno::NAMETOOLONG);
        }
        mkdirat(parent, name, Mode::from_raw_mode(0o755))?;
        let made = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        self.depths.insert(made.st_ino, depth);
        Ok(())
    }
}

/// Removes a directory and all below it; not deeper than [`DEPTH`], by construction.
fn remove_directory(parent: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    let directory = openat(parent, name, DIRECTORY, Mode::empty())?;
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let child = entry.file_name().to_bytes();
        if matches!(child, b"." | b"..") {
            continue;
        }
        match unlinkat(&directory, child, AtFlags::empty()) {
            Err(Errno::ISDIR) => remove_directory(directory.as_fd(), child)?,
            other => other?,
        }
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR)
}
