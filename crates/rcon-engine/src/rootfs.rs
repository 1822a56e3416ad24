//! Looking into a container's root file system from outside, where every link may be a trap: the kernel resolves paths
//! as if that directory were `/` (openat2(2), RESOLVE_IN_ROOT).

use std::{
    fs::File,
    io::{self, Read},
    os::fd::OwnedFd,
    path::{Component, Path},
};

use rustix::{
    fs::{Mode, OFlags, ResolveFlags, mkdirat, open, openat2},
    io::Errno,
};

/// A container's root file system.
pub(crate) struct RootFs(OwnedFd);

impl RootFs {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
    }

    fn open_at(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        loop {
            let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
            match openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                // Something was renamed meanwhile; the container may do that.
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
    }

    /// The text of a small regular file; empty when there is none.
    pub(crate) fn read_text(&self, path: &str, limit: u64) -> io::Result<String> {
        // Without NONBLOCK a FIFO in its place would hold us.
        let file = match self.open_at(Path::new(path), OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(String::new()),
            other => File::from(other?),
        };
        if !file.metadata()?.is_file() {
            return Ok(String::new());
        }
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Makes a directory and those above it, as root's with mode 755, where they are missing.
    pub(crate) fn make_dirs(&self, path: &Path) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let mut made = std::path::PathBuf::from(".");
        let mut parent = self.open_at(&made, flags)?;
        for component in path.components() {
            let name = match component {
                Component::Normal(name) => name,
                Component::ParentDir => return Err(io::ErrorKind::InvalidInput.into()),
                _ => continue,
            };
            made.push(name);
            parent = match self.open_at(&made, flags) {
                Err(Errno::NOENT) => {
                    mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
                    self.open_at(&made, flags)?
                }
                other => other?,
            };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn links_of_the_container_stay_in_the_container() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        std::os::unix::fs::symlink("../../secret", root.join("etc/passwd")).unwrap();
        std::os::unix::fs::symlink(dir.path(), root.join("out")).unwrap();
        let fs_root = RootFs::open(&root).unwrap();
        assert_eq!(fs_root.read_text("etc/passwd", 100).unwrap(), "");
        assert!(fs_root.make_dirs(Path::new("/out/made")).is_err());
        assert!(!dir.path().join("made").exists());
        fs_root.make_dirs(Path::new("/srv/www/data")).unwrap();
        fs_root.make_dirs(Path::new("/srv/www/data")).unwrap();
        assert!(root.join("srv/www/data").is_dir());
        assert!(fs_root.make_dirs(Path::new("/../x")).is_err());
    }

    #[test]
    fn what_is_no_small_file_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        nix::unistd::mkfifo(&dir.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        fs::write(dir.path().join("large"), "12345").unwrap();
        let root = RootFs::open(dir.path()).unwrap();
        assert_eq!(root.read_text("fifo", 100).unwrap(), "");
        assert_eq!(root.read_text("missing", 100).unwrap(), "");
        assert!(root.read_text("large", 4).is_err());
        assert_eq!(root.read_text("large", 5).unwrap(), "12345");
    }
}
