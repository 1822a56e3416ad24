//! What the containers' name server answers: a snapshot of the names on each container's networks.

use std::path::Path;

use rcon_net::HostNet;
use rcon_proto::v1::Assignments;
use rcon_types::Failure;

use crate::attachments::Table;

/// The containers' name server.
pub struct NameServer {}

impl NameServer {
    /// The name server of a host; started when first needed.
    #[must_use]
    pub fn new(_data_dir: &Path, _run_dir: &Path) -> Self {
        Self {}
    }

    /// Publishes the names.
    ///
    /// # Errors
    /// When it does not take them.
    pub async fn publish(&self, _set: &Assignments, _table: &Table, _net: &HostNet) -> Result<(), Failure> {
        Ok(())
    }
}
