//! Cutting what a TAP hands over into packets of the wire.
//!
//! [`Segments::plan`] looks at a frame once; [`Segments::write`] then puts each packet at its final place, wherever the caller
//! wants it, with lengths, identification, sequence number, flags and checksums as the kernel's own segmentation has them
//! (`tcp_gso_segment` and `__udp_gso_segment` in `net/ipv4/`). A frame that is one packet is a plan of one.

use thiserror::Error;

use crate::{
    checksum::{Sum, never_zero},
    frame::{FrameError, Headers, Network, PROTOCOL_TCP, PROTOCOL_UDP, Transport, UDP, number16, number32},
    virtio::{Gso, VnetHeader},
};

/// Where the checksum lies in a TCP header.
pub const TCP_CHECKSUM: usize = 16;
/// Where the checksum lies in a UDP header.
pub const UDP_CHECKSUM: usize = 6;
/// Where the flags lie in a TCP header.
pub(crate) const TCP_FLAGS: usize = 13;
pub(crate) const FIN: u8 = 0x01;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const CWR: u8 = 0x80;

/// Why a frame cannot be cut or completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SegmentError {
    /// Its headers are wrong.
    #[error("the frame to cut is damaged")]
    Frame(#[source] FrameError),
    /// The kind of segmentation does not fit what the frame is.
    #[error("the frame is not of the kind that it is to be cut as")]
    Mismatch,
    /// No payload in a segment, or nothing to cut.
    #[error("the size of the segments is impossible")]
    Size,
    /// The checksum would lie outside the frame.
    #[error("the checksum to complete lies outside the frame")]
    Checksum,
}

/// What has to be done to each segment.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// Nothing: it is one packet, at most with a checksum to complete.
    Whole { checksum: Option<(usize, usize)> },
    /// TCP: the headers, the first sequence number, and the pseudo-header's sum without the length.
    Tcp { headers: Headers, sequence: u32, pseudo: Sum },
    /// UDP, the same without a sequence number.
    Udp { headers: Headers, pseudo: Sum },
}

/// A frame and how it is cut.
#[derive(Debug, Clone, Copy)]
pub struct Segments<'a> {
    frame: &'a [u8],
    header_len: usize,
    segment_size: usize,
    count: usize,
    cut: Cut,
}

impl<'a> Segments<'a> {
    /// How to cut `frame`, which came with `vnet`. Only the kind, the segment size and the checksum's place are taken from
    /// there: the length of the headers is computed, since the kernel's is wrong for forwarded frames.
    ///
    /// # Errors
    /// When the frame cannot be what `vnet` says it is.
    pub fn plan(vnet: &VnetHeader, frame: &'a [u8]) -> Result<Self, SegmentError> {
        match vnet.gso {
            Gso::None => Self::whole(vnet, frame),
            Gso::TcpV4 | Gso::TcpV6 | Gso::Udp => Self::cut(vnet, frame),
        }
    }

    fn whole(vnet: &VnetHeader, frame: &'a [u8]) -> Result<Self, SegmentError> {
        let checksum = match vnet.checksum {
            None => None,
            Some((start, offset)) => {
                let (start, field) = (usize::from(start), usize::from(start) + usize::from(offset));
                if field + 2 > frame.len() {
                    return Err(SegmentError::Checksum);
                }
                Some((start, field))
            }
        };
        Ok(Self { frame, header_len: frame.len(), segment_size: 0, count: 1, cut: Cut::Whole { checksum } })
    }

