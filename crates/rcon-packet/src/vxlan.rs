//! VXLAN inside a tunnel: IPv4 from tunnel address to tunnel address, UDP, VXLAN, Ethernet (RFC 7348).
//!
//! What kernel `vxlan` sends over a WireGuard device and takes from it, with a zero UDP checksum, which RFC 7348 §5 asks for and which
//! loses nothing here: the whole packet is sealed. Unlike the kernel's, these packets say "don't fragment", have no identification,
//! and do not repeat the frame's congestion marks: the outermost header carries none, so nothing could come back in them.

use std::{net::Ipv4Addr, ops::Range};

use rcon_types::Vni;
use thiserror::Error;

use crate::{
    checksum::Sum,
    frame::{ETHERNET, IPV4, PROTOCOL_UDP, UDP, number16, number32},
};

/// The UDP port of VXLAN (RFC 7348 §5).
pub const PORT: u16 = 4789;
/// Bytes before the Ethernet frame: IPv4, UDP and VXLAN.
pub const OVERHEAD: usize = IPV4 + UDP + 8;
/// The flag that says that the VNI is valid.
const FLAG_VNI: u8 = 0x08;

/// The headers towards one tunnel address in one network, all but the lengths filled in.
#[derive(Debug, Clone)]
pub struct Encapsulation {
    template: [u8; OVERHEAD],
    /// Of the IPv4 header with a length of zero.
    sum: Sum,
}

impl Encapsulation {
    /// Headers for frames of network `vni` from `source` to `destination`.
    #[must_use]
    pub fn new(source: Ipv4Addr, destination: Ipv4Addr, vni: Vni) -> Self {
        let mut template = [0; OVERHEAD];
        template[0] = 0x45;
        // An atomic datagram, so its identification means nothing (RFC 6864 §4.1).
        template[6] = 0x40;
        template[8] = 64;
        template[9] = PROTOCOL_UDP;
        template[12..16].copy_from_slice(&source.octets());
        template[16..20].copy_from_slice(&destination.octets());
        template[22..24].copy_from_slice(&PORT.to_be_bytes());
        template[28] = FLAG_VNI;
        template[32..36].copy_from_slice(&(vni.get() << 8).to_be_bytes());
        Self { sum: Sum::of(&template[..IPV4]), template }
    }

    /// Writes the headers for a frame of `frame_len` bytes.
    ///
    /// `source_port` is [`crate::flow::source_port`] of the frame.
    pub fn write(&self, header: &mut [u8; OVERHEAD], source_port: u16, frame_len: u16) {
        *header = self.template;
        let udp_len = frame_len.saturating_add(16);
        let len = frame_len.saturating_add(36);
        header[2..4].copy_from_slice(&len.to_be_bytes());
        header[10..12].copy_from_slice(&self.sum.add_number(len).checksum());
        header[20..22].copy_from_slice(&source_port.to_be_bytes());
        header[24..26].copy_from_slice(&udp_len.to_be_bytes());
    }
}

/// Why a packet from a tunnel is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum VxlanError {
    /// Not IPv4 without options, or its length or checksum is wrong.
    #[error("not a valid IPv4 packet")]
    Ip,
    /// A fragment; frames that need fragments are never sent.
    #[error("a fragment")]
    Fragment,
    /// Not UDP to port 4789, or its length or checksum is wrong.
    #[error("not a UDP packet to the VXLAN port")]
    Udp,
    /// The flags are not exactly "VNI valid", or the reserved bits are set.
    #[error("not a VXLAN header")]
    Header,
    /// Shorter than an Ethernet header.
    #[error("no Ethernet frame inside")]
    Frame,
}

/// A frame found inside a tunnel's packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decapsulated {
    /// The tunnel address it claims to come from.
    pub source: Ipv4Addr,
    /// The tunnel address it is for.
    pub destination: Ipv4Addr,
    /// The network.
    pub vni: Vni,
    /// Where the frame lies in the packet.
    pub frame: Range<usize>,
}

