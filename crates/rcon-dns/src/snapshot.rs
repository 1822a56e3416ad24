//! Reading the snapshot's file.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::Path,
};

use rcon_netplan::dns::DnsSnapshot;

use crate::{DnsError, limits};

/// Which version of the file was read. It is replaced by renaming, so the inode changes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

/// The version of the file that is there now; none where there is no file.
pub(crate) fn stamp(path: &Path) -> Option<Stamp> {
    fs::metadata(path).ok().map(|metadata| of(&metadata))
}

fn of(metadata: &fs::Metadata) -> Stamp {
    Stamp { inode: metadata.ino(), length: metadata.len(), modified: (metadata.mtime(), metadata.mtime_nsec()) }
}

/// The snapshot, and which version of the file it is of. No file is a snapshot without containers.
pub(crate) fn load(path: &Path) -> Result<(DnsSnapshot, Option<Stamp>), DnsError> {
    let failed = |source| DnsError::Snapshot { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((DnsSnapshot::default(), None)),
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    if metadata.len() > limits::MAX_SNAPSHOT {
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, "it is too large")));
    }
    let mut text = Vec::new();
    file.take(limits::MAX_SNAPSHOT).read_to_end(&mut text).map_err(failed)?;
    let snapshot = serde_json::from_slice(&text).map_err(|error| failed(error.into()))?;
    Ok((snapshot, Some(of(&metadata))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_is_an_empty_snapshot_and_a_damaged_one_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("snapshot.json");
        assert_eq!(load(&path).unwrap(), (DnsSnapshot::default(), None));
        let whole = serde_json::to_vec(&DnsSnapshot { revision: 5, ..DnsSnapshot::default() }).unwrap();
        fs::write(&path, &whole).unwrap();
        let (snapshot, read) = load(&path).unwrap();
        assert_eq!((snapshot.revision, read), (5, stamp(&path)));
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            assert!(load(&path).unwrap_err().to_string().contains("snapshot.json"), "cut at {cut}");
        }
    }
}
