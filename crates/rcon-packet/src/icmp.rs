//! The answer to a frame that is too big for its network: "fragmentation needed" (RFC 1191) or "packet too big" (RFC 8201).
//!
//! As the kernel's own tunnels do on a bridge (`iptunnel_pmtud_check_icmp`), the answer seems to come from the station that the
//! frame was for, so nothing about gateways need be known here.

use crate::{
    checksum::Sum,
    frame::{Headers, IPV4, IPV6, Network, PROTOCOL_ICMP, PROTOCOL_ICMPV6, addresses, number16},
};

/// Most bytes of an answer over IPv4, its headers included (RFC 1812 §4.3.2.3).
const LARGEST_V4: usize = 576;
/// Most bytes of an answer over IPv6 (RFC 4443 §2.4 c).
const LARGEST_V6: usize = 1280;
/// ICMP header with the MTU.
const ICMP: usize = 8;

/// The frame that tells the sender of `frame` that its network carries `mtu` bytes, or `None` where none may be sent: for groups,
/// fragments, ICMP errors, packets that may be fragmented, and what is not IP.
#[must_use]
pub fn too_big(frame: &[u8], mtu: u32) -> Option<Vec<u8>> {
    let (destination, source) = addresses(frame)?;
    if destination.is_multicast() || source.is_multicast() {
        return None;
    }
    let headers = Headers::parse(frame).ok()?;
    let mut answer = Vec::with_capacity(LARGEST_V6 + headers.network_at);
    answer.extend_from_slice(&source.0);
    answer.extend_from_slice(&destination.0);
    answer.extend_from_slice(&frame[12..headers.network_at]);
    let packet = &frame[headers.network_at..headers.end];
    match headers.network {
        Network::V4 => answer_v4(packet, headers.transport_at - headers.network_at, mtu, &mut answer)?,
        Network::V6 => answer_v6(packet, headers.transport_at - headers.network_at, mtu, &mut answer)?,
        Network::Other => return None,
    }
    Some(answer)
}