    fn cut(vnet: &VnetHeader, frame: &'a [u8]) -> Result<Self, SegmentError> {
        let headers = Headers::parse(frame).map_err(SegmentError::Frame)?;
        let transport_len = headers.end - headers.transport_at;
        let pseudo = |protocol| headers.pseudo_sum(frame, protocol, 0);
        let (header_len, cut) = match (vnet.gso, headers.network, headers.transport) {
            (Gso::TcpV4, Network::V4, Transport::Tcp { header_len }) | (Gso::TcpV6, Network::V6, Transport::Tcp { header_len }) => {
                let sequence = number32(frame, headers.transport_at + 4);
                (header_len, Cut::Tcp { headers, sequence, pseudo: pseudo(PROTOCOL_TCP) })
            }
            (Gso::Udp, Network::V4 | Network::V6, Transport::Udp) => (UDP, Cut::Udp { headers, pseudo: pseudo(PROTOCOL_UDP) }),
            _ => return Err(SegmentError::Mismatch),
        };
        let segment_size = usize::from(vnet.segment_size);
        if segment_size == 0 || transport_len <= header_len || headers.end != frame.len() {
            return Err(SegmentError::Size);
        }
        let count = (transport_len - header_len).div_ceil(segment_size);
        Ok(Self { frame, header_len: headers.transport_at + header_len, segment_size, count, cut })
    }

    /// How many packets it becomes; at least one.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Bytes of packet number `index`, Ethernet header included.
    #[must_use]
    pub fn size(&self, index: usize) -> usize {
        let payload = self.payload(index);
        self.header_len + payload.len()
    }

    /// Bytes of the largest packet.
    #[must_use]
    pub fn largest(&self) -> usize {
        self.size(0)
    }

    /// Bytes of the Ethernet header with its tags, so that `largest() - link_header()` is what an MTU limits.
    #[must_use]
    pub fn link_header(&self) -> usize {
        match self.cut {
            Cut::Tcp { headers, .. } | Cut::Udp { headers, .. } => headers.network_at,
            Cut::Whole { .. } => Headers::parse(self.frame).map_or(crate::frame::ETHERNET, |headers| headers.network_at),
        }
    }

    fn payload(&self, index: usize) -> &'a [u8] {
        let payload = &self.frame[self.header_len..];
        let start = index.saturating_mul(self.segment_size).min(payload.len());
        let end = start.saturating_add(self.segment_size).min(payload.len());
        &payload[start..end]
    }

    /// Writes packet number `index` to `out`, which has exactly its [`size`](Self::size).
    ///
    /// # Panics
    /// When `out` has another length.
    pub fn write(&self, index: usize, out: &mut [u8]) {
        let (header, payload) = out.split_at_mut(self.header_len);
        header.copy_from_slice(&self.frame[..self.header_len]);
        payload.copy_from_slice(self.payload(index));
        match self.cut {
            Cut::Whole { checksum: None } => {}
            Cut::Whole { checksum: Some((start, field)) } => {
                let checksum = never_zero(Sum::of(&out[start..]).checksum());
                out[field..field + 2].copy_from_slice(&checksum);
            }
            Cut::Tcp { headers, sequence, pseudo } => {
                fix_network(&headers, index, out);
                self.fix_tcp(index, sequence, &mut out[headers.transport_at..]);
                fix_checksum(TCP_CHECKSUM, pseudo, &mut out[headers.transport_at..]);
            }
            Cut::Udp { headers, pseudo } => {
                fix_network(&headers, index, out);
                let transport = &mut out[headers.transport_at..];
                let len = length16(transport.len());
                transport[4..6].copy_from_slice(&len.to_be_bytes());
                fix_checksum(UDP_CHECKSUM, pseudo, transport);
            }
        }
    }

    /// Sequence number and flags: FIN and PSH belong to the last packet, CWR to the first (RFC 3168 §6.1.2).
    fn fix_tcp(&self, index: usize, first: u32, transport: &mut [u8]) {
        // At most 65,535 bytes into the frame.
        let sequence = first.wrapping_add((index * self.segment_size) as u32);
        transport[4..8].copy_from_slice(&sequence.to_be_bytes());
        if index + 1 < self.count {
            transport[TCP_FLAGS] &= !(FIN | PSH);
        }
        if index > 0 {
            transport[TCP_FLAGS] &= !CWR;
        }
    }
}

