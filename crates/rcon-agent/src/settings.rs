//! What a node keeps of how it was joined: its addresses. One small file, on disk before the node counts as joined.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use rcon_types::{Failure, FailureKind};
use serde::{Deserialize, Serialize};

use crate::file::{self, Durability};

/// A node's addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSettings {
    /// Where other nodes reach its 2377/tcp.
    pub advertised: SocketAddr,
    /// Where it listens for them.
    pub listen: SocketAddr,
    /// Where other nodes send overlay packets.
    pub data_address: IpAddr,
    /// Managers known at the time of joining; the ledger knows better later.
    pub managers: Vec<String>,
}

impl NodeSettings {
    fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("agent/node.json")
    }

    /// Reads the settings back; none where the node never joined.
    ///
    /// # Errors
    /// When the file is there and makes no sense.
    pub fn load(data_dir: &Path) -> Result<Option<Self>, Failure> {
        let path = Self::path(data_dir);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(Failure::new(FailureKind::Internal, error.to_string()).during(format!("could not read `{}`", path.display())));
            }
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            Failure::new(FailureKind::Internal, error.to_string())
                .during(format!("settings of this node in `{}` make no sense", path.display()))
                .hint("take the file from a backup, or leave the cluster with `rconctl swarm leave --force` and join again")
        })
    }

    /// Writes the settings; on disk when this returns.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn store(&self, data_dir: &Path) -> Result<(), Failure> {
        let path = Self::path(data_dir);
        let bytes = serde_json::to_vec_pretty(self).map_err(|error| Failure::from_error(FailureKind::Internal, &error))?;
        file::replace(&path, &bytes, Durability::Synced)
            .map_err(|error| Failure::new(FailureKind::Internal, error.to_string()).during(format!("could not write `{}`", path.display())))
    }

    /// Forgets the settings.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn remove(data_dir: &Path) -> io::Result<()> {
        file::remove(&Self::path(data_dir))
    }
}
