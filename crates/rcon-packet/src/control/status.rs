//! What the tunnel says about itself.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
};

use rcon_types::{Mtu, NodeId, Revision, Vni};
use serde::{Deserialize, Serialize};

use super::PublicKey;

/// Why a frame or a datagram went no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropReason {
    /// Outgoing: the peer has no session and its queue is full; nothing is ever sent unsealed.
    NoSession,
    /// Outgoing: nobody knows where the peer is.
    NoEndpoint,
    /// Outgoing: a unicast address that no peer has.
    UnknownDestination,
    /// Outgoing: a frame that cannot be understood, so neither cut nor completed.
    MalformedFrame,
    /// Outgoing: larger than the network or the path carries; answered with ICMP where that is possible.
    TooBig,
    /// Outgoing: the socket refused it.
    SendFailed,
    /// Incoming: not a WireGuard message, or for a session that is not there.
    UnknownSession,
    /// Incoming: a handshake that failed, of a stranger or damaged.
    HandshakeRefused,
    /// Incoming: the tag did not match.
    NotAuthentic,
    /// Incoming: seen before, or too old to tell.
    Replayed,
    /// Incoming: no valid VXLAN frame inside.
    MalformedTunnel,
    /// Incoming: the inner address is not that of the peer.
    SpoofedTunnelAddress,
    /// Incoming: no network here has that number.
    UnknownNetwork,
    /// Incoming: the station that the frame claims to come from does not live on that peer.
    SpoofedStation,
    /// Incoming: the TAP did not take it.
    TapRefused,
}

impl DropReason {
    /// Every reason, in the order of the enumeration.
    pub const ALL: [Self; 15] = [
        Self::NoSession,
        Self::NoEndpoint,
        Self::UnknownDestination,
        Self::MalformedFrame,
        Self::TooBig,
        Self::SendFailed,
        Self::UnknownSession,
        Self::HandshakeRefused,
        Self::NotAuthentic,
        Self::Replayed,
        Self::MalformedTunnel,
        Self::SpoofedTunnelAddress,
        Self::UnknownNetwork,
        Self::SpoofedStation,
        Self::TapRefused,
    ];
}

/// Counts since the tunnel started; a reason without drops is absent.
pub type Drops = BTreeMap<DropReason, u64>;

/// The tunnel as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// That of the tables in force; 0 before the first.
    pub revision: Revision,
    /// The process.
    pub pid: u32,
    /// This node's public key; absent before the first tables.
    pub public_key: Option<PublicKey>,
    /// The UDP port; 0 before the first tables.
    pub listen_port: u16,
    /// One for each peer of the tables.
    pub peers: Vec<PeerStatus>,
    /// One for each network of the tables.
    pub networks: Vec<NetworkStatus>,
    /// Drops that belong to no peer.
    pub drops: Drops,
}

/// One peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Whose.
    pub node: NodeId,
    /// Its public key.
    pub public_key: PublicKey,
    /// Its address inside the tunnels.
    pub vtep: Ipv4Addr,
    /// Where it was last heard, or where the tables say.
    pub endpoint: Option<SocketAddr>,
    /// When the last handshake was completed, in milliseconds since 1970; 0: never.
    pub last_handshake_unix_ms: u64,
    /// Whether there is a session now, so that frames are sent.
    pub connected: bool,
    /// Bytes of WireGuard messages taken from it, authentic ones only.
    pub rx_bytes: u64,
    /// Bytes of WireGuard messages sent to it.
    pub tx_bytes: u64,
    /// Drops of what it sent or was to be sent.
    pub drops: Drops,
}

/// One network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkStatus {
    /// Its number.
    pub vni: Vni,
    /// The TAP.
    pub tap: String,
    /// The MTU in force.
    pub mtu: Mtu,
    /// Frames taken from the TAP; one may carry many segments.
    pub frames_out: u64,
    /// Frames written to the TAP; one may carry many segments.
    pub frames_in: u64,
}
