//! The root file system of a container: its image's layers with a layer of its own on top.

use std::{
    fs, io,
    os::{
        fd::AsRawFd,
        unix::{ffi::OsStrExt, fs::MetadataExt, fs::PermissionsExt},
    },
    path::{Path, PathBuf},
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::fs::{Mode, OFlags, open};

use crate::error::EngineError;

/// Most bytes of options that mount(2) takes: one page with its end.
const OPTION_BYTES: usize = 4095;

/// Directories of one container's root file system.
pub(crate) struct Overlay<'dirs> {
    /// Bottom first.
    pub(crate) layers: &'dirs [PathBuf],
    pub(crate) upper: &'dirs Path,
    pub(crate) work: &'dirs Path,
    pub(crate) merged: &'dirs Path,
}

impl Overlay<'_> {
    /// Mounts it; whatever was mounted there goes first.
    pub(crate) fn mount(&self) -> Result<(), EngineError> {
        unmount(self.merged)?;
        let top = self.layers.last().ok_or_else(|| EngineError::io("mount", self.merged)(io::ErrorKind::NotFound.into()))?;
        copy_root_attributes(top, self.upper).map_err(EngineError::io("prepare", self.upper))?;
        // The kernel wants the top first.
        let lowers: Vec<&Path> = self.layers.iter().rev().map(PathBuf::as_path).collect();
        let by_path = options(&lowers, self.upper, self.work);
        let plain = lowers.iter().chain([&self.upper, &self.work]).all(|path| is_plain(path));
        let mounted = if plain && by_path.len() <= OPTION_BYTES { self.mount_with(&by_path) } else { self.mount_by_descriptor(&lowers) };
        mounted.map_err(EngineError::io("mount the root file system on", self.merged))
    }

    fn mount_with(&self, options: &[u8]) -> io::Result<()> {
        Ok(mount(Some("overlay"), self.merged, Some("overlay"), MsFlags::empty(), Some(options))?)
    }

    /// Many layers do not fit into a page by their paths, and some characters cannot be in one: open descriptors name
    /// them as well, in few bytes, and need no change of the working directory, which all threads share.
    fn mount_by_descriptor(&self, lowers: &[&Path]) -> io::Result<()> {
        let opened = |path: &Path| open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let name = |fd: &std::os::fd::OwnedFd| PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        let lowers = lowers.iter().map(|path| opened(path)).collect::<Result<Vec<_>, _>>()?;
        let (upper, work) = (opened(self.upper)?, opened(self.work)?);
        let names: Vec<PathBuf> = lowers.iter().map(name).collect();
        let names: Vec<&Path> = names.iter().map(PathBuf::as_path).collect();
        self.mount_with(&options(&names, &name(&upper), &name(&work)))
    }
}

/// Characters that mean something in the options of overlayfs.
fn is_plain(path: &Path) -> bool {
    !path.as_os_str().as_bytes().iter().any(|byte| matches!(byte, b',' | b':' | b'\\'))
}

fn options(lowers: &[&Path], upper: &Path, work: &Path) -> Vec<u8> {
    let lowers: Vec<&[u8]> = lowers.iter().map(|path| path.as_os_str().as_bytes()).collect();
    let [upper, work] = [upper, work].map(|path| path.as_os_str().as_bytes());
    [b"lowerdir=", &lowers.join(&b':')[..], b",upperdir=", upper, b",workdir=", work].concat()
}

/// The root of the merged tree has the attributes of the upper directory; they should be the image's.
fn copy_root_attributes(from: &Path, to: &Path) -> io::Result<()> {
    let metadata = fs::metadata(from)?;
    std::os::unix::fs::chown(to, Some(metadata.uid()), Some(metadata.gid()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(metadata.mode() & 0o7777))
}

/// Takes all mounts off a directory; one with none, or that is not there, is no error.
pub(crate) fn unmount(dir: &Path) -> Result<(), EngineError> {
    loop {
        match umount2(dir, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(nix::Error::EINVAL | nix::Error::ENOENT) => return Ok(()),
            Err(error) => return Err(EngineError::io("unmount", dir)(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mounts in a mount namespace of its own, in a thread that ends: nothing is left behind.
    fn in_own_namespace(work: impl FnOnce(&Path) + Send + 'static) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        let outcome = std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?;
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
            work(&path);
            Ok::<_, nix::Error>(())
        });
        if let Err(error) = outcome.join().unwrap() {
            eprintln!("SKIPPED: mounting needs a mount namespace ({error})");
        }
    }

    fn stack(root: &Path, count: usize) -> Vec<PathBuf> {
        let layer = |number: usize| {
            let dir = root.join(format!("layer-with-a-name-as-long-as-that-of-a-chain-id-{number:064}"));
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join(format!("file{number}")), "lower").unwrap();
            fs::write(dir.join("common"), number.to_string()).unwrap();
            dir
        };
        (0..count).map(layer).collect()
    }

    fn check(root: &Path, count: usize) {
        let layers = stack(root, count);
        let [upper, work, merged] = ["upper", "work", "merged"].map(|name| root.join(name));
        for dir in [&upper, &work, &merged] {
            fs::create_dir_all(dir).unwrap();
        }
        fs::set_permissions(layers.last().unwrap(), fs::Permissions::from_mode(0o711)).unwrap();
        let overlay = Overlay { layers: &layers, upper: &upper, work: &work, merged: &merged };
        overlay.mount().unwrap();
        overlay.mount().unwrap();
        assert_eq!(fs::read_to_string(merged.join("common")).unwrap(), (count - 1).to_string(), "the top layer wins");
        assert_eq!(fs::read_to_string(merged.join("file0")).unwrap(), "lower");
        assert_eq!(fs::metadata(&merged).unwrap().mode() & 0o7777, 0o711);
        fs::write(merged.join("own"), "upper").unwrap();
        unmount(&merged).unwrap();
        unmount(&merged).unwrap();
        assert_eq!(fs::read_dir(&merged).unwrap().count(), 0);
        assert_eq!(fs::read_to_string(upper.join("own")).unwrap(), "upper");
    }

    #[test]
    fn layers_are_stacked_and_writes_go_to_the_upper_one() {
        in_own_namespace(|root| check(root, 2));
    }

    #[test]
    fn as_many_layers_as_images_may_have_fit() {
        in_own_namespace(|root| check(root, 127));
    }

    #[test]
    fn characters_that_overlayfs_takes_for_its_own_do_no_harm() {
        in_own_namespace(|root| {
            let odd = root.join("a,upperdir=b:c\\d");
            fs::create_dir(&odd).unwrap();
            check(&odd, 3);
        });
    }
}