/// The IP length, identification and header checksum of packet number `index`.
fn fix_network(headers: &Headers, index: usize, out: &mut [u8]) {
    let at = headers.network_at;
    match headers.network {
        Network::V4 => {
            let len = length16(out.len() - at);
            out[at + 2..at + 4].copy_from_slice(&len.to_be_bytes());
            // Wraps as the field does.
            let identification = number16(out, at + 4).wrapping_add(index as u16);
            out[at + 4..at + 6].copy_from_slice(&identification.to_be_bytes());
            out[at + 10..at + 12].fill(0);
            let checksum = Sum::of(&out[at..headers.transport_at]).checksum();
            out[at + 10..at + 12].copy_from_slice(&checksum);
        }
        Network::V6 => {
            let len = length16(out.len() - at - crate::frame::IPV6);
            out[at + 4..at + 6].copy_from_slice(&len.to_be_bytes());
        }
        Network::Other => {}
    }
}

fn fix_checksum(field: usize, pseudo: Sum, transport: &mut [u8]) {
    transport[field..field + 2].fill(0);
    let sum = pseudo.add_number(length16(transport.len())).and(transport);
    transport[field..field + 2].copy_from_slice(&never_zero(sum.checksum()));
}

/// A segment is never longer than the frame it was cut from, whose own 16-bit length was checked.
fn length16(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tcp_frame(v6: bool, options: usize, payload: &[u8], flags: u8) -> Vec<u8> {
        let mut frame = vec![2; 12];
        let tcp_len = 20 + options + payload.len();
        if v6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(u16::try_from(tcp_len).unwrap().to_be_bytes());
            frame.extend([6, 64]);
            frame.extend([0xfd; 32]);
        } else {
            frame.extend([0x08, 0, 0x45, 0]);
            frame.extend(u16::try_from(20 + tcp_len).unwrap().to_be_bytes());
            frame.extend([0xff, 0xfe, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        }
        frame.extend([0, 80, 0x30, 0x39, 0xff, 0xff, 0xff, 0x00, 0, 0, 0, 9]);
        frame.extend([u8::try_from((20 + options) / 4).unwrap() << 4, flags, 1, 0, 0, 0, 0, 0]);
        frame.extend(vec![1; options]);
        frame.extend(payload);
        frame
    }

    fn cut(gso: Gso, size: u16, frame: &[u8]) -> Vec<Vec<u8>> {
        let vnet = VnetHeader { gso, segment_size: size, ..VnetHeader::default() };
        let segments = Segments::plan(&vnet, frame).unwrap();
        let write = |index| {
            let mut out = vec![0xee; segments.size(index)];
            segments.write(index, &mut out);
            out
        };
        (0..segments.count()).map(write).collect()
    }

    fn checksums_hold(frame: &[u8]) -> bool {
        let headers = Headers::parse(frame).unwrap();
        let (at, end) = (headers.transport_at, headers.end);
        let protocol = if headers.transport == Transport::Udp { PROTOCOL_UDP } else { PROTOCOL_TCP };
        let network = headers.network == Network::V6 || Sum::of(&frame[headers.network_at..at]).is_valid();
        network && end == frame.len() && headers.pseudo_sum(frame, protocol, end - at).and(&frame[at..end]).is_valid()
    }

    #[test]
    fn flags_go_where_they_belong_and_numbers_wrap() {
        let frame = tcp_frame(false, 12, &[5; 2500], ACK | PSH | FIN | CWR);
        let segments = cut(Gso::TcpV4, 1000, &frame);
        let flags: Vec<u8> = segments.iter().map(|s| s[34 + TCP_FLAGS]).collect();
        assert_eq!(flags, [ACK | CWR, ACK, ACK | PSH | FIN]);
        let sequences: Vec<u32> = segments.iter().map(|s| number32(s, 38)).collect();
        assert_eq!(sequences, [0xffff_ff00, 0x2e8, 0x6d0]);
        let identifications: Vec<u16> = segments.iter().map(|s| number16(s, 18)).collect();
        assert_eq!(identifications, [0xfffe, 0xffff, 0]);
        assert_eq!(segments[2].len(), 14 + 20 + 32 + 500);
        assert!(segments.iter().all(|s| checksums_hold(s)));
    }

    #[test]
    fn a_checksum_that_was_left_open_is_completed() {
        let mut frame = tcp_frame(true, 0, b"hello", ACK);
        let headers = Headers::parse(&frame).unwrap();
        let partial = headers.pseudo_sum(&frame, 6, headers.end - headers.transport_at).folded();
        frame[54 + 16..54 + 18].copy_from_slice(&partial);
        let vnet = VnetHeader { checksum: Some((54, 16)), ..VnetHeader::default() };
        let segments = Segments::plan(&vnet, &frame).unwrap();
        let mut out = vec![0; segments.size(0)];
        segments.write(0, &mut out);
        assert!(checksums_hold(&out));
        assert_eq!(segments.link_header(), 14);
    }

    #[test]
    fn plans_that_do_not_fit_are_refused() {
        let frame = tcp_frame(false, 0, &[1; 100], ACK);
        let plan = |gso, segment_size, checksum, frame: &[u8]| {
            Segments::plan(&VnetHeader { gso, segment_size, checksum, header_len: 0 }, frame).map(|s| s.count())
        };
        assert_eq!(plan(Gso::TcpV6, 50, None, &frame), Err(SegmentError::Mismatch));
        assert_eq!(plan(Gso::Udp, 50, None, &frame), Err(SegmentError::Mismatch));
        assert_eq!(plan(Gso::TcpV4, 0, None, &frame), Err(SegmentError::Size));
        assert_eq!(plan(Gso::TcpV4, 50, None, &frame[..60]), Err(SegmentError::Frame(FrameError::Truncated)));
        assert_eq!(plan(Gso::None, 0, Some((200, 16)), &frame), Err(SegmentError::Checksum));
        assert_eq!(plan(Gso::None, 0, Some((u16::MAX, u16::MAX)), &frame), Err(SegmentError::Checksum));
        assert_eq!(plan(Gso::TcpV4, 50, None, &frame), Ok(2));
    }

    proptest! {
        #[test]
        fn segments_together_are_the_payload(v6: bool, options in 0_usize..10, payload in prop::collection::vec(any::<u8>(), 1..9000), size in 1_u16..3000) {
            let frame = tcp_frame(v6, options * 4, &payload, ACK | PSH);
            let segments = cut(if v6 { Gso::TcpV6 } else { Gso::TcpV4 }, size, &frame);
            let header_len = frame.len() - payload.len();
            let together: Vec<u8> = segments.iter().flat_map(|s| s[header_len..].to_vec()).collect();
            prop_assert_eq!(together, payload);
            prop_assert!(segments.iter().all(|s| checksums_hold(s)));
        }

        #[test]
        fn datagrams_keep_their_sizes(payload in prop::collection::vec(any::<u8>(), 1..5000), size in 1_u16..1500) {
            let mut frame = tcp_frame(false, 0, &[], ACK)[..34].to_vec();
            frame[16..18].copy_from_slice(&u16::try_from(28 + payload.len()).unwrap().to_be_bytes());
            frame[23] = 17;
            frame.extend([0, 1, 0, 2, 0, 0, 0, 0]);
            frame.extend(&payload);
            let segments = cut(Gso::Udp, size, &frame);
            prop_assert_eq!(segments.len(), payload.len().div_ceil(usize::from(size)));
            prop_assert!(segments.iter().all(|s| checksums_hold(s) && usize::from(number16(s, 38)) == s.len() - 34));
        }

        #[test]
        fn no_frame_makes_it_panic(
            mut frame in prop::collection::vec(any::<u8>(), 0..300), from in 0_usize..80, gso in 0_usize..4,
            checksum: Option<(u8, u8)>, segment_size in 0_u16..400,
        ) {
            let template = tcp_frame(gso == 2, 8, &[3; 150], ACK);
            let keep = from.min(frame.len()).min(template.len());
            frame[..keep].copy_from_slice(&template[..keep]);
            let vnet = VnetHeader {
                gso: [Gso::None, Gso::TcpV4, Gso::TcpV6, Gso::Udp][gso],
                checksum: checksum.map(|(a, b)| (a.into(), b.into())), header_len: 0, segment_size,
            };
            for frame in [&frame[..], &template[..]] {
                if let Ok(segments) = Segments::plan(&vnet, frame) {
                    for index in 0..segments.count() {
                        segments.write(index, &mut vec![0; segments.size(index)]);
                    }
                }
            }
        }
    }
}
