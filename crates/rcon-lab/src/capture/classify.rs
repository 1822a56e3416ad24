//! What a frame is allowed to be on the fabric of a cluster, and what it is. Pure.

use std::collections::{BTreeMap, HashMap};

use super::Recording;
use super::frame::{Direction, Frame, SegmentSize};
use super::packet::{self, Flow, Packet, Segment};
use super::tls::TlsStream;

/// ICMPv6 types (RFC 4861, section 4): router and neighbour solicitations and advertisements, redirect.
const NEIGHBOUR_DISCOVERY: std::ops::RangeInclusive<u8> = 133..=137;
/// ICMPv6 types of multicast listeners (RFC 2710, section 3, and RFC 3810, section 5).
const MULTICAST_LISTENER: [u8; 4] = [130, 131, 132, 143];
/// Offending frames that a verdict describes; all are counted.
const MOST_DESCRIBED: usize = 20;

/// The ports of a cluster's own traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// TCP, TLS inside.
    pub control: u16,
    /// UDP, WireGuard inside.
    pub encrypted: u16,
}

/// What a frame is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// Who has this IPv4 address?
    Arp,
    /// The same for IPv6.
    NeighbourDiscovery,
    /// Membership of IPv6 multicast groups.
    MulticastListener,
    /// A segment of the control connections without payload.
    ControlEmpty,
    /// A segment of the control connections that belongs to TLS records.
    ControlTls,
    /// WireGuard messages; the type of the first (1 to 4).
    WireGuard(u8),
    /// Anything else, in words.
    Other(String),
}

/// What a recording was found to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How many frames there are of each class.
    pub counts: BTreeMap<&'static str, usize>,
    /// What should not have been there, in words; of many the first.
    pub offences: Vec<String>,
    /// How many frames should not have been there, lost ones included.
    pub offending: usize,
}

/// Judges frames one after the other.
#[derive(Debug)]
pub struct Classifier {
    ports: Ports,
    streams: HashMap<(String, Direction, Flow), TlsStream>,
}

impl Default for Ports {
    fn default() -> Self {
        Self { control: 2377, encrypted: 51820 }
    }
}

impl Class {
    fn name(&self) -> &'static str {
        match self {
            Self::Arp => "ARP",
            Self::NeighbourDiscovery => "neighbour discovery",
            Self::MulticastListener => "multicast listener",
            Self::ControlEmpty => "control, empty",
            Self::ControlTls => "control, TLS",
            Self::WireGuard(1) => "WireGuard initiation",
            Self::WireGuard(2) => "WireGuard response",
            Self::WireGuard(3) => "WireGuard cookie",
            Self::WireGuard(_) => "WireGuard data",
            Self::Other(_) => "other",
        }
    }
}

impl Classifier {
    /// Begins with no connection known.
    pub fn new(ports: Ports) -> Self {
        Self { ports, streams: HashMap::new() }
    }

    /// Judges a whole recording.
    pub(super) fn judge(ports: Ports, recording: &Recording) -> Verdict {
        let mut classifier = Self::new(ports);
        let mut verdict = Verdict::default();
        for frame in &recording.frames {
            let class = classifier.classify(frame);
            *verdict.counts.entry(class.name()).or_default() += 1;
            if let Class::Other(what) = class {
                verdict.offend(1, format!("{} {}: {what}", if frame.direction == Direction::FromHost { "from" } else { "to" }, frame.port));
            }
        }
        for ((port, _, flow), stream) in classifier.streams.iter().filter(|(_, stream)| stream.unchecked() > 0) {
            verdict.offend(
                1,
                format!("{port}: {} bytes of {flow} could not be checked, what is before them was not seen", stream.unchecked()),
            );
        }
        if recording.lost > 0 {
            verdict.offend(recording.lost as usize, format!("{} frames were lost by the capture", recording.lost));
        }
        verdict
    }

