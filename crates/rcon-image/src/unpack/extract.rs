//! Writing an archive's entries into a directory.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{
        AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chownat, fchmod, fchown, fsetxattr,
        futimens, linkat, makedev, mknodat, openat, symlinkat, utimensat,
    },
    io::Errno,
};

use crate::{
    limits::{COPY_BYTES, PATH_BYTES, UnpackLimits, XATTR_BYTES},
    unpack::{
        UnpackReport,
        archive::Archive,
        entry::{Entry, Kind, Marker, is_allowed_attribute, marker},
        error::UnpackError,
        path::{Split, clean, split},
        source::Source,
        tree::Tree,
    },
};

/// Most bytes of directories' names that are remembered, to set their times when all is written.
const REMEMBERED_BYTES: usize = 64 * 1024 * 1024;

/// Unpacks an archive into an empty directory.
///
/// Owners, modes (set-user-id included), times, device nodes and allowed extended attributes are kept, whiteouts become
/// those of overlayfs. The caller has set the umask to 0.
///
/// # Errors
/// When the archive is bad or too large, or the kernel refuses; the directory then holds a part of it.
pub(super) fn extract(root: OwnedFd, input: impl Read, limits: &UnpackLimits) -> Result<UnpackReport, UnpackError> {
    let source = Source::new(input, *limits)?;
    let media_type = source.compression().media_type().to_owned();
    let mut archive = Archive::new(source, limits);
    let tree = Tree::new(root).map_err(|error| UnpackError::write("open", b"/", error.into()))?;
    let mut extractor = Extractor { tree, directories: Vec::new(), remembered_bytes: 0, size_bytes: 0, buffer: vec![0; COPY_BYTES] };
    while let Some(entry) = archive.next_entry()? {
        extractor.write(&entry, &mut archive)?;
    }
    extractor.set_directory_times()?;
    let (entries, size_bytes) = (archive.entries(), extractor.size_bytes);
    Ok(UnpackReport { diff_id: archive.into_source().finish()?, size_bytes, entries, media_type })
}

struct Extractor {
    tree: Tree,
    /// Clean paths of directories with their times, which writing below them would change.
    directories: Vec<(Vec<u8>, Timespec)>,
    remembered_bytes: usize,
    size_bytes: u64,
    buffer: Vec<u8>,
}

impl Extractor {
    fn write(&mut self, entry: &Entry, archive: &mut Archive<'_>) -> Result<(), UnpackError> {
        let path = clean(&entry.path).map_err(|reason| UnpackError::refused(&entry.path, reason))?;
        let Some(place) = split(&path) else { return self.write_root(entry) };
        let failed = |action| move |error: Errno| UnpackError::write(action, &entry.path, error.into());
        match marker(place.name).map_err(|reason| UnpackError::refused(&entry.path, reason))? {
            Some(Marker::Ignored) => return Ok(()),
            Some(Marker::Opaque) => return self.set_opaque(place.parent).map_err(failed("mark as opaque")),
            Some(Marker::Whiteout(hidden)) => return self.whiteout(place.parent, hidden).map_err(failed("hide")),
            None => {}
        }
        match entry.kind {
            Kind::Directory => {
                let directory = self.tree.make_directory(place.parent, place.name).map_err(failed("make directory"))?;
                set_metadata(directory.as_fd(), entry)?;
                self.remember(&path, entry)
            }
            Kind::File => self.write_file(place, entry, archive),
            Kind::HardLink => self.link(place, entry),
            Kind::Symlink => self.symlink(place, entry),
            Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => self.node(place, entry).map_err(failed("make node")),
        }
    }

    fn write_root(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        if entry.kind != Kind::Directory {
            return Err(UnpackError::refused(&entry.path, "the root can only be a directory"));
        }
        set_metadata(self.tree.root(), entry)?;
        self.remember(b"", entry)
    }

    fn write_file(&mut self, place: Split<'_>, entry: &Entry, archive: &mut Archive<'_>) -> Result<(), UnpackError> {
        let failed = |error: Errno| UnpackError::write("make file", &entry.path, error.into());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let made = match openat(self.tree.directory(place.parent).map_err(failed)?, place.name, flags, mode) {
            Err(Errno::EXIST) => {
                self.tree.clear(place.parent, place.name).map_err(failed)?;
                openat(self.tree.directory(place.parent).map_err(failed)?, place.name, flags, mode)
            }
            other => other,
        };
        let mut file = File::from(made.map_err(failed)?);
        loop {
            let read = archive.read(&mut self.buffer)?;
            if read == 0 {
                break;
            }
            file.write_all(&self.buffer[..read]).map_err(|error| UnpackError::write("write", &entry.path, error))?;
            self.size_bytes += read as u64;
        }
        set_metadata(file.as_fd(), entry)?;
        let times = Timestamps { last_access: OMIT, last_modification: entry.modified };
        futimens(&file, &times).map_err(|error| UnpackError::write("set the time of", &entry.path, error.into()))
    }

