//! Merging is the inverse of segmenting, and refuses what is not.

use proptest::prelude::*;

use super::*;
use crate::segment::{CWR, FIN, Segments};

#[derive(Clone, Copy)]
struct Packet<'a> {
    v6: bool,
    port: u16,
    sequence: u32,
    flags: u8,
    options: &'a [u8],
    payload: &'a [u8],
}

fn frame(p: Packet<'_>) -> Vec<u8> {
    let tcp_len = 20 + p.options.len() + p.payload.len();
    let mut frame = vec![2; 12];
    if p.v6 {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend(length16(tcp_len).to_be_bytes());
        frame.extend([6, 64]);
        frame.extend([0xfd; 32]);
    } else {
        frame.extend([0x08, 0, 0x45, 0]);
        frame.extend(length16(20 + tcp_len).to_be_bytes());
        frame.extend([0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        let checksum = Sum::of(&frame[14..34]).checksum();
        frame[24..26].copy_from_slice(&checksum);
    }
    let at = frame.len();
    frame.extend(p.port.to_be_bytes());
    frame.extend([0x30, 0x39]);
    frame.extend(p.sequence.to_be_bytes());
    frame.extend([0, 0, 0, 9, u8::try_from((20 + p.options.len()) / 4).unwrap() << 4, p.flags, 1, 0, 0, 0, 0, 0]);
    frame.extend(p.options);
    frame.extend(p.payload);
    fix(&mut frame, at);
    frame
}

fn fix(frame: &mut [u8], at: usize) {
    frame[at + 16..at + 18].fill(0);
    let headers = Headers::parse(frame).unwrap();
    let checksum = headers.pseudo_sum(frame, 6, frame.len() - at).and(&frame[at..]).checksum();
    frame[at + 16..at + 18].copy_from_slice(&checksum);
}

const PLAIN: Packet<'static> = Packet { v6: false, port: 80, sequence: 1000, flags: ACK, options: &[], payload: &[7; 100] };

/// What is written for these frames: virtio header and frame.
fn merge(frames: &[Vec<u8>]) -> Vec<(VnetHeader, Vec<u8>)> {
    let mut buffer = Vec::new();
    let mut merger = Merger::new();
    let ranges: Vec<Range<usize>> = frames
        .iter()
        .map(|frame| {
            buffer.extend(frame);
            buffer.len() - frame.len()..buffer.len()
        })
        .collect();
    for range in ranges {
        merger.push(1, &buffer, range);
    }
    let outputs = merger.finish(&buffer);
    outputs
        .iter()
        .map(|output| {
            let mut bytes = output.header().to_vec();
            output.slices().iter().for_each(|slice| bytes.extend(&buffer[slice.clone()]));
            let (vnet, frame) = VnetHeader::parse(&bytes).unwrap();
            (vnet, frame.to_vec())
        })
        .collect()
}

fn cut(outputs: &[(VnetHeader, Vec<u8>)]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for (vnet, frame) in outputs {
        let segments = Segments::plan(vnet, frame).unwrap();
        for index in 0..segments.count() {
            let mut out = vec![0; segments.size(index)];
            segments.write(index, &mut out);
            frames.push(out);
        }
    }
    frames
}

fn sizes(frames: &[Vec<u8>]) -> Vec<usize> {
    merge(frames).iter().map(|(_, frame)| frame.len() - 54).collect()
}

#[test]
fn segments_that_follow_each_other_become_one_frame() {
    for v6 in [false, true] {
        let next = |n: u32, flags| frame(Packet { v6, sequence: 1000 + n * 100, flags, ..PLAIN });
        let outputs = merge(&[next(0, ACK), next(1, ACK), next(2, ACK | PSH), next(3, ACK)]);
        assert_eq!(outputs.len(), 2, "PSH closes");
        let (vnet, merged) = &outputs[0];
        assert_eq!(vnet.gso, if v6 { Gso::TcpV6 } else { Gso::TcpV4 });
        assert_eq!(vnet.segment_size, 100);
        assert_eq!(merged.len(), if v6 { 74 } else { 54 } + 300);
        let again = cut(&outputs);
        assert_eq!(again.len(), 4);
        if v6 {
            assert_eq!(again[2], next(2, ACK | PSH));
        }
    }
}

#[test]
fn what_segmentation_would_not_make_is_not_merged() {
    let base = frame(PLAIN);
    let follow = Packet { sequence: 1100, ..PLAIN };
    assert_eq!(sizes(&[base.clone(), frame(follow)]), [200]);
    let alone = |second: Vec<u8>| assert_eq!(merge(&[base.clone(), second]).len(), 2);
    alone(frame(Packet { sequence: 1101, ..PLAIN }));
    alone(frame(Packet { port: 81, ..follow }));
    alone(frame(Packet { payload: &[7; 101], ..follow }));
    alone(frame(Packet { payload: &[], ..follow }));
    alone(frame(Packet { options: &[1, 1, 1, 1], ..follow }));
    for flags in [ACK | FIN, ACK | CWR, ACK | 0x40, ACK | 0x20, ACK | 4, ACK | 2, 0] {
        alone(frame(Packet { flags, ..follow }));
    }
    // Each of these bytes differs: a MAC, DSCP, TTL, the acknowledgement, reserved bits, the window, the urgent pointer.
    for (at, fix_ip) in [(0, false), (15, true), (22, true), (45, false), (46, false), (49, false), (53, false)] {
        let mut second = frame(follow);
        second[at] ^= 1;
        if fix_ip {
            second[24..26].fill(0);
            let checksum = Sum::of(&second[14..34]).checksum();
            second[24..26].copy_from_slice(&checksum);
        }
        fix(&mut second, 34);
        alone(second);
    }
    // Damaged, and left as it is.
    let mut damaged = frame(follow);
    damaged[60] ^= 1;
    assert_eq!(merge(&[base.clone(), damaged.clone()])[1], (VnetHeader::default(), damaged.clone()));
    assert_eq!(merge(&[damaged, frame(Packet { sequence: 1200, ..PLAIN })]).len(), 2);
    // Padding behind the packet.
    let mut padded = frame(Packet { payload: &[7; 4], ..follow });
    padded.extend([0; 2]);
    alone(padded);
}

#[test]
fn identifications_count_unless_the_packet_is_atomic() {
    let with = |sequence, identification: u8, fragment_flags| {
        let mut frame = frame(Packet { sequence, ..PLAIN });
        frame[19] = identification;
        frame[20] = fragment_flags;
        frame[24..26].fill(0);
        let checksum = Sum::of(&frame[14..34]).checksum();
        frame[24..26].copy_from_slice(&checksum);
        frame
    };
    assert_eq!(sizes(&[with(1000, 1, 0), with(1100, 2, 0)]), [200]);
    assert_eq!(sizes(&[with(1000, 1, 0), with(1100, 1, 0)]), [100, 100]);
    assert_eq!(sizes(&[with(1000, 1, 0x40), with(1100, 9, 0x40)]), [200]);
}

#[test]
fn flows_are_merged_beside_each_other_and_keep_their_order() {
    let a = |n: u32| frame(Packet { sequence: 1000 + n * 100, ..PLAIN });
    let b = |n: u32| frame(Packet { port: 81, sequence: 1000 + n * 100, ..PLAIN });
    let pure = frame(Packet { sequence: 1200, payload: &[], ..PLAIN });
    assert_eq!(sizes(&[a(0), b(0), a(1), b(1), pure, a(2), b(2)]), [200, 300, 0, 100]);
}

#[test]
fn a_short_segment_is_the_last() {
    let short = frame(Packet { sequence: 1100, payload: &[7; 60], ..PLAIN });
    let after = frame(Packet { sequence: 1160, payload: &[7; 60], ..PLAIN });
    assert_eq!(sizes(&[frame(PLAIN), short, after]), [160, 60]);
}

#[test]
fn a_merged_packet_fits_into_its_own_length() {
    let payload = vec![7; 1400];
    let frames: Vec<_> = (0..60).map(|n| frame(Packet { sequence: n * 1400, payload: &payload, ..PLAIN })).collect();
    let sizes = sizes(&frames);
    assert_eq!(sizes.iter().sum::<usize>(), 60 * 1400);
    assert_eq!(sizes.len(), 2);
    assert!(sizes.iter().all(|size| size + 40 <= MAX_PACKET));
}

#[test]
fn many_flows_are_bounded() {
    let mut frames = Vec::new();
    for round in 0..2_u32 {
        for port in 0..100 {
            frames.push(frame(Packet { port, sequence: 1000 + round * 100, ..PLAIN }));
        }
    }
    assert_eq!(merge(&frames).len(), 200, "each flow was closed before it came again");
}

proptest! {
    #[test]
    fn cutting_what_was_merged_gives_the_same_packets(
        v6: bool, timestamps: bool, sizes in prop::collection::vec((1_usize..1400, any::<bool>(), 0_u16..3), 1..40), start: u32,
    ) {
        let options: &[u8] = if timestamps { &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2] } else { &[] };
        let mut sequences = [start; 3];
        let mut frames = Vec::new();
        for (n, (size, push, port)) in sizes.iter().enumerate() {
            let payload: Vec<u8> = (0..*size).map(|i| u8::try_from((i + n) % 251).unwrap()).collect();
            let sequence = &mut sequences[usize::from(*port)];
            let flags = if *push { ACK | PSH } else { ACK };
            frames.push(frame(Packet { v6, port: *port, sequence: *sequence, flags, options, payload: &payload }));
            *sequence = sequence.wrapping_add(length32(*size));
        }
        // Identifications of atomic packets may differ; clear them for the comparison.
        let normal = |mut frame: Vec<u8>| {
            if !v6 {
                frame[18..20].fill(0);
                frame[24..26].fill(0);
            }
            frame
        };
        for port in 0..3_u16 {
            let of = |frames: Vec<Vec<u8>>| -> Vec<Vec<u8>> {
                let at = if v6 { 54 } else { 34 };
                frames.into_iter().filter(|f| number16(f, at) == port).map(normal).collect()
            };
            prop_assert_eq!(of(cut(&merge(&frames))), of(frames.clone()));
        }
    }

    #[test]
    fn no_frames_make_it_panic(frames in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..120), 0_usize..70), 0..8)) {
        let template = frame(PLAIN);
        let frames: Vec<Vec<u8>> = frames.into_iter().map(|(mut bytes, keep)| {
            let keep = keep.min(bytes.len());
            bytes[..keep].copy_from_slice(&template[..keep]);
            bytes
        }).collect();
        let _ = merge(&frames);
    }
}