    /// Says what the frame is. Frames of one connection are to be given in the order they were seen.
    pub fn classify(&mut self, frame: &Frame) -> Class {
        match packet::parse(&frame.bytes) {
            Packet::Arp => Class::Arp,
            Packet::Icmpv6 { kind } if NEIGHBOUR_DISCOVERY.contains(&kind) => Class::NeighbourDiscovery,
            Packet::Icmpv6 { kind } if MULTICAST_LISTENER.contains(&kind) => Class::MulticastListener,
            Packet::Icmpv6 { kind } => Class::Other(format!("ICMPv6 type {kind}")),
            Packet::Udp { flow, payload } if flow.has_port(self.ports.encrypted) => wireguard(frame, &flow, payload),
            Packet::Udp { flow, payload } => Class::Other(format!("UDP {flow}, {} bytes", payload.len())),
            Packet::Tcp { flow, segment } if flow.has_port(self.ports.control) => self.control(frame, flow, segment),
            Packet::Tcp { flow, segment } => Class::Other(format!("TCP {flow}, {} bytes", segment.payload.len())),
            Packet::Other(what) => Class::Other(what),
        }
    }

    fn control(&mut self, frame: &Frame, flow: Flow, Segment { sequence, syn, payload }: Segment<'_>) -> Class {
        let key = (frame.port.clone(), frame.direction, flow);
        if syn && !self.streams.get(&key).is_some_and(|stream| stream.began_with(sequence)) {
            self.streams.insert(key.clone(), TlsStream::new(sequence));
        }
        if payload.is_empty() {
            return Class::ControlEmpty;
        }
        let Some(stream) = self.streams.get_mut(&key) else {
            return Class::Other(format!("TCP {flow}: its beginning was not seen"));
        };
        // Data may come with the SYN, which takes a number of its own.
        match stream.take(if syn { sequence.wrapping_add(1) } else { sequence }, payload) {
            Ok(()) => Class::ControlTls,
            Err(why) => Class::Other(format!("TCP {flow}: {why}")),
        }
    }
}

impl Verdict {
    /// Whether nothing was there that should not have been.
    pub fn is_clean(&self) -> bool {
        self.offending == 0
    }

    fn offend(&mut self, frames: usize, what: String) {
        self.offending += frames;
        if self.offences.len() < MOST_DESCRIBED {
            self.offences.push(what);
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counts: Vec<String> = self.counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
        f.write_str(&counts.join(", "))
    }
}

/// Each datagram is one message, whose type and length are told by the paper's section 5.4.
fn wireguard(frame: &Frame, flow: &Flow, payload: &[u8]) -> Class {
    let size = match frame.segments {
        Some(SegmentSize::Udp(size)) if size > 0 => usize::from(size),
        _ => payload.len().max(1),
    };
    let mut kinds = payload.chunks(size).map(message_type);
    match kinds.next().flatten() {
        Some(first) if kinds.all(|kind| kind.is_some()) => Class::WireGuard(first),
        _ => Class::Other(format!("UDP {flow}, {} bytes that are no WireGuard message", payload.len())),
    }
}

/// The type of a whole message: initiation, response, cookie reply, transport data with at least its header and tag.
fn message_type(message: &[u8]) -> Option<u8> {
    let [kind @ 1..=4, 0, 0, 0, ..] = *message else { return None };
    let fits = match kind {
        1 => message.len() == 148,
        2 => message.len() == 92,
        3 => message.len() == 64,
        _ => message.len() >= 32,
    };
    fits.then_some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(protocol: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![2; 12];
        bytes.extend([0x08, 0x00, 0x45, 0]);
        bytes.extend((20 + body.len() as u16).to_be_bytes());
        bytes.extend([0, 0, 0x40, 0, 64, protocol, 0, 0, 10, 99, 0, 11, 10, 99, 0, 12]);
        bytes.extend(body);
        bytes
    }

    fn ipv6(next: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![2; 12];
        bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend([next, 255]);
        bytes.extend([0xfe; 32]);
        bytes.extend(body);
        bytes
    }

    fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
        let mut body = [port.to_be_bytes(), port.to_be_bytes(), (8 + payload.len() as u16).to_be_bytes(), [0; 2]].concat();
        body.extend(payload);
        ipv4(17, &body)
    }

    fn tcp(port: u16, sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut body = [40000_u16.to_be_bytes(), port.to_be_bytes()].concat();
        body.extend(sequence.to_be_bytes());
        body.extend([0, 0, 0, 0, 0x50, flags, 1, 0, 0, 0, 0, 0]);
        body.extend(payload);
        ipv4(6, &body)
    }

    fn frame(bytes: Vec<u8>) -> Frame {
        Frame { port: "h1".into(), direction: Direction::FromHost, time: Default::default(), segments: None, bytes }
    }

