//! The vocabulary of rcon: ids, names, units, roles and the one shape of a failure that crosses processes.
//!
//! Everything here is a plain value. Nothing here reads a clock, a file, the environment or the network; whoever needs
//! randomness for an id hands the bytes in. Text is parsed at the edge (`FromStr`) and trusted afterwards.

pub mod cluster;
pub mod failure;
pub mod id;
pub mod name;
pub mod net;

pub use cluster::{Availability, NodeState, Role};
pub use failure::{Failure, FailureKind};
pub use id::{ClusterId, ContainerId, EndpointId, Id, NetworkId, NodeId, ParseIdError};
pub use name::{ContainerName, NameError, NetworkName, NodeName};
pub use net::{MacAddr, Mtu, Vni};

/// The index of the Raft entry up to which a view of the cluster is complete. 0 means "nothing seen yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Revision(pub u64);

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}
