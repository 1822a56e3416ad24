//! Against captures of the real kernel and of wireguard-go; `golden/capture.sh` makes them.

use std::{net::Ipv4Addr, ops::Range, path::Path};

use rcon_packet::{
    frame::{Headers, Network, Transport, number16},
    merge::Merger,
    segment::Segments,
    virtio::{Gso, VnetHeader},
    vxlan::{self, Encapsulation, OVERHEAD},
    wireguard::{DATA_HEADER, DATA_TAG, Message, padded},
};
use rcon_types::Vni;

/// The packets of a capture in the classic format of tcpdump, little endian.
fn capture(name: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name).with_extension("pcap");
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes[..4], 0xa1b2_c3d4_u32.to_le_bytes(), "{}", path.display());
    let mut packets = Vec::new();
    let mut rest = &bytes[24..];
    while let Some((header, body)) = rest.split_first_chunk::<16>() {
        let len = u32::from_le_bytes(header[8..12].try_into().unwrap()) as usize;
        packets.push(body[..len].to_vec());
        rest = &body[len..];
    }
    assert!(!packets.is_empty());
    packets
}

fn headers_len(frame: &[u8]) -> usize {
    let headers = Headers::parse(frame).unwrap();
    match headers.transport {
        Transport::Tcp { header_len } => headers.transport_at + header_len,
        Transport::Udp => headers.transport_at + 8,
        Transport::Opaque => panic!("neither TCP nor UDP"),
    }
}

/// How the kernel describes such a frame to a TAP.
fn vnet_of(frame: &[u8], gso: Gso, segment_size: usize) -> VnetHeader {
    let headers = Headers::parse(frame).unwrap();
    let field = if gso == Gso::Udp { 6 } else { 16 };
    let whole = frame.len() - headers_len(frame) <= segment_size;
    VnetHeader {
        gso: if whole { Gso::None } else { gso },
        checksum: Some((u16::try_from(headers.transport_at).unwrap(), field)),
        header_len: 0,
        segment_size: u16::try_from(segment_size).unwrap(),
    }
}

/// Cuts every frame of a capture as the kernel was asked to; which came from which.
fn cut(name: &str, gso: Gso, segment_size: usize) -> Vec<Vec<Vec<u8>>> {
    let one = |frame: &Vec<u8>| {
        let segments = Segments::plan(&vnet_of(frame, gso, segment_size), frame).unwrap();
        let write = |index| {
            let mut out = vec![0; segments.size(index)];
            segments.write(index, &mut out);
            out
        };
        (0..segments.count()).map(write).collect()
    };
    capture(name).iter().map(one).collect()
}

/// The largest payload of a capture, which is the size that the kernel has cut to.
fn segment_size(name: &str) -> usize {
    capture(name).iter().map(|frame| frame.len() - headers_len(frame)).max().unwrap()
}

#[test]
fn tcp_is_cut_to_the_kernels_bytes() {
    for (version, gso) in [(4, Gso::TcpV4), (6, Gso::TcpV6)] {
        let kernel = capture(&format!("tcp{version}-cut"));
        let ours = cut(&format!("tcp{version}-whole"), gso, segment_size(&format!("tcp{version}-cut")));
        assert!(ours.iter().any(|segments| segments.len() > 3), "a super-frame is in the capture");
        let ours: Vec<Vec<u8>> = ours.into_iter().flatten().collect();
        assert_eq!(ours.len(), kernel.len());
        for (ours, kernel) in ours.iter().zip(&kernel) {
            assert_eq!(ours, kernel, "IPv{version}");
        }
    }
}

#[test]
fn udp_is_cut_to_the_kernels_bytes() {
    let ours: Vec<Vec<u8>> = cut("udp-whole", Gso::Udp, 500).into_iter().flatten().collect();
    assert_eq!(ours, capture("udp-cut"));
}

