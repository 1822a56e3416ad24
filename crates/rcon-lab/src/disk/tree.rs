//! The file system as its host sees it, and what an fsync makes of it: operations on numbered inodes, as FUSE asks for them.
//!
//! Everything here is in memory; only [`Tree::sync`] writes to the medium. Dropping a tree is the power-off.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::time::SystemTime;

use nix::errno::Errno;

use super::content::Content;
use super::medium::{self, Medium, ROOT, Record};

/// Bytes of a name, as everywhere.
const LONGEST_NAME: usize = 255;

/// A file system.
#[derive(Debug)]
pub(super) struct Tree {
    inodes: BTreeMap<u64, Inode>,
    next: u64,
    medium: Medium,
}

/// A file, directory or symbolic link.
#[derive(Debug)]
pub(super) struct Inode {
    /// Permissions, without the type.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub modified: SystemTime,
    pub body: Body,
    /// Names that it has.
    pub links: u32,
    /// How often the kernel was told its number and has not forgotten it.
    known: u64,
}

/// What an inode holds.
#[derive(Debug)]
pub(super) enum Body {
    File(Content),
    Symlink(String),
    Directory(Directory),
}

/// A directory's names.
#[derive(Debug, Default)]
pub(super) struct Directory {
    pub entries: BTreeMap<String, u64>,
    /// Directories that something was moved to or from since the last fsync: a move is on the medium as a whole or not at all.
    moved_with: BTreeSet<u64>,
}

/// Who makes an inode, and its permissions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Maker {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

