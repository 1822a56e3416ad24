//! The tree for the kernel: requests of FUSE in, answers out. Thin; what a request means is in [`Tree`].

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Config, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner, MountOption, OpenFlags,
    RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request,
    Session, SessionACL, TimeOrNow, WriteFlags,
};
use nix::errno::Errno;
use nix::libc::{FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE};

use super::content::Content;
use super::tree::{Body, Directory, Inode, Maker, Tree};
use crate::error::LabError;

/// How long the kernel may trust what it was told: nobody else changes anything.
const FRESH: Duration = Duration::from_secs(3600);
/// The size of a block in statistics.
const BLOCK: u64 = 4096;

/// Mounts the disk and serves it until the host's end.
pub(crate) fn serve(medium: &Path, point: &Path) -> Result<ExitCode, LabError> {
    let tree = Tree::open(medium).map_err(|error| LabError::file("read the disk in", medium, error))?;
    let mut config = Config::default();
    config.mount_options = vec![MountOption::FSName("rcon-lab-disk".into()), MountOption::DefaultPermissions];
    config.acl = SessionACL::All;
    let disk = Server { state: Mutex::new(State { tree, listings: BTreeMap::new(), next_listing: 0 }) };
    let session = Session::new(disk, point, &config).map_err(|error| LabError::file("mount", point, error))?;
    session.run().map_err(|error| LabError::file("serve", point, error))?;
    Ok(ExitCode::SUCCESS)
}

struct Server {
    state: Mutex<State>,
}

struct State {
    tree: Tree,
    /// What open directories listed when they were opened: what is removed meanwhile shifts nothing.
    listings: BTreeMap<u64, Vec<(u64, FileType, String)>>,
    next_listing: u64,
}

impl Server {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes an inode and says what the kernel is to know of it.
    fn make(&self, request: &Request, (parent, name): (INodeNo, &OsStr), mode: u32, body: Body) -> Result<FileAttr, Errno> {
        let maker = Maker { mode: mode & 0o7777, uid: request.uid(), gid: request.gid() };
        let tree = &mut self.state().tree;
        let number = tree.make(parent.0, text(name)?, maker, body)?;
        tree.remember(number);
        Ok(attributes(number, tree.inode(number)?))
    }
}

