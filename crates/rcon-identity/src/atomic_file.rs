//! A file that is there whole or not at all, whatever happens while it is written.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use crate::IdentityError;

/// The most bytes of a file that are read: many times the largest bundle.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// Replaces `directory/name` by `contents`, readable by its owner alone: a temporary file, fsync, rename, fsync of the directory.
pub(crate) fn write(directory: &Path, name: &str, contents: &[u8]) -> Result<(), IdentityError> {
    let path = directory.join(name);
    let temporary = directory.join(format!(".{name}.new"));
    let failed = |source| IdentityError::File { action: "write", path: path.clone(), source };
    remove_if_there(&temporary).map_err(failed)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).map_err(failed)?;
    file.write_all(contents).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    fs::rename(&temporary, &path).map_err(failed)?;
    sync_directory(directory)
}

/// The contents of `directory/name`, or nothing where there is no such file.
pub(crate) fn read(directory: &Path, name: &str) -> Result<Option<String>, IdentityError> {
    let path = directory.join(name);
    let failed = |source| IdentityError::File { action: "read", path: path.clone(), source };
    match fs::metadata(&path) {
        Ok(metadata) if metadata.len() > MAX_FILE_BYTES => {
            Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, "the file is too large")))
        }
        Ok(_) => fs::read_to_string(&path).map(Some).map_err(failed),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed(e)),
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(directory: &Path) -> Result<(), IdentityError> {
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(|source| IdentityError::File {
        action: "sync",
        path: directory.to_owned(),
        source,
    })
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
