//! Which flow a frame belongs to, as a number.

use crate::frame::{ETHERNET, Headers, Network, Transport};

/// The first port of the range that RFC 7348 §5 recommends for the source of VXLAN packets.
const FIRST_PORT: u16 = 49_152;

/// The UDP source port for a frame: the same for all frames of a flow, spread over 49152–65535.
#[must_use]
pub fn source_port(frame: &[u8]) -> u16 {
    FIRST_PORT | (hash(frame) & 0x3fff)
}

/// A number that is the same for both directions of a flow.
#[must_use]
pub fn symmetric(frame: &[u8]) -> u16 {
    let Ok(headers) = Headers::parse(frame) else { return 0 };
    let addresses = headers.ip_addresses(frame);
    let (one, other) = addresses.split_at(addresses.len() / 2);
    let ports = match headers.transport {
        Transport::Tcp { .. } | Transport::Udp => &frame[headers.transport_at..headers.transport_at + 4],
        Transport::Opaque => &[],
    };
    let (from, to) = ports.split_at(ports.len() / 2);
    let ends = [mix(mix(0, one), from), mix(mix(0, other), to)];
    // The upper bits are the well mixed ones.
    (mix(0, &(ends[0] ^ ends[1]).to_ne_bytes()) >> 48) as u16
}

/// 16 bits that depend on the addresses and, where there are, the ports.
fn hash(frame: &[u8]) -> u16 {
    let state = match Headers::parse(frame) {
        Ok(headers) if headers.network != Network::Other => {
            let state = mix(0, headers.ip_addresses(frame));
            match headers.transport {
                Transport::Tcp { .. } | Transport::Udp => mix(state, &frame[headers.transport_at..headers.transport_at + 4]),
                Transport::Opaque => state,
            }
        }
        _ => mix(0, &frame[..frame.len().min(ETHERNET)]),
    };
    // The upper bits are the well mixed ones.
    (state >> 48) as u16
}

/// Multiply and fold, word by word; the constant is 2^64 divided by the golden ratio.
fn mix(state: u64, bytes: &[u8]) -> u64 {
    bytes
        .chunks(4)
        .fold(state, |state, chunk| {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            let mixed = (state ^ u64::from(u32::from_ne_bytes(word))).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mixed ^ (mixed >> 29)
        })
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn frame(port: u16) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0, 0x45, 0, 0, 28, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend(port.to_be_bytes());
        frame.extend([0, 80, 0, 8, 0, 0]);
        frame
    }

    #[test]
    fn both_directions_of_a_flow_have_one_number() {
        let there = frame(7);
        let mut back = there.clone();
        back[26..30].copy_from_slice(&there[30..34]);
        back[30..34].copy_from_slice(&there[26..30]);
        back[34..36].copy_from_slice(&there[36..38]);
        back[36..38].copy_from_slice(&there[34..36]);
        assert_eq!(symmetric(&there), symmetric(&back));
        let numbers: BTreeSet<u16> = (0..1000).map(|port| symmetric(&frame(port)) % 8).collect();
        assert_eq!(numbers.len(), 8);
        assert_eq!(symmetric(&there[..20]), 0);
    }

    #[test]
    fn a_flow_keeps_its_port_and_flows_are_spread() {
        assert_eq!(source_port(&frame(1)), source_port(&frame(1)));
        let ports: BTreeSet<u16> = (0..1000).map(|port| source_port(&frame(port))).collect();
        assert!(ports.len() > 900, "{}", ports.len());
        assert!(ports.iter().all(|port| *port >= FIRST_PORT));
        for len in 0..40 {
            let _ = source_port(&frame(1)[..len]);
        }
    }
}
