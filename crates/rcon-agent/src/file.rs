//! Files that are replaced whole: a reader sees the old one or the new one, never a half.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Whether a replaced file must survive the loss of power, or only that of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Written to the disk before the call returns.
    Synced,
    /// In the page cache; a crash of the machine may bring the old file back.
    Cached,
}

/// Replaces `path` with `bytes`, readable by its owner alone.
pub fn replace(path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let directory = path.parent().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a file needs a directory"))?;
    fs::create_dir_all(directory)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = directory.join(name);
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    if durability == Durability::Synced {
        file.sync_all()?;
    }
    fs::rename(&temporary, path)?;
    if durability == Durability::Synced {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

/// Makes a directory of which the one above must have the name on the disk: what is synced inside is lost with it otherwise. Also where
/// it exists: the start that made it may have been interrupted.
pub fn make_directory(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    path.parent().map_or(Ok(()), |above| File::open(above)?.sync_all())
}

/// Removes a file; that it is not there is no error.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
