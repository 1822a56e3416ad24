//! Where the headers of an Ethernet frame lie.
//!
//! [`Headers::parse`] looks at a frame once and checks every length; what it returns can be used as offsets into that frame
//! without further checks. It is conservative: a frame that is odd in any way has [`Transport::Opaque`], and is carried but
//! neither cut nor merged.

use rcon_types::MacAddr;
use thiserror::Error;

use crate::checksum::Sum;

/// Bytes of an Ethernet header without tags.
pub const ETHERNET: usize = 14;
/// Bytes of an IPv4 header without options.
pub const IPV4: usize = 20;
/// Bytes of an IPv6 header without extension headers.
pub const IPV6: usize = 40;
/// Bytes of a TCP header without options.
pub const TCP: usize = 20;
/// Bytes of a UDP header.
pub const UDP: usize = 8;
/// The IP protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// The IP protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;
/// The IP protocol number of ICMP.
pub const PROTOCOL_ICMP: u8 = 1;
/// The IP protocol number of ICMP for IPv6.
pub const PROTOCOL_ICMPV6: u8 = 58;

/// The EtherType of IPv4.
pub const TYPE_IPV4: u16 = 0x0800;
/// The EtherType of IPv6.
pub const TYPE_IPV6: u16 = 0x86dd;

/// Tags that may be stacked (IEEE 802.1ad has two).
const MAX_TAGS: usize = 2;
/// Extension headers that are looked through before a packet counts as odd.
const MAX_EXTENSIONS: usize = 8;

/// Why a frame cannot be understood at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// Shorter than the headers it announces.
    #[error("the frame is shorter than its headers say")]
    Truncated,
    /// The IP version does not match the EtherType, or a header length is impossible.
    #[error("the frame has an impossible header")]
    Impossible,
}

/// The network layer of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
    /// Neither, e.g. ARP.
    Other,
}

/// The transport layer of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP, with the length of its header.
    Tcp {
        /// In bytes, options included.
        header_len: usize,
    },
    /// UDP.
    Udp,
    /// Another protocol, a fragment, or something odd.
    Opaque,
}

/// Where the headers of one frame lie; every offset is within the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers {
    /// What comes after Ethernet.
    pub network: Network,
    /// Where the network header starts: 14, 18 or 22.
    pub network_at: usize,
    /// What comes after that.
    pub transport: Transport,
    /// Where the transport header starts; the end of the network header where it is opaque.
    pub transport_at: usize,
    /// Where the IP packet ends; behind it is only padding. The frame's end where it is not IP.
    pub end: usize,
}

/// The destination and the source address.
#[must_use]
pub fn addresses(frame: &[u8]) -> Option<(MacAddr, MacAddr)> {
    let (destination, rest) = frame.split_first_chunk::<6>()?;
    let (source, rest) = rest.split_first_chunk::<6>()?;
    if rest.len() < 2 { None } else { Some((MacAddr(*destination), MacAddr(*source))) }
}

/// A 16-bit number of a header; the caller has checked that it is there.
#[must_use]
pub fn number16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// A 32-bit number of a header; the caller has checked that it is there.
#[must_use]
pub fn number32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

impl Headers {
    /// Looks through a frame.
    ///
    /// # Errors
    /// When it is not even the frame that its own headers announce.
    pub fn parse(frame: &[u8]) -> Result<Self, FrameError> {
        let mut type_at = 12;
        let mut kind = ether_type(frame, type_at)?;
        for _ in 0..MAX_TAGS {
            if !matches!(kind, 0x8100 | 0x88a8) {
                break;
            }
            type_at += 4;
            kind = ether_type(frame, type_at)?;
        }
        let at = type_at + 2;
        match kind {
            TYPE_IPV4 => parse_v4(frame, at),
            TYPE_IPV6 => parse_v6(frame, at),
            _ => Ok(Self { network: Network::Other, network_at: at, transport: Transport::Opaque, transport_at: at, end: frame.len() }),
        }
    }

    /// The two IP addresses, one after the other; empty where there are none.
    #[must_use]
    pub fn ip_addresses<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        let at = self.network_at;
        match self.network {
            Network::V4 => &frame[at + 12..at + 20],
            Network::V6 => &frame[at + 8..at + 40],
            Network::Other => &[],
        }
    }

    /// The sum of the pseudo-header (RFC 9293 §3.1, RFC 8200 §8.1) for a transport part of `len` bytes.
    #[must_use]
    pub fn pseudo_sum(&self, frame: &[u8], protocol: u8, len: usize) -> Sum {
        // Up to 65,535 bytes, so the upper half of IPv6's 32-bit length is zero.
        let len = u16::try_from(len).unwrap_or(u16::MAX);
        Sum::of(self.ip_addresses(frame)).add_number(u16::from(protocol)).add_number(len)
    }
}

fn ether_type(frame: &[u8], at: usize) -> Result<u16, FrameError> {
    if frame.len() < at + 2 { Err(FrameError::Truncated) } else { Ok(number16(frame, at)) }
}

fn parse_v4(frame: &[u8], at: usize) -> Result<Headers, FrameError> {
    let header = frame.get(at..at + IPV4).ok_or(FrameError::Truncated)?;
    let header_len = usize::from(header[0] & 0xf) * 4;
    if header[0] >> 4 != 4 || header_len < IPV4 {
        return Err(FrameError::Impossible);
    }
    let end = at + usize::from(number16(header, 2));
    let transport_at = at + header_len;
    if end > frame.len() || transport_at > end {
        return Err(FrameError::Truncated);
    }
    // Anything but "don't fragment" set means a fragment (or the reserved bit).
    let fragment = number16(header, 6) & 0xbfff != 0;
    let transport = if fragment { Transport::Opaque } else { transport(frame, header[9], transport_at, end) };
    Ok(Headers { network: Network::V4, network_at: at, transport, transport_at, end })
}