#[test]
fn what_the_kernel_has_cut_is_merged_to_the_kernels_frame() {
    for (version, gso) in [(4, Gso::TcpV4), (6, Gso::TcpV6)] {
        let size = segment_size(&format!("tcp{version}-cut"));
        let mut kernel = capture(&format!("tcp{version}-cut")).into_iter();
        for whole in capture(&format!("tcp{version}-whole")) {
            let payload = whole.len() - headers_len(&whole);
            let segments: Vec<Vec<u8>> = kernel.by_ref().take(payload.div_ceil(size).max(1)).collect();
            let buffer = segments.concat();
            let mut merger = Merger::new();
            let mut at = 0;
            for segment in &segments {
                merger.push(0, &buffer, at..at + segment.len());
                at += segment.len();
            }
            let outputs = merger.finish(&buffer);
            assert_eq!(outputs.len(), 1);
            let mut bytes = outputs[0].header().to_vec();
            outputs[0].slices().iter().for_each(|slice: &Range<usize>| bytes.extend(&buffer[slice.clone()]));
            let (vnet, frame) = VnetHeader::parse(&bytes).unwrap();
            if segments.len() > 1 {
                // The kernel's own frame still has only the pseudo-header in its checksum, as ours has.
                assert_eq!(frame, whole);
                assert_eq!((vnet.gso, usize::from(vnet.segment_size)), (gso, size));
                assert_eq!(vnet.checksum, vnet_of(&whole, gso, size).checksum);
            } else {
                assert_eq!((vnet, frame), (VnetHeader::default(), &segments[0][..]));
            }
        }
    }
}

#[test]
fn frames_of_kernel_vxlan_are_taken_out_whole() {
    for (name, checksums) in [("vxlan", false), ("vxlan-sum", true)] {
        let inner = capture(&format!("{name}-inner"));
        let mut found = 0;
        for outer in capture(&format!("{name}-outer")) {
            let packet = &outer[14..];
            let out = vxlan::decapsulate(packet).unwrap();
            assert_eq!((out.source, out.destination), (Ipv4Addr::new(100, 96, 0, 1), Ipv4Addr::new(100, 96, 0, 2)));
            assert_eq!(out.vni, Vni::FIRST);
            assert_eq!(number16(packet, 26) != 0, checksums);
            found += usize::from(inner.iter().any(|frame| same_but_checksum(frame, &packet[out.frame.clone()])));
        }
        assert!(found >= 5, "{name}: {found} of {}", inner.len());
    }
}

/// On its own device the kernel shows frames whose checksum is still open.
fn same_but_checksum(a: &[u8], b: &[u8]) -> bool {
    let headers = Headers::parse(b).unwrap();
    let field = if headers.transport == Transport::Udp { headers.transport_at + 6 } else { b.len() };
    let masked = |bytes: &[u8]| -> Vec<u8> {
        bytes.iter().enumerate().map(|(at, byte)| if (field..field + 2).contains(&at) { 0 } else { *byte }).collect()
    };
    masked(a) == masked(b)
}

#[test]
fn frames_are_put_into_the_kernels_vxlan() {
    for outer in capture("vxlan-outer") {
        let kernel = &outer[14..];
        let out = vxlan::decapsulate(kernel).unwrap();
        let mut ours = [0; OVERHEAD];
        let len = u16::try_from(out.frame.len()).unwrap();
        Encapsulation::new(out.source, out.destination, out.vni).write(&mut ours, number16(kernel, 20), len);
        for at in 0..OVERHEAD {
            // Identification, "don't fragment", and with those the checksum are ours; a lonely hop is enough for a group's TTL.
            if !matches!(at, 4..=7 | 8 | 10 | 11) {
                assert_eq!(ours[at], kernel[at], "byte {at}");
            }
        }
        assert_eq!(Headers::parse(&[&[0; 12][..], &[8, 0], &ours, &kernel[OVERHEAD..]].concat()).unwrap().network, Network::V4);
    }
}

#[test]
fn messages_of_wireguard_go_have_the_lengths_that_we_expect() {
    let inner = capture("wireguard-inner");
    let data: Vec<usize> = capture("wireguard-outer")
        .iter()
        .map(|frame| &frame[42..])
        .filter(|message| matches!(Message::of(message).expect("each is a WireGuard message"), Message::Data { .. }))
        .map(<[u8]>::len)
        .filter(|len| *len > DATA_HEADER + DATA_TAG)
        .collect();
    // The last ones; the first packet waited for the handshake.
    let expected: Vec<usize> = inner.iter().map(|packet| DATA_HEADER + padded(packet.len(), 1420) + DATA_TAG).collect();
    let common = expected.len().min(data.len());
    assert!(common >= 8);
    assert_eq!(data[data.len() - common..], expected[expected.len() - common..]);
}
