//! Which endpoints each container of this host holds while it runs.
//!
//! One small file a container in the run directory, replaced on change. The files need not survive a loss of power, since no running
//! container does; they must survive the agent, since containers do. What a container asked for is kept by the engine, as notes.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    sync::Mutex,
};

use rcon_types::{ContainerId, ContainerName, EndpointId, NetworkId};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::warn;

use crate::file::{self, Durability};

/// What a user asked of one network for one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requested {
    /// Name or id, as it was typed.
    pub network: String,
    /// More names on that network.
    pub aliases: Vec<String>,
    /// A fixed address.
    pub ipv4: Option<Ipv4Addr>,
    /// A fixed address.
    pub ipv6: Option<Ipv6Addr>,
}

/// What the agent keeps with the engine's record of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notes {
    /// The networks it is to be on whenever it runs, in the order asked for.
    pub networks: Vec<Requested>,
}

impl Notes {
    /// The notes of a record; none where they make no sense, which only another program's writing could cause.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// For [`Notes::parse`].
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// An endpoint that a running container holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// The network, by id.
    pub network_id: NetworkId,
    /// The network's name when it was joined; names do not change.
    pub network_name: String,
    /// The lease, chosen by this node before it was asked for.
    pub endpoint_id: EndpointId,
    /// The interface's number in the container: 0 is eth0.
    pub interface: u8,
    /// Which of the requests this fulfils.
    pub request: Requested,
}

impl Attached {
    /// The interface's name in the container.
    #[must_use]
    pub fn interface_name(&self) -> String {
        format!("eth{}", self.interface)
    }
}

/// The networks of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerNetworks {
    /// The container's name, found on all its networks.
    pub name: ContainerName,
    /// In the order of joining; the first one that has a gateway gives the default route.
    pub attached: Vec<Attached>,
}

/// All containers' networks.
pub type Table = BTreeMap<ContainerId, ContainerNetworks>;

/// The table, in memory and in its directory.
pub struct Attachments {
    directory: PathBuf,
    table: watch::Sender<Table>,
    // Serialises writers, so that the file of a container never goes back in time.
    writing: Mutex<()>,
}

impl Attachments {
    /// Reads the table back.
    ///
    /// # Errors
    /// When the directory cannot be made or read. A file that makes no sense is set aside with a warning.
    pub fn open(directory: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        let mut table = Table::new();
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            let Some(id) = path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse::<ContainerId>().ok()) else { continue };
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match serde_json::from_slice(&fs::read(&path)?) {
                Ok(networks) => {
                    table.insert(id, networks);
                }
                Err(error) => warn!(path = %path.display(), %error, "networks of a container make no sense; ignoring the file"),
            }
        }
        Ok(Self { directory, table: watch::Sender::new(table), writing: Mutex::new(()) })
    }

    /// The table as it is.
    #[must_use]
    pub fn table(&self) -> Table {
        self.table.borrow().clone()
    }

    /// The networks of one container.
    #[must_use]
    pub fn get(&self, container: &ContainerId) -> Option<ContainerNetworks> {
        self.table.borrow().get(container).cloned()
    }

    /// Sees every later table.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Table> {
        self.table.subscribe()
    }

    /// Changes the networks of one container; `None` before or after means that it has no entry.
    ///
    /// # Errors
    /// When the file cannot be written; the table is then as before.
    pub fn change<T>(&self, container: ContainerId, change: impl FnOnce(&mut Option<ContainerNetworks>) -> T) -> io::Result<T> {
        let _writing = self.writing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = self.get(&container);
        let mut after = before.clone();
        let result = change(&mut after);
        if before == after {
            return Ok(result);
        }
        let path = self.directory.join(format!("{container}.json"));
        match &after {
            Some(networks) => file::replace(&path, &serde_json::to_vec_pretty(networks)?, Durability::Cached)?,
            None => file::remove(&path)?,
        }
        self.table.send_modify(|table| {
            match after {
                Some(networks) => table.insert(container, networks),
                None => table.remove(&container),
            };
        });
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_survives_the_agent() {
        let directory = tempfile::tempdir().unwrap();
        let id = ContainerId::from_bytes([7; 32]);
        let networks = ContainerNetworks { name: "web".parse().unwrap(), attached: Vec::new() };
        let attachments = Attachments::open(directory.path().to_owned()).unwrap();
        attachments.change(id, |entry| *entry = Some(networks.clone())).unwrap();
        fs::write(directory.path().join(format!("{}.json", ContainerId::from_bytes([8; 32]))), "{").unwrap();
        let again = Attachments::open(directory.path().to_owned()).unwrap();
        assert_eq!(again.table(), Table::from([(id, networks)]));
        again.change(id, |entry| *entry = None).unwrap();
        assert!(Attachments::open(directory.path().to_owned()).unwrap().table().is_empty());
    }
}
