//! The file that makes a Raft directory a manager's: its Raft id, node, cluster and epoch, and a checksum.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use rcon_proto::{Message, convert, v1};
use rcon_types::{ClusterId, NodeId};

use crate::{RaftError, disk::replace_file};

/// Who a manager is in Raft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ManagerIdentity {
    pub(crate) node_id: NodeId,
    pub(crate) cluster_id: ClusterId,
    pub(crate) raft_id: u64,
    pub(crate) epoch: u64,
}

pub(crate) fn path(directory: &Path) -> PathBuf {
    directory.join("manager")
}

/// Writes the file: from now on the directory is a manager's.
pub(crate) fn write(directory: &Path, identity: ManagerIdentity) -> Result<(), RaftError> {
    let text = v1::ManagerFile {
        node_id: convert::id_bytes(identity.node_id),
        cluster_id: convert::id_bytes(identity.cluster_id),
        raft_id: identity.raft_id,
        epoch: identity.epoch,
    }
    .encode_to_vec();
    replace_file(&path(directory), |file| {
        file.write_all(&crc32fast::hash(&text).to_be_bytes())?;
        file.write_all(&text)
    })
}

/// Reads the file, if the directory is a manager's.
pub(crate) fn read(directory: &Path) -> Result<Option<ManagerIdentity>, RaftError> {
    let path = path(directory);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(RaftError::Io { what: "read", path, source }),
    };
    let damaged = |why: String| RaftError::Damaged { path: path.clone(), offset: 0, why };
    let (crc, text) = bytes.split_first_chunk::<4>().ok_or_else(|| damaged("it is incomplete".to_owned()))?;
    if u32::from_be_bytes(*crc) != crc32fast::hash(text) {
        return Err(damaged("its checksum is wrong".to_owned()));
    }
    let wire = v1::ManagerFile::decode(text).map_err(|e| damaged(e.to_string()))?;
    Ok(Some(ManagerIdentity {
        node_id: convert::id("node_id", &wire.node_id).map_err(|e| damaged(e.to_string()))?,
        cluster_id: convert::id("cluster_id", &wire.cluster_id).map_err(|e| damaged(e.to_string()))?,
        raft_id: wire.raft_id,
        epoch: wire.epoch,
    }))
}

/// Removes what an attempt that never became a manager left, so that nothing of it can ever be taken for the log of one.
pub(crate) fn clear(directory: &Path) -> Result<(), RaftError> {
    for name in ["log", "synced", "snapshot", "snapshot.new", "seal.key", "manager.new", "ballast"] {
        let path = directory.join(name);
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(RaftError::Io { what: "remove", path, source: error }),
            _ => {}
        }
    }
    Ok(())
}
