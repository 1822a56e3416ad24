//! Units of networks.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// A VXLAN network identifier: 24 bits (RFC 7348 §5). rcon gives out those from 4096 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Vni(u32);

impl Vni {
    /// The first identifier that the cluster gives out.
    pub const FIRST: Self = Self(4096);
    /// The largest that fits into 24 bits.
    pub const MAX: Self = Self(0x00ff_ffff);

    /// `raw` as an identifier, or `None` where it does not fit into 24 bits.
    #[must_use]
    pub const fn new(raw: u32) -> Option<Self> {
        if raw <= Self::MAX.0 { Some(Self(raw)) } else { None }
    }

    /// The number itself.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl<'de> Deserialize<'de> for Vni {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = u32::deserialize(deserializer)?;
        Self::new(raw).ok_or_else(|| serde::de::Error::custom(format!("{raw} does not fit into 24 bits")))
    }
}

/// A largest packet size in bytes, without the Ethernet header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mtu(pub u32);

impl Mtu {
    /// What VXLAN and WireGuard together take from the underlay's: IPv6 40, UDP 8, WireGuard 32, IPv4 20, UDP 8, VXLAN 8, Ethernet 14.
    pub const ENCRYPTED_OVERHEAD: u32 = 130;
    /// What VXLAN takes from an IPv4 underlay's: IPv4 20, UDP 8, VXLAN 8, Ethernet 14 (RFC 7348 §5).
    pub const PLAIN_OVERHEAD_V4: u32 = 50;
    /// What VXLAN takes from an IPv6 underlay's: IPv6 40, UDP 8, VXLAN 8, Ethernet 14.
    pub const PLAIN_OVERHEAD_V6: u32 = 70;

    /// The MTU inside an overlay whose smallest underlay has this one.
    #[must_use]
    pub const fn inside_overlay(self, encrypted: bool, underlay_is_ipv6: bool) -> Self {
        let overhead = match (encrypted, underlay_is_ipv6) {
            (true, _) => Self::ENCRYPTED_OVERHEAD,
            (false, false) => Self::PLAIN_OVERHEAD_V4,
            (false, true) => Self::PLAIN_OVERHEAD_V6,
        };
        Self(self.0.saturating_sub(overhead))
    }
}

impl fmt::Display for Mtu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

/// A text that is not six hexadecimal pairs with colons.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a MAC address such as 02:42:0a:00:00:02")]
pub struct ParseMacError(String);

impl MacAddr {
    /// All ones: every station.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// The address of an endpoint, a function of its IP address alone, so that a reused IP never has a stale neighbour.
    ///
    /// IPv4 a.b.c.d gives 02:42:a:b:c:d as Docker's; IPv6 gives 06:42 and its last four bytes.
    #[must_use]
    pub const fn for_ip(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => Self::for_ipv4(v4),
            IpAddr::V6(v6) => Self::for_ipv6(v6),
        }
    }

    /// 02:42 and the four bytes of the address.
    #[must_use]
    pub const fn for_ipv4(ip: Ipv4Addr) -> Self {
        let [a, b, c, d] = ip.octets();
        Self([0x02, 0x42, a, b, c, d])
    }

    /// 06:42 and the last four bytes of the address.
    #[must_use]
    pub const fn for_ipv6(ip: Ipv6Addr) -> Self {
        let o = ip.octets();
        Self([0x06, 0x42, o[12], o[13], o[14], o[15]])
    }

    /// Whether the group bit is set: broadcast or multicast (IEEE 802-2014 §8.2.2).
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddr {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ParseMacError(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for slot in &mut bytes {
            let part = parts.next().ok_or_else(refuse)?;
            if part.len() != 2 || part.bytes().any(|b| !b.is_ascii_hexdigit()) {
                return Err(refuse());
            }
            *slot = u8::from_str_radix(part, 16).map_err(|_| refuse())?;
        }
        if parts.next().is_some() { Err(refuse()) } else { Ok(Self(bytes)) }
    }
}

impl Serialize for MacAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_is_a_function_of_the_address() {
        assert_eq!(MacAddr::for_ipv4(Ipv4Addr::new(10, 0, 0, 2)).to_string(), "02:42:0a:00:00:02");
        assert_eq!("02:42:0A:00:00:02".parse::<MacAddr>().unwrap(), MacAddr::for_ipv4(Ipv4Addr::new(10, 0, 0, 2)));
        for bad in ["", "02:42:0a:00:00", "02:42:0a:00:00:02:03", "+2:42:0a:00:00:02", "g2:42:0a:00:00:02"] {
            assert!(bad.parse::<MacAddr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_mtu_inside_is_what_the_overheads_leave() {
        assert_eq!(Mtu(1500).inside_overlay(true, false), Mtu(1370));
        assert_eq!(Mtu(1500).inside_overlay(false, false), Mtu(1450));
        assert_eq!(Mtu(1500).inside_overlay(false, true), Mtu(1430));
    }

    #[test]
    fn a_vni_has_24_bits() {
        assert!(Vni::new(1 << 24).is_none());
        assert_eq!(Vni::new(4096), Some(Vni::FIRST));
    }
}
