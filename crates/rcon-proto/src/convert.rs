//! Wire fields to types and back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use ipnet::IpNet;
use rcon_types::{Availability, Id, MacAddr, NodeState, Role, id::Kind};
use thiserror::Error;

use crate::v1;

/// A field that does not hold what its comment in the `.proto` file says.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("field `{field}` is malformed: {why}")]
pub struct Malformed {
    /// The field's name.
    pub field: &'static str,
    /// What is wrong with it.
    pub why: String,
}

fn malformed(field: &'static str, why: impl Into<String>) -> Malformed {
    Malformed { field, why: why.into() }
}

/// An id from its 16 bytes.
///
/// # Errors
/// When there are not 16 of them.
pub fn id<K: Kind>(field: &'static str, bytes: &[u8]) -> Result<Id<K>, Malformed> {
    Id::from_slice(bytes).map_err(|e| malformed(field, e.to_string()))
}

/// The 16 bytes of an id.
#[must_use]
pub fn id_bytes<K: Kind>(id: Id<K>) -> Bytes {
    Bytes::copy_from_slice(&id.to_bytes())
}

/// An IPv4 address, or none where the field is empty.
///
/// # Errors
/// When it has neither 0 nor 4 bytes.
pub fn ipv4(field: &'static str, bytes: &[u8]) -> Result<Option<Ipv4Addr>, Malformed> {
    match bytes.len() {
        0 => Ok(None),
        _ => <[u8; 4]>::try_from(bytes).map(|b| Some(b.into())).map_err(|_| malformed(field, "an IPv4 address has 4 bytes")),
    }
}

/// An IPv6 address, or none where the field is empty.
///
/// # Errors
/// When it has neither 0 nor 16 bytes.
pub fn ipv6(field: &'static str, bytes: &[u8]) -> Result<Option<Ipv6Addr>, Malformed> {
    match bytes.len() {
        0 => Ok(None),
        _ => <[u8; 16]>::try_from(bytes).map(|b| Some(b.into())).map_err(|_| malformed(field, "an IPv6 address has 16 bytes")),
    }
}

/// An address of either family, or none where the field is empty.
///
/// # Errors
/// When it has neither 0, 4 nor 16 bytes.
pub fn ip(field: &'static str, bytes: &[u8]) -> Result<Option<IpAddr>, Malformed> {
    match bytes.len() {
        0 => Ok(None),
        4 => Ok(ipv4(field, bytes)?.map(IpAddr::V4)),
        16 => Ok(ipv6(field, bytes)?.map(IpAddr::V6)),
        n => Err(malformed(field, format!("an address has 4 or 16 bytes, not {n}"))),
    }
}

/// The bytes of an address, in network order.
#[must_use]
pub fn ip_bytes(address: IpAddr) -> Bytes {
    match address {
        IpAddr::V4(a) => Bytes::copy_from_slice(&a.octets()),
        IpAddr::V6(a) => Bytes::copy_from_slice(&a.octets()),
    }
}

/// A MAC address.
///
/// # Errors
/// When it has not 6 bytes.
pub fn mac(field: &'static str, bytes: &[u8]) -> Result<MacAddr, Malformed> {
    <[u8; 6]>::try_from(bytes).map(MacAddr).map_err(|_| malformed(field, "a MAC address has 6 bytes"))
}

/// A prefix with its host bits cleared.
///
/// # Errors
/// When the address or the length cannot be.
pub fn prefix(field: &'static str, wire: &v1::Prefix) -> Result<IpNet, Malformed> {
    let address = ip(field, &wire.address)?.ok_or_else(|| malformed(field, "the address is missing"))?;
    let length = u8::try_from(wire.length).map_err(|_| malformed(field, "the length is too large"))?;
    IpNet::new(address, length).map(|net| net.trunc()).map_err(|e| malformed(field, e.to_string()))
}

/// A prefix for the wire.
#[must_use]
pub fn prefix_to_wire(net: IpNet) -> v1::Prefix {
    v1::Prefix { address: ip_bytes(net.network()), length: u32::from(net.prefix_len()) }
}

impl From<Role> for v1::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Worker => Self::Worker,
            Role::Manager => Self::Manager,
        }
    }
}

/// A role; `None` where the field is unset or unknown.
#[must_use]
pub fn role(wire: i32) -> Option<Role> {
    match v1::Role::try_from(wire) {
        Ok(v1::Role::Worker) => Some(Role::Worker),
        Ok(v1::Role::Manager) => Some(Role::Manager),
        _ => None,
    }
}

impl From<Availability> for v1::Availability {
    fn from(availability: Availability) -> Self {
        match availability {
            Availability::Active => Self::Active,
            Availability::Pause => Self::Pause,
            Availability::Drain => Self::Drain,
        }
    }
}

/// An availability; unset is active.
#[must_use]
pub fn availability(wire: i32) -> Availability {
    match v1::Availability::try_from(wire) {
        Ok(v1::Availability::Pause) => Availability::Pause,
        Ok(v1::Availability::Drain) => Availability::Drain,
        _ => Availability::Active,
    }
}

/// A node's state; unset is unknown.
#[must_use]
pub fn node_state(wire: i32) -> NodeState {
    match v1::NodeState::try_from(wire) {
        Ok(v1::NodeState::Ready) => NodeState::Ready,
        Ok(v1::NodeState::Down) => NodeState::Down,
        _ => NodeState::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_survives_the_wire_and_loses_its_host_bits() {
        let net: IpNet = "10.1.2.3/24".parse().unwrap();
        assert_eq!(prefix("p", &prefix_to_wire(net)).unwrap(), "10.1.2.0/24".parse::<IpNet>().unwrap());
    }

    #[test]
    fn malformed_fields_are_named() {
        let wire = v1::Prefix { address: Bytes::from_static(&[1, 2, 3]), length: 8 };
        assert_eq!(prefix("pool", &wire).unwrap_err().field, "pool");
        assert!(prefix("pool", &v1::Prefix { address: Bytes::from_static(&[10, 0, 0, 0]), length: 33 }).is_err());
        assert!(mac("mac", &[1, 2]).is_err());
        assert!(ipv4("a", &[1]).is_err());
    }
}
