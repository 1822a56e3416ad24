//! Typed identifiers: 128 random bits for the cluster's objects, 256 for containers.

use std::{fmt, marker::PhantomData, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// Length of a cluster object's id in text: 128 bits in base 36, padded with zeros.
const TEXT_LEN: usize = 25;

/// A text that is not an id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is not {expected}")]
pub struct ParseIdError {
    text: String,
    expected: &'static str,
}

/// What an [`Id`] is the id of; carries nothing but its name.
pub trait Kind: Copy + Ord + 'static {
    /// The word used in messages, e.g. `node`.
    const NAME: &'static str;
}

/// A 128-bit random identifier, written as 25 characters of base 36, that cannot be mistaken for that of another kind.
pub struct Id<K> {
    raw: u128,
    kind: PhantomData<fn() -> K>,
}

impl<K: Kind> Id<K> {
    /// An id from 16 random bytes; the caller owns the randomness.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self { raw: u128::from_be_bytes(bytes), kind: PhantomData }
    }

    /// The 16 bytes, big endian, as they travel in protobuf.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.raw.to_be_bytes()
    }

    /// The id in a protobuf `bytes` field.
    ///
    /// # Errors
    /// When the field is not exactly 16 bytes long.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, ParseIdError> {
        <[u8; 16]>::try_from(bytes)
            .map(Self::from_bytes)
            .map_err(|_| ParseIdError { text: format!("{} bytes", bytes.len()), expected: "an id of 16 bytes" })
    }

    /// The first 12 characters, for tables and interface names' readers.
    #[must_use]
    pub fn short(self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Id<K> {}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}
impl<K> Eq for Id<K> {}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.raw.cmp(&other.raw)
    }
}
impl<K> std::hash::Hash for Id<K> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.raw.hash(state);
    }
}

impl<K> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [b'0'; TEXT_LEN];
        let mut rest = self.raw;
        for slot in text.iter_mut().rev() {
            *slot = b"0123456789abcdefghijklmnopqrstuvwxyz"[(rest % 36) as usize];
            rest /= 36;
        }
        f.pad(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl<K: Kind> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{self}", K::NAME)
    }
}

impl<K: Kind> FromStr for Id<K> {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ParseIdError { text: text.to_owned(), expected: "an id of 25 characters of base 36" };
        if text.len() != TEXT_LEN {
            return Err(refuse());
        }
        let mut raw: u128 = 0;
        for byte in text.bytes() {
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'z' => byte - b'a' + 10,
                _ => return Err(refuse()),
            };
            raw = raw.checked_mul(36).and_then(|r| r.checked_add(u128::from(digit))).ok_or_else(refuse)?;
        }
        Ok(Self { raw, kind: PhantomData })
    }
}

impl<K> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, K: Kind> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Marks [`ClusterId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClusterKind;
/// Marks [`NodeId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeKind;
/// Marks [`NetworkId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NetworkKind;
/// Marks [`EndpointId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndpointKind;

impl Kind for ClusterKind {
    const NAME: &'static str = "cluster";
}
impl Kind for NodeKind {
    const NAME: &'static str = "node";
}
impl Kind for NetworkKind {
    const NAME: &'static str = "network";
}
impl Kind for EndpointKind {
    const NAME: &'static str = "endpoint";
}

/// Names one cluster for ever; in every certificate and every session.
pub type ClusterId = Id<ClusterKind>;
/// Names one membership of a host in a cluster; a host that leaves and joins again has a new one.
pub type NodeId = Id<NodeKind>;
/// Names a cluster-wide network.
pub type NetworkId = Id<NetworkKind>;
/// Names one attachment of a container to a cluster-wide network.
pub type EndpointId = Id<EndpointKind>;

/// A container's id: 256 random bits, 64 hexadecimal digits, as Docker's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId([u8; 32]);

impl ContainerId {
    /// An id from 32 random bytes; the caller owns the randomness.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The first 12 hexadecimal digits, which is also the default hostname of the container.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "container:{}", self.short())
    }
}

impl FromStr for ContainerId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ParseIdError { text: text.to_owned(), expected: "a container id of 64 hexadecimal digits" };
        if text.len() != 64 || !text.is_ascii() {
            return Err(refuse());
        }
        let mut bytes = [0; 32];
        for (slot, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| refuse())?;
            if pair.bytes().any(|b| !matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                return Err(refuse());
            }
            *slot = u8::from_str_radix(pair, 16).map_err(|_| refuse())?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for ContainerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContainerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_id_survives_its_text(bytes: [u8; 16], container: [u8; 32]) {
            let id = NodeId::from_bytes(bytes);
            prop_assert_eq!(id.to_string().parse::<NodeId>().unwrap(), id);
            prop_assert_eq!(NodeId::from_slice(&id.to_bytes()).unwrap(), id);
            let id = ContainerId::from_bytes(container);
            prop_assert_eq!(id.to_string().parse::<ContainerId>().unwrap(), id);
        }
    }

    #[test]
    fn texts_that_are_no_ids_are_refused() {
        for text in ["", "x", "zzzzzzzzzzzzzzzzzzzzzzzzz", "0123456789ABCDEFGHIJKLMNO", "ééééééééééééé"] {
            assert!(text.parse::<NodeId>().is_err(), "{text}");
        }
        for text in ["", "+f", &"g".repeat(64), &"+1".repeat(32), &"A".repeat(64)] {
            assert!(text.parse::<ContainerId>().is_err(), "{text}");
        }
        assert!(NodeId::from_slice(&[0; 15]).is_err());
    }
}