impl Tree {
    /// What is on the medium.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let (medium, records) = Medium::open(directory)?;
        let mut links = BTreeMap::<u64, u32>::from([(ROOT, 1)]);
        for record in records.values() {
            if let medium::Kind::Directory { entries } = &record.kind {
                entries.values().for_each(|number| *links.entry(*number).or_default() += 1);
            }
        }
        let next = records.keys().next_back().map_or(ROOT, |last| *last) + 1;
        let mut inodes = BTreeMap::new();
        for (number, record) in records {
            let body = match record.kind {
                medium::Kind::File => Body::File(Content::synced(medium.bytes(number)?)),
                medium::Kind::Symlink { target } => Body::Symlink(target),
                medium::Kind::Directory { entries } => Body::Directory(Directory { entries, moved_with: BTreeSet::new() }),
            };
            let Record { mode, uid, gid, modified, .. } = record;
            let links = links.get(&number).copied().unwrap_or_default();
            inodes.insert(number, Inode { mode, uid, gid, modified, body, links, known: 0 });
        }
        Ok(Self { inodes, next, medium })
    }

    pub fn inode(&self, number: u64) -> Result<&Inode, Errno> {
        self.inodes.get(&number).ok_or(Errno::ENOENT)
    }

    pub fn inode_mut(&mut self, number: u64) -> Result<&mut Inode, Errno> {
        self.inodes.get_mut(&number).ok_or(Errno::ENOENT)
    }

    pub fn directory(&self, number: u64) -> Result<&Directory, Errno> {
        match &self.inode(number)?.body {
            Body::Directory(directory) => Ok(directory),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn directory_mut(&mut self, number: u64) -> Result<&mut Directory, Errno> {
        let inode = self.inode_mut(number)?;
        match &mut inode.body {
            Body::Directory(directory) => {
                inode.modified = SystemTime::now();
                Ok(directory)
            }
            _ => Err(Errno::ENOTDIR),
        }
    }

    pub fn content(&self, number: u64) -> Result<&Content, Errno> {
        match &self.inode(number)?.body {
            Body::File(content) => Ok(content),
            _ => Err(Errno::EISDIR),
        }
    }

    /// For changes: the time of the last one moves.
    pub fn content_mut(&mut self, number: u64) -> Result<&mut Content, Errno> {
        let inode = self.inode_mut(number)?;
        match &mut inode.body {
            Body::File(content) => {
                inode.modified = SystemTime::now();
                Ok(content)
            }
            _ => Err(Errno::EISDIR),
        }
    }

    pub fn lookup(&self, parent: u64, name: &str) -> Result<u64, Errno> {
        self.directory(parent)?.entries.get(name).copied().ok_or(Errno::ENOENT)
    }

    /// The kernel was told a number.
    pub fn remember(&mut self, number: u64) {
        if let Some(inode) = self.inodes.get_mut(&number) {
            inode.known += 1;
        }
    }

    /// The kernel forgets it that many times: an inode without a name goes when nobody knows its number any more.
    pub fn forget(&mut self, number: u64, times: u64) {
        if let Some(inode) = self.inodes.get_mut(&number) {
            inode.known = inode.known.saturating_sub(times);
            if inode.known == 0 && inode.links == 0 {
                self.inodes.remove(&number);
            }
        }
    }

    pub fn make(&mut self, parent: u64, name: &str, maker: Maker, body: Body) -> Result<u64, Errno> {
        self.check_free(parent, name)?;
        let number = self.next;
        self.next += 1;
        let Maker { mode, uid, gid } = maker;
        self.inodes.insert(number, Inode { mode, uid, gid, modified: SystemTime::now(), body, links: 1, known: 0 });
        self.directory_mut(parent)?.entries.insert(name.to_owned(), number);
        Ok(number)
    }

    pub fn link(&mut self, number: u64, parent: u64, name: &str) -> Result<(), Errno> {
        self.check_free(parent, name)?;
        let inode = self.inode_mut(number)?;
        if matches!(inode.body, Body::Directory(_)) {
            return Err(Errno::EPERM);
        }
        inode.links += 1;
        self.directory_mut(parent)?.entries.insert(name.to_owned(), number);
        Ok(())
    }

    fn check_free(&self, parent: u64, name: &str) -> Result<(), Errno> {
        if name.len() > LONGEST_NAME {
            return Err(Errno::ENAMETOOLONG);
        }
        match self.lookup(parent, name) {
            Err(Errno::ENOENT) if self.inodes.contains_key(&parent) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(Errno::EEXIST),
        }
    }

    /// Removes a name of a file or link, or an empty directory.
    pub fn remove(&mut self, parent: u64, name: &str, is_directory: bool) -> Result<(), Errno> {
        let number = self.lookup(parent, name)?;
        match (&self.inode(number)?.body, is_directory) {
            (Body::Directory(directory), true) if !directory.entries.is_empty() => return Err(Errno::ENOTEMPTY),
            (Body::Directory(_), false) => return Err(Errno::EISDIR),
            (Body::File(_) | Body::Symlink(_), true) => return Err(Errno::ENOTDIR),
            _ => {}
        }
        self.directory_mut(parent)?.entries.remove(name);
        self.inode_mut(number)?.links -= 1;
        self.forget(number, 0);
        Ok(())
    }

    /// Moves a name over another; with `replace` unset, only where there is none.
    pub fn rename(&mut self, (from, name): (u64, &str), (to, new_name): (u64, &str), replace: bool) -> Result<(), Errno> {
        let number = self.lookup(from, name)?;
        match self.lookup(to, new_name) {
            Ok(_) if !replace => return Err(Errno::EEXIST),
            Ok(same) if same == number => return Ok(()),
            Ok(_) => self.remove(to, new_name, matches!(self.inode(number)?.body, Body::Directory(_)))?,
            Err(_) => self.check_free(to, new_name)?,
        }
        self.directory_mut(from)?.entries.remove(name);
        self.directory_mut(to)?.entries.insert(new_name.to_owned(), number);
        if from != to {
            self.directory_mut(from)?.moved_with.insert(to);
            self.directory_mut(to)?.moved_with.insert(from);
        }
        Ok(())
    }

    /// Puts an inode on the medium: a file with its bytes, a directory with its names. What those name is there afterwards too, but
    /// empty where it was never synced itself.
    pub fn sync(&mut self, number: u64) -> io::Result<()> {
        let mut waiting = vec![number];
        let mut done = BTreeSet::new();
        while let Some(number) = waiting.pop() {
            if !done.insert(number) {
                continue;
            }
            if let Body::Directory(directory) = &mut self.inode_mut(number)?.body {
                waiting.extend(std::mem::take(&mut directory.moved_with));
            }
            self.sync_names(number)?;
            let inode = self.inodes.get_mut(&number).ok_or(Errno::ENOENT)?;
            if let Body::File(content) = &mut inode.body {
                let length = content.len();
                self.medium.write_bytes(number, &content.take_changed(), length)?;
            }
            self.medium.record(number, &inode.record())?;
        }
        Ok(())
    }

    /// Makes the medium know what a directory names.
    fn sync_names(&mut self, number: u64) -> io::Result<()> {
        let Ok(directory) = self.directory(number) else { return Ok(()) };
        let unknown: Vec<u64> = directory.entries.values().copied().filter(|child| !self.medium.has(*child)).collect();
        for child in unknown {
            let mut record = self.inode(child)?.record();
            if let medium::Kind::Directory { entries } = &mut record.kind {
                entries.clear();
            }
            self.medium.record(child, &record)?;
        }
        Ok(())
    }

    /// Free bytes and all bytes below the medium.
    pub fn space(&self) -> io::Result<(u64, u64)> {
        self.medium.space()
    }
}

impl Inode {
    fn record(&self) -> Record {
        let kind = match &self.body {
            Body::File(_) => medium::Kind::File,
            Body::Symlink(target) => medium::Kind::Symlink { target: target.clone() },
            Body::Directory(directory) => medium::Kind::Directory { entries: directory.entries.clone() },
        };
        Record { mode: self.mode, uid: self.uid, gid: self.gid, modified: self.modified, kind }
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
