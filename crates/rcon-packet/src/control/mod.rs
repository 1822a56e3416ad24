//! The protocol between `rcond` and `rcond tunnel`: requests and replies as JSON, each behind its length, over a unix socket.
//!
//! `rcond` connects, writes one [`Request`], reads one [`Reply`], and may go on with the next on the same connection. The
//! whole table is sent each time ([`Tables`]); the tunnel makes the difference. Private keys never travel here, only the
//! path of the file that holds one. Every message is bounded by [`MAX_MESSAGE_BYTES`] and checked before it is trusted.

mod framing;
mod key;
mod status;
mod tables;

pub use framing::{FramingError, HEADER_BYTES, MAX_MESSAGE_BYTES, body_length, decode, encode};
pub use key::{ParseKeyError, PublicKey};
pub use status::{DropReason, Drops, NetworkStatus, PeerStatus, Status};
pub use tables::{
    MAX_NETWORKS, MAX_PEERS, MAX_STATIONS, MAX_TAP_NAME_BYTES, MTU_RANGE, Network, Peer, Station, Tables, TablesError, ValidTables,
};

use rcon_types::{Failure, Revision, Vni};
use serde::{Deserialize, Serialize};

/// The version both sides must speak; a request with another one is answered with [`Reply::Failed`].
pub const VERSION: u32 = 1;

/// Most descriptors in one `SCM_RIGHTS` message of a handover (the kernel's limit is 253, `SCM_MAX_FD` in `include/net/scm.h`).
pub const DESCRIPTORS_PER_MESSAGE: usize = 128;

/// One request of `rcond` (or of a successor) to the tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Always [`VERSION`].
    pub version: u32,
    /// What is asked for.
    pub command: Command,
}

impl Request {
    /// The command in this version of the protocol.
    #[must_use]
    pub const fn new(command: Command) -> Self {
        Self { version: VERSION, command }
    }
}

/// What can be asked of the tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Make these the tables, start handshakes with all new peers; answered with [`Reply::Applied`] once packets follow them.
    ///
    /// Tables older than the ones in force are refused with a conflict.
    SetTables(Box<Tables>),
    /// Answered with [`Reply::Status`].
    Status,
    /// Stop forwarding and pass every descriptor on; answered with [`Reply::HandedOver`], then the tunnel ends.
    Handover,
    /// End. Answered with [`Reply::Stopping`]. The TAPs are persistent and stay.
    Stop,
}

/// The tunnel's answer to one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The tables of this revision are in force.
    Applied {
        /// That of the tables.
        revision: Revision,
    },
    /// What the tunnel is and counts.
    Status(Box<Status>),
    /// The descriptors follow: [`DESCRIPTORS_PER_MESSAGE`] at a time, each lot with one byte of data, in this order.
    HandedOver {
        /// What each descriptor is.
        descriptors: Vec<Descriptor>,
    },
    /// The tunnel ends now.
    Stopping,
    /// The request was not carried out; nothing changed.
    Failed(Failure),
}

/// What a handed-over descriptor is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Descriptor {
    /// The bound UDP socket.
    Udp {
        /// The port it is bound to.
        port: u16,
    },
    /// One queue of a TAP.
    Tap {
        /// The network it belongs to.
        vni: Vni,
        /// The name of the interface.
        name: String,
    },
}

#[cfg(test)]
mod tests;