    fn class(bytes: Vec<u8>) -> Class {
        Classifier::new(Ports::default()).classify(&frame(bytes))
    }

    fn message(kind: u8, length: usize) -> Vec<u8> {
        let mut message = vec![kind, 0, 0, 0];
        message.resize(length, 7);
        message
    }

    #[test]
    fn neighbours_and_listeners_are_known_and_a_ping_is_not() {
        let mut arp = vec![0; 42];
        arp[12..14].copy_from_slice(&[0x08, 0x06]);
        assert_eq!(class(arp), Class::Arp);
        assert_eq!(class(ipv6(58, &[135, 0, 0, 0])), Class::NeighbourDiscovery);
        assert_eq!(class(ipv6(0, &[58, 0, 5, 2, 0, 0, 1, 0, 143, 0])), Class::MulticastListener);
        assert_eq!(class(ipv6(58, &[128, 0])), Class::Other("ICMPv6 type 128".into()));
        assert!(matches!(class(ipv4(1, &[8, 0, 0, 0])), Class::Other(_)));
    }

    #[test]
    fn wireguard_messages_have_the_lengths_of_their_types() {
        for (kind, length) in [(1, 148), (2, 92), (3, 64), (4, 32), (4, 1452)] {
            assert_eq!(class(udp(51820, &message(kind, length))), Class::WireGuard(kind));
        }
        for (kind, length) in [(1, 147), (2, 93), (3, 63), (4, 31), (5, 100), (0, 100)] {
            assert!(matches!(class(udp(51820, &message(kind, length))), Class::Other(_)), "{kind} {length}");
        }
        assert!(matches!(class(udp(4789, &message(4, 100))), Class::Other(_)));
        assert!(matches!(class(udp(51820, &[])), Class::Other(_)));
    }

    #[test]
    fn each_datagram_of_a_batch_is_looked_at() {
        let mut good = frame(udp(51820, &[message(4, 96), message(4, 96), message(4, 48)].concat()));
        good.segments = Some(SegmentSize::Udp(96));
        let mut bad = frame(udp(51820, &[message(4, 96), vec![0x45; 96]].concat()));
        bad.segments = Some(SegmentSize::Udp(96));
        let mut classifier = Classifier::new(Ports::default());
        assert_eq!(classifier.classify(&good), Class::WireGuard(4));
        assert!(matches!(classifier.classify(&bad), Class::Other(_)));
    }

    #[test]
    fn control_connections_are_tls_from_their_first_byte_on() {
        let hello = [vec![22, 3, 1, 0, 4], vec![9; 4]].concat();
        let mut classifier = Classifier::new(Ports::default());
        assert_eq!(classifier.classify(&frame(tcp(2377, 99, 0x02, &[]))), Class::ControlEmpty);
        assert_eq!(classifier.classify(&frame(tcp(2377, 100, 0x10, &hello))), Class::ControlTls);
        assert!(matches!(classifier.classify(&frame(tcp(2377, 109, 0x10, b"plain text"))), Class::Other(_)));
        assert!(matches!(class(tcp(2377, 100, 0x10, &hello)), Class::Other(_)), "the SYN was not seen");
        assert!(matches!(class(tcp(80, 100, 0x02, &[])), Class::Other(_)));
    }

    #[test]
    fn frames_cut_short_anywhere_are_named_and_nothing_panics() {
        for whole in [tcp(2377, 1, 0x10, b"x"), udp(51820, &message(4, 40)), ipv6(0, &[58, 0, 5, 2, 0, 0, 1, 0, 143, 0])] {
            for length in 0..whole.len() {
                class(whole[..length].to_vec());
            }
        }
        assert!(matches!(class(vec![1, 2, 3]), Class::Other(_)));
    }

    #[test]
    fn a_fragment_is_not_judged_by_what_it_seems_to_carry() {
        let mut bytes = udp(51820, &message(4, 64));
        bytes[20] = 0x20;
        assert!(matches!(class(bytes), Class::Other(_)));
    }

    #[test]
    fn a_recording_with_losses_is_not_clean() {
        let verdict = Recording { frames: Vec::new(), lost: 2 }.judge(Ports::default());
        assert!(!verdict.is_clean());
        assert_eq!(verdict.offending, 2);
    }
}