impl Filesystem for Server {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let tree = &mut self.state().tree;
        let found = text(name).and_then(|name| tree.lookup(parent.0, name)).and_then(|number| {
            tree.remember(number);
            Ok(attributes(number, tree.inode(number)?))
        });
        answer_entry(found, reply);
    }

    fn forget(&self, _: &Request, number: INodeNo, times: u64) {
        self.state().tree.forget(number.0, times);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.state().tree.inode(number.0) {
            Ok(inode) => reply.attr(&FRESH, &attributes(number.0, inode)),
            Err(error) => reply.error(wire(error)),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _accessed: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _changed: Option<SystemTime>,
        _: Option<FileHandle>,
        _created: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let tree = &mut self.state().tree;
        let resized = size.map_or(Ok(()), |size| tree.content_mut(number.0)?.resize(size));
        let set = resized.and_then(|()| {
            let inode = tree.inode_mut(number.0)?;
            inode.mode = mode.map_or(inode.mode, |mode| mode & 0o7777);
            (inode.uid, inode.gid) = (uid.unwrap_or(inode.uid), gid.unwrap_or(inode.gid));
            match modified {
                Some(TimeOrNow::Now) => inode.modified = SystemTime::now(),
                Some(TimeOrNow::SpecificTime(time)) => inode.modified = time,
                None => {}
            }
            Ok(attributes(number.0, inode))
        });
        match set {
            Ok(attributes) => reply.attr(&FRESH, &attributes),
            Err(error) => reply.error(wire(error)),
        }
    }

    fn readlink(&self, _: &Request, number: INodeNo, reply: ReplyData) {
        match self.state().tree.inode(number.0).map(|inode| &inode.body) {
            Ok(Body::Symlink(target)) => reply.data(target.as_bytes()),
            Ok(_) => reply.error(wire(Errno::EINVAL)),
            Err(error) => reply.error(wire(error)),
        }
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, reply: ReplyEntry) {
        answer_entry(self.make(request, (parent, name), mode, Body::Directory(Directory::default())), reply);
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let target = text(target.as_os_str()).map(|target| Body::Symlink(target.to_owned()));
        answer_entry(target.and_then(|body| self.make(request, (parent, name), 0o777, body)), reply);
    }

    fn link(&self, _: &Request, number: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let tree = &mut self.state().tree;
        let linked = text(name).and_then(|name| tree.link(number.0, parent.0, name)).and_then(|()| {
            tree.remember(number.0);
            Ok(attributes(number.0, tree.inode(number.0)?))
        });
        answer_entry(linked, reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(text(name).and_then(|name| self.state().tree.remove(parent.0, name, false)), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(text(name).and_then(|name| self.state().tree.remove(parent.0, name, true)), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let renamed = || {
            if !RenameFlags::RENAME_NOREPLACE.contains(flags) {
                return Err(Errno::EINVAL);
            }
            self.state().tree.rename((parent.0, text(name)?), (new_parent.0, text(new_name)?), flags.is_empty())
        };
        answer(renamed(), reply);
    }

    fn create(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, _: i32, reply: ReplyCreate) {
        match self.make(request, (parent, name), mode, Body::File(Content::default())) {
            Ok(attributes) => reply.created(&FRESH, &attributes, Generation(0), FileHandle(0), FopenFlags::empty()),
            Err(error) => reply.error(wire(error)),
        }
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.state().tree.content(number.0) {
            Ok(content) => reply.data(content.read(offset, size)),
            Err(error) => reply.error(wire(error)),
        }
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.state().tree.content_mut(number.0).and_then(|content| content.write(offset, data)) {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(wire(error)),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer(self.state().tree.sync(number.0).map_err(code), reply);
    }

    fn fsyncdir(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer(self.state().tree.sync(number.0).map_err(code), reply);
    }

    fn opendir(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let state = &mut *self.state();
        let listing = state.tree.directory(number.0).map(|directory| {
            let own = [(number.0, FileType::Directory, ".".to_owned()), (number.0, FileType::Directory, "..".to_owned())];
            let listed =
                directory.entries.iter().filter_map(|(name, child)| Some((*child, kind(state.tree.inode(*child).ok()?), name.clone())));
            own.into_iter().chain(listed).collect()
        });
        match listing {
            Ok(listing) => {
                state.next_listing += 1;
                state.listings.insert(state.next_listing, listing);
                reply.opened(FileHandle(state.next_listing), FopenFlags::empty());
            }
            Err(error) => reply.error(wire(error)),
        }
    }

    fn readdir(&self, _: &Request, _: INodeNo, listing: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let state = self.state();
        let Some(listing) = state.listings.get(&listing.0) else { return reply.error(wire(Errno::EBADF)) };
        for (position, (number, kind, name)) in listing.iter().enumerate().skip(usize::try_from(offset).unwrap_or(usize::MAX)) {
            if reply.add(INodeNo(*number), position as u64 + 1, *kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, listing: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.state().listings.remove(&listing.0);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match self.state().tree.space() {
            Ok((free, all)) => reply.statfs(all / BLOCK, free / BLOCK, free / BLOCK, u64::MAX, u64::MAX, BLOCK as u32, 255, BLOCK as u32),
            Err(error) => reply.error(wire(code(error))),
        }
    }

    fn fallocate(&self, _: &Request, number: INodeNo, _: FileHandle, offset: u64, length: u64, mode: i32, reply: ReplyEmpty) {
        let known = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
        let allocated = || {
            if mode & !known != 0 {
                return Err(Errno::EOPNOTSUPP);
            }
            let tree = &mut self.state().tree;
            let content = tree.content_mut(number.0)?;
            if mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) != 0 {
                content.zero(offset, length)?;
            }
            if mode & FALLOC_FL_KEEP_SIZE == 0 && content.len() < offset.saturating_add(length) {
                content.resize(offset.saturating_add(length))?;
            }
            Ok(())
        };
        answer(allocated(), reply);
    }
}

fn answer(outcome: Result<(), Errno>, reply: ReplyEmpty) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(wire(error)),
    }
}

fn answer_entry(outcome: Result<FileAttr, Errno>, reply: ReplyEntry) {
    match outcome {
        Ok(attributes) => reply.entry(&FRESH, &attributes, Generation(0)),
        Err(error) => reply.error(wire(error)),
    }
}

fn attributes(number: u64, inode: &Inode) -> FileAttr {
    let size = match &inode.body {
        Body::File(content) => content.len(),
        Body::Symlink(target) => target.len() as u64,
        Body::Directory(_) => BLOCK,
    };
    FileAttr {
        ino: INodeNo(number),
        size,
        blocks: size.div_ceil(512),
        atime: inode.modified,
        mtime: inode.modified,
        ctime: inode.modified,
        crtime: inode.modified,
        kind: kind(inode),
        perm: inode.mode as u16,
        nlink: inode.links,
        uid: inode.uid,
        gid: inode.gid,
        rdev: 0,
        blksize: BLOCK as u32,
        flags: 0,
    }
}

fn kind(inode: &Inode) -> FileType {
    match inode.body {
        Body::File(_) => FileType::RegularFile,
        Body::Symlink(_) => FileType::Symlink,
        Body::Directory(_) => FileType::Directory,
    }
}

/// Names and targets are kept as text.
fn text(name: &OsStr) -> Result<&str, Errno> {
    name.to_str().ok_or(Errno::EINVAL)
}

fn code(error: io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

fn wire(error: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(error as i32)
}
