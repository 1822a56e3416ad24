//! Taking a frame apart as far as the judgement needs: Ethernet, ARP, IPv4, IPv6 with one option header, UDP, TCP, ICMPv6. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const PROTOCOL_HOP_BY_HOP: u8 = 0;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
const PROTOCOL_ICMPV6: u8 = 58;
const FLAG_SYN: u8 = 0x02;

/// What a frame carries.
#[derive(Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    Arp,
    Icmpv6 {
        kind: u8,
    },
    Udp {
        flow: Flow,
        payload: &'a [u8],
    },
    Tcp {
        flow: Flow,
        segment: Segment<'a>,
    },
    /// Something else, in words.
    Other(String),
}

/// A part of a TCP stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Of its first byte, or of the SYN.
    pub sequence: u32,
    /// Whether it begins the stream.
    pub syn: bool,
    pub payload: &'a [u8],
}

/// Who speaks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    pub source: (IpAddr, u16),
    pub destination: (IpAddr, u16),
}

impl Flow {
    /// Whether either end has this port.
    pub fn has_port(&self, port: u16) -> bool {
        self.source.1 == port || self.destination.1 == port
    }
}

impl std::fmt::Display for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [source, destination] = [self.source, self.destination].map(|(address, port)| std::net::SocketAddr::new(address, port));
        write!(f, "{source} to {destination}")
    }
}

/// Takes a frame apart; what is cut short or unknown is `Other`.
pub fn parse(frame: &[u8]) -> Packet<'_> {
    parse_ethernet(frame).unwrap_or_else(|| Packet::Other(format!("a frame of {} bytes that is cut short", frame.len())))
}

fn parse_ethernet(frame: &[u8]) -> Option<Packet<'_>> {
    let body = frame.get(14..)?;
    Some(match u16_at(frame, 12)? {
        ETHERTYPE_ARP if body.len() >= 28 => Packet::Arp,
        ETHERTYPE_IPV4 => parse_ipv4(body)?,
        ETHERTYPE_IPV6 => parse_ipv6(body)?,
        ethertype => Packet::Other(format!("Ethernet type {ethertype:#06x}")),
    })
}

fn parse_ipv4(packet: &[u8]) -> Option<Packet<'_>> {
    let header_length = usize::from(packet.first()? & 0x0f) * 4;
    let total = usize::from(u16_at(packet, 2)?);
    // A merged packet of more than 64 KiB has no length (linux/ip.h, iph_totlen).
    let body = packet.get(header_length.max(20)..if total == 0 { packet.len() } else { total })?;
    let source = IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(12..16)?).ok()?));
    let destination = IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(16..20)?).ok()?));
    // More fragments, or an offset.
    if u16_at(packet, 6)? & 0x3fff != 0 {
        return Some(Packet::Other(format!("an IPv4 fragment from {source} to {destination}")));
    }
    parse_transport(*packet.get(9)?, source, destination, body)
}

fn parse_ipv6(packet: &[u8]) -> Option<Packet<'_>> {
    let length = usize::from(u16_at(packet, 4)?);
    let mut body = packet.get(40..if length == 0 { packet.len() } else { 40 + length })?;
    let source = IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(8..24)?).ok()?));
    let destination = IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(24..40)?).ok()?));
    let mut protocol = *packet.get(6)?;
    // Multicast listener reports come behind a router alert option (RFC 3810, section 5).
    if protocol == PROTOCOL_HOP_BY_HOP {
        protocol = *body.first()?;
        body = body.get((usize::from(*body.get(1)?) + 1) * 8..)?;
    }
    parse_transport(protocol, source, destination, body)
}

fn parse_transport(protocol: u8, source: IpAddr, destination: IpAddr, body: &[u8]) -> Option<Packet<'_>> {
    let flow = |body: &[u8]| Some(Flow { source: (source, u16_at(body, 0)?), destination: (destination, u16_at(body, 2)?) });
    Some(match protocol {
        PROTOCOL_UDP => Packet::Udp { flow: flow(body)?, payload: body.get(8..)? },
        PROTOCOL_TCP => {
            let header_length = usize::from(body.get(12)? >> 4) * 4;
            let sequence = u32::from_be_bytes(body.get(4..8)?.try_into().ok()?);
            let syn = body.get(13)? & FLAG_SYN != 0;
            let segment = Segment { sequence, syn, payload: body.get(header_length.max(20)..)? };
            Packet::Tcp { flow: flow(body)?, segment }
        }
        PROTOCOL_ICMPV6 if source.is_ipv6() => Packet::Icmpv6 { kind: *body.first()? },
        other => Packet::Other(format!("IP protocol {other} from {source} to {destination}")),
    })
}

fn u16_at(bytes: &[u8], position: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(position..position + 2)?.try_into().ok()?))
}