/// Takes a packet apart, checking everything that can be checked without tables. Padding behind the packet is ignored.
///
/// # Errors
/// Says which layer is wrong.
pub fn decapsulate(packet: &[u8]) -> Result<Decapsulated, VxlanError> {
    let Some(header) = packet.first_chunk::<OVERHEAD>() else {
        return Err(VxlanError::Ip);
    };
    let len = usize::from(number16(header, 2));
    if header[0] != 0x45 || len < OVERHEAD || len > packet.len() || !Sum::of(&header[..IPV4]).is_valid() {
        return Err(VxlanError::Ip);
    }
    if number16(header, 6) & 0xbfff != 0 {
        return Err(VxlanError::Fragment);
    }
    let udp_len = usize::from(number16(header, 24));
    if header[9] != PROTOCOL_UDP || number16(header, 22) != PORT || udp_len != len - IPV4 {
        return Err(VxlanError::Udp);
    }
    if number16(header, 26) != 0 {
        let pseudo = Sum::of(&header[12..20]).add_number(u16::from(PROTOCOL_UDP)).and(&header[24..26]);
        if !pseudo.and(&packet[IPV4..len]).is_valid() {
            return Err(VxlanError::Udp);
        }
    }
    if number32(header, 28) != u32::from(FLAG_VNI) << 24 || header[35] != 0 {
        return Err(VxlanError::Header);
    }
    if len < OVERHEAD + ETHERNET {
        return Err(VxlanError::Frame);
    }
    let vni = Vni::new(number32(header, 32) >> 8).ok_or(VxlanError::Header)?;
    let address = |at: usize| Ipv4Addr::from(number32(header, at));
    Ok(Decapsulated { source: address(12), destination: address(16), vni, frame: OVERHEAD..len })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: Ipv4Addr = Ipv4Addr::new(100, 96, 0, 1);
    const B: Ipv4Addr = Ipv4Addr::new(100, 96, 0, 2);

    fn packet(frame: &[u8]) -> Vec<u8> {
        let mut header = [0; OVERHEAD];
        Encapsulation::new(A, B, Vni::FIRST).write(&mut header, 50_000, u16::try_from(frame.len()).unwrap());
        [&header[..], frame].concat()
    }

    #[test]
    fn what_was_encapsulated_comes_out_also_with_padding() {
        let mut packet = packet(&[7; 60]);
        packet.extend([0; 12]);
        let out = decapsulate(&packet).unwrap();
        assert_eq!(out, Decapsulated { source: A, destination: B, vni: Vni::FIRST, frame: 36..96 });
    }

    #[test]
    fn each_wrong_field_is_refused() {
        let with = |at: usize, value: u8, fix: bool| {
            let mut packet = packet(&[7; 60]);
            packet[at] = value;
            if fix {
                packet[10..12].fill(0);
                let checksum = Sum::of(&packet[..20]).checksum();
                packet[10..12].copy_from_slice(&checksum);
            }
            decapsulate(&packet).err()
        };
        assert_eq!(with(0, 0x46, true), Some(VxlanError::Ip));
        assert_eq!(with(3, 97, true), Some(VxlanError::Ip), "longer than the packet");
        assert_eq!(with(8, 63, false), Some(VxlanError::Ip), "checksum");
        assert_eq!(with(6, 0x20, true), Some(VxlanError::Fragment));
        assert_eq!(with(9, 6, true), Some(VxlanError::Udp));
        assert_eq!(with(23, 0, true), Some(VxlanError::Udp), "port");
        assert_eq!(with(25, 75, true), Some(VxlanError::Udp), "length");
        assert_eq!(with(26, 1, true), Some(VxlanError::Udp), "checksum");
        assert_eq!(with(28, 0, true), Some(VxlanError::Header));
        assert_eq!(with(28, 0x88, true), Some(VxlanError::Header));
        assert_eq!(with(35, 1, true), Some(VxlanError::Header));
        assert_eq!(decapsulate(&packet(&[7; 13])), Err(VxlanError::Frame));
    }

    #[test]
    fn a_udp_checksum_is_verified_where_there_is_one() {
        let mut packet = packet(&[7; 61]);
        let pseudo = Sum::of(&packet[12..20]).add_number(17).and(&packet[24..26]);
        let checksum = pseudo.and(&packet[20..]).checksum();
        packet[26..28].copy_from_slice(&checksum);
        assert!(decapsulate(&packet).is_ok());
        packet[60] ^= 1;
        assert_eq!(decapsulate(&packet), Err(VxlanError::Udp));
    }

    proptest! {
        #[test]
        fn no_packet_makes_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..120), flip in 0_usize..40, value: u8) {
            let _ = decapsulate(&bytes);
            bytes.resize(60, 0);
            let mut good = packet(&bytes);
            good[flip] = value;
            if let Ok(out) = decapsulate(&good) {
                prop_assert!(out.frame.end <= good.len());
            }
        }
    }
}