    /// A hard link to what the archive has brought before, found as the kernel would find it in the container.
    fn link(&mut self, place: Split<'_>, entry: &Entry) -> Result<(), UnpackError> {
        let failed = |error: Errno| UnpackError::write("link", &entry.path, error.into());
        let target = clean(&entry.link).map_err(|reason| UnpackError::refused(&entry.path, format!("the target of the link: {reason}")))?;
        let Some(from) = split(&target) else { return Err(UnpackError::refused(&entry.path, "it is a hard link to the root")) };
        let from_parent = self.tree.existing(from.parent).map_err(failed)?;
        if target == [place.parent, place.name].join(&b'/') {
            return Err(UnpackError::refused(&entry.path, "it is a hard link to itself"));
        }
        self.tree.clear(place.parent, place.name).map_err(failed)?;
        let parent = self.tree.directory(place.parent).map_err(failed)?;
        linkat(&from_parent, from.name, parent, place.name, AtFlags::empty()).map_err(failed)
    }

    fn symlink(&mut self, place: Split<'_>, entry: &Entry) -> Result<(), UnpackError> {
        if entry.link.is_empty() || entry.link.len() >= PATH_BYTES || entry.link.contains(&0) {
            return Err(UnpackError::refused(&entry.path, "the target of the link cannot be one"));
        }
        let failed = |error: Errno| UnpackError::write("link", &entry.path, error.into());
        self.tree.clear(place.parent, place.name).map_err(failed)?;
        let parent = self.tree.directory(place.parent).map_err(failed)?;
        symlinkat(&entry.link[..], parent, place.name).map_err(failed)?;
        set_owner_and_time(parent, place.name, entry).map_err(failed)
    }

    fn node(&mut self, place: Split<'_>, entry: &Entry) -> Result<(), Errno> {
        let (file_type, device) = match entry.kind {
            Kind::CharDevice => (FileType::CharacterDevice, makedev(entry.device.0, entry.device.1)),
            Kind::BlockDevice => (FileType::BlockDevice, makedev(entry.device.0, entry.device.1)),
            _ => (FileType::Fifo, 0),
        };
        self.tree.clear(place.parent, place.name)?;
        let parent = self.tree.directory(place.parent)?;
        mknodat(parent, place.name, file_type, Mode::from_raw_mode(entry.mode), device)?;
        set_owner_and_time(parent, place.name, entry)
    }

    /// overlayfs hides a name by a character device 0:0 (Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories").
    fn whiteout(&mut self, parent: &[u8], hidden: &[u8]) -> Result<(), Errno> {
        self.tree.clear(parent, hidden)?;
        mknodat(self.tree.directory(parent)?, hidden, FileType::CharacterDevice, Mode::empty(), makedev(0, 0))
    }

    /// The same page: a directory with this attribute hides its namesakes below.
    fn set_opaque(&mut self, directory: &[u8]) -> Result<(), Errno> {
        let found = self.tree.directory(directory)?;
        let readable = openat(found, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        fsetxattr(&readable, "trusted.overlay.opaque", b"y", XattrFlags::empty())
    }

    fn remember(&mut self, path: &[u8], entry: &Entry) -> Result<(), UnpackError> {
        self.remembered_bytes += path.len();
        if self.remembered_bytes > REMEMBERED_BYTES {
            return Err(UnpackError::Limit { what: "bytes of directories' names".into(), limit: REMEMBERED_BYTES as u64 });
        }
        self.directories.push((path.to_vec(), entry.modified));
        Ok(())
    }

    /// The last entry of a directory wins; one that was replaced since is left alone.
    fn set_directory_times(&self) -> Result<(), UnpackError> {
        for (path, modified) in &self.directories {
            let times = Timestamps { last_access: OMIT, last_modification: *modified };
            let failed = |error: Errno| UnpackError::write("set the time of", path, error.into());
            let Some(place) = split(path) else {
                futimens(self.tree.root(), &times).map_err(failed)?;
                continue;
            };
            let parent = match self.tree.existing(place.parent) {
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                other => other.map_err(failed)?,
            };
            match utimensat(&parent, place.name, &times, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => {}
                other => other.map_err(failed)?,
            }
        }
        Ok(())
    }
}

const OMIT: Timespec = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT as _ };

/// Owner, mode and attributes of an open file or directory. In this order: a change of owner takes set-user-id and
/// capabilities away (chown(2)).
fn set_metadata(file: BorrowedFd<'_>, entry: &Entry) -> Result<(), UnpackError> {
    let failed = |action| move |error: Errno| UnpackError::write(action, &entry.path, error.into());
    fchown(file, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid))).map_err(failed("set the owner of"))?;
    fchmod(file, Mode::from_raw_mode(entry.mode)).map_err(failed("set the mode of"))?;
    for (name, value) in entry.attributes.iter().filter(|(name, _)| is_allowed_attribute(name)) {
        if value.len() > XATTR_BYTES || name.contains(&0) {
            return Err(UnpackError::refused(&entry.path, "an extended attribute cannot be one"));
        }
        match fsetxattr(file, &name[..], value, XattrFlags::empty()) {
            // The file system has no attributes of users'.
            Err(Errno::NOTSUP) if name.starts_with(b"user.") => {}
            other => other.map_err(failed("set an attribute of"))?,
        }
    }
    Ok(())
}

/// The same for what cannot be opened: it was just made, and a link in its place is not followed.
fn set_owner_and_time(parent: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<(), Errno> {
    chownat(parent, name, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)), AtFlags::SYMLINK_NOFOLLOW)?;
    let times = Timestamps { last_access: OMIT, last_modification: entry.modified };
    utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)
}