fn parse_v6(frame: &[u8], at: usize) -> Result<Headers, FrameError> {
    let header = frame.get(at..at + IPV6).ok_or(FrameError::Truncated)?;
    if header[0] >> 4 != 6 {
        return Err(FrameError::Impossible);
    }
    let end = at + IPV6 + usize::from(number16(header, 4));
    if end > frame.len() {
        return Err(FrameError::Truncated);
    }
    let mut protocol = header[6];
    let mut transport_at = at + IPV6;
    for _ in 0..MAX_EXTENSIONS {
        // Hop-by-hop, routing and destination options say their length the same way (RFC 8200 §4.2).
        if !matches!(protocol, 0 | 43 | 60) {
            break;
        }
        let Some([next, len]) = frame[..end].get(transport_at..transport_at + 2) else {
            return Err(FrameError::Truncated);
        };
        protocol = *next;
        transport_at += 8 + usize::from(*len) * 8;
        if transport_at > end {
            return Err(FrameError::Truncated);
        }
    }
    let transport = transport(frame, protocol, transport_at, end);
    Ok(Headers { network: Network::V6, network_at: at, transport, transport_at, end })
}

fn transport(frame: &[u8], protocol: u8, at: usize, end: usize) -> Transport {
    let part = &frame[at..end];
    match protocol {
        PROTOCOL_TCP if part.len() >= TCP => {
            let header_len = usize::from(part[12] >> 4) * 4;
            if (TCP..=part.len()).contains(&header_len) { Transport::Tcp { header_len } } else { Transport::Opaque }
        }
        PROTOCOL_UDP if part.len() >= UDP => Transport::Udp,
        _ => Transport::Opaque,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ethernet(kind: u16, packet: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend(kind.to_be_bytes());
        frame.extend(packet);
        frame
    }

    fn tcp_v4() -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 44, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet.extend([0x50; 24]);
        packet
    }

    #[test]
    fn a_tcp_packet_is_found_behind_tags_and_before_padding() {
        let mut frame = ethernet(TYPE_IPV4, &tcp_v4());
        frame.extend([0; 6]);
        let headers = Headers::parse(&frame).unwrap();
        assert_eq!((headers.network_at, headers.transport_at, headers.end), (14, 34, 58));
        assert_eq!(headers.transport, Transport::Tcp { header_len: 20 });

        let mut tagged = vec![0; 12];
        tagged.extend([0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 0x08, 0x00]);
        tagged.extend(tcp_v4());
        assert_eq!(Headers::parse(&tagged).unwrap().transport_at, 42);
    }

    #[test]
    fn fragments_and_unknown_protocols_are_opaque() {
        for (at, value) in [(6, 0x20), (7, 1), (6, 0x80), (9, 132)] {
            let mut packet = tcp_v4();
            packet[at] = value;
            assert_eq!(Headers::parse(&ethernet(TYPE_IPV4, &packet)).unwrap().transport, Transport::Opaque, "{at}");
        }
        assert_eq!(Headers::parse(&ethernet(0x0806, &[0; 28])).unwrap().network, Network::Other);
    }

    #[test]
    fn extension_headers_of_ipv6_are_looked_through() {
        let mut packet = vec![0x60, 0, 0, 0, 0, 36, 0, 64];
        packet.extend([0; 32]);
        packet.extend([6, 0, 1, 4, 0, 0, 0, 0, 0x50]);
        packet.extend([0x50; 27]);
        let headers = Headers::parse(&ethernet(TYPE_IPV6, &packet)).unwrap();
        assert_eq!(headers.transport_at, 14 + 48);
        assert_eq!(headers.transport, Transport::Tcp { header_len: 20 });
        packet[40] = 44;
        assert_eq!(Headers::parse(&ethernet(TYPE_IPV6, &packet)).unwrap().transport, Transport::Opaque);
    }

    #[test]
    fn headers_that_promise_too_much_are_refused() {
        let frame = ethernet(TYPE_IPV4, &tcp_v4());
        for len in 0..frame.len() {
            assert_eq!(Headers::parse(&frame[..len]), Err(FrameError::Truncated), "{len}");
        }
        let mut odd = tcp_v4();
        odd[0] = 0x44;
        assert_eq!(Headers::parse(&ethernet(TYPE_IPV4, &odd)), Err(FrameError::Impossible));
    }

    proptest! {
        #[test]
        fn no_frame_makes_it_panic_and_all_offsets_are_inside(
            mut frame in prop::collection::vec(any::<u8>(), 0..200), kind in prop::sample::select(vec![0x0800_u16, 0x86dd, 0x8100]),
            version in prop::sample::select(vec![0x45_u8, 0x46, 0x60]), len in 0_u16..200, protocol in prop::sample::select(vec![0_u8, 6, 17, 43, 60]),
        ) {
            if frame.len() > 40 {
                frame[12..14].copy_from_slice(&kind.to_be_bytes());
                frame[14] = version;
                let at = if version == 0x60 { 18 } else { 16 };
                frame[at..at + 2].copy_from_slice(&len.to_be_bytes());
                frame[if version == 0x60 { 20 } else { 23 }] = protocol;
            }
            if let Ok(headers) = Headers::parse(&frame) {
                prop_assert!(headers.network_at <= headers.transport_at && headers.transport_at <= headers.end && headers.end <= frame.len());
                if let Transport::Tcp { header_len } = headers.transport {
                    prop_assert!(headers.transport_at + header_len <= headers.end);
                }
                let _ = headers.pseudo_sum(&frame, 6, headers.end - headers.transport_at);
            }
        }
    }
}