fn answer_v4(packet: &[u8], header_len: usize, mtu: u32, answer: &mut Vec<u8>) -> Option<()> {
    let may_be_cut = packet[6] & 0x40 == 0;
    let later_fragment = number16(packet, 6) & 0x1fff != 0;
    // Only echo requests and replies are answered; any other ICMP may be an error.
    let icmp = packet[9] == PROTOCOL_ICMP && !matches!(packet.get(header_len), Some(0 | 8));
    let single = |address: &[u8]| address[0] != 0 && address[0] < 224;
    if may_be_cut || later_fragment || icmp || !single(&packet[12..16]) || !single(&packet[16..20]) {
        return None;
    }
    let quote = &packet[..packet.len().min(LARGEST_V4 - IPV4 - ICMP)];
    let len = u16::try_from(IPV4 + ICMP + quote.len()).ok()?;
    let mut header = [0x45, 0xc0, 0, 0, 0, 0, 0x40, 0, 64, PROTOCOL_ICMP, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    header[2..4].copy_from_slice(&len.to_be_bytes());
    header[12..16].copy_from_slice(&packet[16..20]);
    header[16..20].copy_from_slice(&packet[12..16]);
    let checksum = Sum::of(&header).checksum();
    header[10..12].copy_from_slice(&checksum);
    let mut icmp = [3, 4, 0, 0, 0, 0, 0, 0];
    icmp[6..8].copy_from_slice(&u16::try_from(mtu).unwrap_or(u16::MAX).to_be_bytes());
    let checksum = Sum::of(&icmp).and(quote).checksum();
    icmp[2..4].copy_from_slice(&checksum);
    answer.extend_from_slice(&header);
    answer.extend_from_slice(&icmp);
    answer.extend_from_slice(quote);
    Some(())
}

fn answer_v6(packet: &[u8], header_len: usize, mtu: u32, answer: &mut Vec<u8>) -> Option<()> {
    // Types below 128 are errors (RFC 4443 §2.1); extension headers leave the type where the transport starts.
    let icmp_error = packet[6] == PROTOCOL_ICMPV6 && packet.get(header_len).is_none_or(|kind| *kind < 128);
    let (source, destination) = (&packet[8..24], &packet[24..40]);
    if icmp_error || source[0] == 0xff || destination[0] == 0xff || source.iter().all(|byte| *byte == 0) {
        return None;
    }
    let quote = &packet[..packet.len().min(LARGEST_V6 - IPV6 - ICMP)];
    let len = u16::try_from(ICMP + quote.len()).ok()?;
    let mut header = [0; IPV6];
    header[0] = 0x60;
    header[4..6].copy_from_slice(&len.to_be_bytes());
    header[6] = PROTOCOL_ICMPV6;
    header[7] = 64;
    header[8..24].copy_from_slice(destination);
    header[24..40].copy_from_slice(source);
    let mut icmp = [2, 0, 0, 0, 0, 0, 0, 0];
    icmp[4..8].copy_from_slice(&mtu.to_be_bytes());
    let pseudo = Sum::of(&header[8..40]).add_number(len).add_number(u16::from(PROTOCOL_ICMPV6));
    let checksum = pseudo.and(&icmp).and(quote).checksum();
    icmp[2..4].copy_from_slice(&checksum);
    answer.extend_from_slice(&header);
    answer.extend_from_slice(&icmp);
    answer.extend_from_slice(quote);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v4(fragment_flags: u8, protocol: u8, len: u16) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
        frame.extend((20 + len).to_be_bytes());
        frame.extend([0, 1, fragment_flags, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend(vec![9; usize::from(len)]);
        frame
    }

    #[test]
    fn a_big_packet_is_answered_in_the_name_of_its_destination() {
        let frame = v4(0x40, 17, 1480);
        let answer = too_big(&frame, 1370).unwrap();
        assert_eq!(answer.len(), 14 + 576);
        assert_eq!(addresses(&answer), addresses(&frame).map(|(d, s)| (s, d)));
        assert_eq!(&answer[26..34], &[10, 0, 0, 2, 10, 0, 0, 1]);
        assert_eq!(&answer[34..36], &[3, 4]);
        assert_eq!(number16(&answer, 40), 1370);
        assert_eq!(&answer[42..62], &frame[14..34]);
        assert!(Sum::of(&answer[14..34]).is_valid() && Sum::of(&answer[34..]).is_valid());
    }

    #[test]
    fn ipv6_is_answered_up_to_its_minimum_mtu() {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x86, 0xdd, 0x60, 0, 0, 0, 5, 0xb4, 6, 64];
        frame.extend([[0xfd; 16], [0xfc; 16]].concat());
        frame.extend([0x50; 1460]);
        let answer = too_big(&frame, 1370).unwrap();
        assert_eq!(answer.len(), 14 + 1280);
        let headers = Headers::parse(&answer).unwrap();
        let sum = headers.pseudo_sum(&answer, PROTOCOL_ICMPV6, headers.end - headers.transport_at);
        assert!(sum.and(&answer[54..]).is_valid());
        assert_eq!(&answer[54..56], &[2, 0]);
        frame[20] = PROTOCOL_ICMPV6;
        frame[54] = 1;
        assert_eq!(too_big(&frame, 1370), None);
        frame[54] = 128;
        assert!(too_big(&frame, 1370).is_some());
    }

    #[test]
    fn what_must_not_be_answered_is_not() {
        assert_eq!(too_big(&v4(0, 17, 1480), 1370), None, "may be fragmented");
        assert_eq!(too_big(&v4(0x40, 1, 1480), 1370), None, "ICMP of an unknown type");
        let mut group = v4(0x40, 17, 1480);
        group[0] = 1;
        assert_eq!(too_big(&group, 1370), None);
        let mut to_group = v4(0x40, 17, 1480);
        to_group[30] = 224;
        assert_eq!(too_big(&to_group, 1370), None);
        assert_eq!(too_big(&[2; 14], 1370), None);
    }

    proptest! {
        #[test]
        fn no_frame_makes_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..100), keep in 0_usize..40, mtu: u32) {
            let template = v4(0x40, 17, 40);
            let keep = keep.min(bytes.len());
            bytes[..keep].copy_from_slice(&template[..keep]);
            let _ = too_big(&bytes, mtu);
        }
    }
}
