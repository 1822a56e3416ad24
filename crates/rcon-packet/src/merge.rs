//! Joining TCP segments of one flow into frames that the kernel takes as one.
//!
//! A batch of frames, as offsets into one buffer, goes into [`Merger::push`] in the order of arrival; [`Merger::finish`] gives
//! what to write: each [`Output`] is a header and slices of the same buffer, nothing is copied. The rules are those of the
//! kernel's GRO, and stricter: only segments that carry data, whose flags are ACK or ACK and PSH, whose headers agree in all
//! that segmentation would not change, that follow each other without a gap, and whose checksums were verified. Cutting the
//! result again gives the same packets. Within a flow nothing changes its order.

use std::ops::Range;

use crate::{
    checksum::Sum,
    frame::{Headers, Network, PROTOCOL_TCP, Transport, number16, number32},
    segment::{ACK, PSH, TCP_CHECKSUM, TCP_FLAGS},
    virtio::{self, Gso, VnetHeader},
};

/// Most flows that grow at the same time; the one that has waited longest is closed for a new one.
pub const MAX_FLOWS: usize = 32;
/// Most slices of one output; with its header they stay below `IOV_MAX` (1024).
pub const MAX_SLICES: usize = 512;
/// Ethernet with two tags, IPv4, and TCP with all options; with IPv6 and extension headers nothing is merged that is longer.
const MAX_HEADERS: usize = 22 + 40 + 60;
/// Largest IP packet, so that its length fits into 16 bits.
const MAX_PACKET: usize = 65_535;

/// One frame to write: `header()`, then the slices.
#[derive(Debug)]
pub struct Output {
    network: u32,
    header: [u8; virtio::LEN + MAX_HEADERS],
    header_len: usize,
    slices: Vec<Range<usize>>,
    flow: Option<Flow>,
}

impl Output {
    /// The number that the frames of this output were pushed with.
    #[must_use]
    pub const fn network(&self) -> u32 {
        self.network
    }

    /// The virtio header and, for merged segments, their common headers.
    #[must_use]
    pub fn header(&self) -> &[u8] {
        &self.header[..self.header_len]
    }

    /// What follows the header, as ranges of the buffer.
    #[must_use]
    pub fn slices(&self) -> &[Range<usize>] {
        &self.slices
    }
}

/// A flow whose last output may still grow.
#[derive(Debug, Clone, Copy)]
struct Flow {
    headers: Headers,
    /// Bytes of all headers.
    header_len: usize,
    /// The first segment in the buffer.
    first: usize,
    /// Bytes of payload in each segment but the last.
    segment_size: usize,
    /// Bytes of payload so far.
    payload: usize,
    /// The sequence number that may follow.
    next: u32,
    /// Whether the first segment's checksum was verified; done when a second one comes.
    verified: bool,
    /// Whether the last segment had PSH.
    push: bool,
}

/// A TCP segment that was just pushed.
struct Segment<'a> {
    frame: &'a [u8],
    headers: Headers,
    header_len: usize,
    /// Whether it may be merged at all.
    plain: bool,
}

/// Merges the frames of one batch at a time; keeps its memory from batch to batch.
#[derive(Debug, Default)]
pub struct Merger {
    outputs: Vec<Output>,
    used: usize,
    /// Indexes of the outputs that may still grow, the oldest first.
    open: Vec<usize>,
}

impl Merger {
    /// One without frames.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the frame at `range` of `buffer`, which is for `network`. The buffer must stay as it is until [`finish`](Self::finish).
    ///
    /// # Panics
    /// When the range is not within the buffer.
    pub fn push(&mut self, network: u32, buffer: &[u8], range: Range<usize>) {
        let Some(segment) = tcp_segment(&buffer[range.clone()]) else {
            self.append_output(network, range, None);
            return;
        };
        if let Some(slot) = self.find(network, buffer, &segment) {
            let output = &mut self.outputs[self.open[slot]];
            if segment.plain && grow(output, buffer, &segment, range.start) {
                let full = output.flow.is_none_or(|flow| flow.push || output.slices.len() >= MAX_SLICES || last_is_short(output, &flow));
                if full {
                    self.open.remove(slot);
                }
                return;
            }
            self.open.remove(slot);
        }
        let flow = segment.plain.then(|| new_flow(&segment, range.start));
        let open = flow.is_some_and(|flow| !flow.push);
        self.append_output(network, range, flow);
        if open {
            if self.open.len() >= MAX_FLOWS {
                self.open.remove(0);
            }
            self.open.push(self.used - 1);
        }
    }

    /// What to write, in order. `buffer` is the one that the frames were pushed from. Starts the next batch.
    pub fn finish<'a>(&'a mut self, buffer: &[u8]) -> &'a [Output] {
        for output in &mut self.outputs[..self.used] {
            if output.slices.len() > 1 {
                write_merged_header(output, buffer);
            }
        }
        self.open.clear();
        let used = std::mem::take(&mut self.used);
        &self.outputs[..used]
    }

    fn append_output(&mut self, network: u32, range: Range<usize>, flow: Option<Flow>) {
        if self.used == self.outputs.len() {
            let header = [0; virtio::LEN + MAX_HEADERS];
            self.outputs.push(Output { network, header, header_len: 0, slices: Vec::new(), flow: None });
        }
        let output = &mut self.outputs[self.used];
        output.network = network;
        output.header[..virtio::LEN].copy_from_slice(&VnetHeader::default().encode());
        output.header_len = virtio::LEN;
        output.slices.clear();
        output.slices.push(range);
        output.flow = flow;
        self.used += 1;
    }

    /// The open output of this segment's flow, the youngest first.
    fn find(&self, network: u32, buffer: &[u8], segment: &Segment<'_>) -> Option<usize> {
        let identity = identity(segment.frame, &segment.headers);
        self.open.iter().rposition(|index| {
            let output = &self.outputs[*index];
            output.network == network
                && output.flow.is_some_and(|flow| {
                    let first = &buffer[flow.first..];
                    flow.headers.network == segment.headers.network && self::identity(first, &flow.headers) == identity
                })
        })
    }
}

/// The IP addresses and the ports.
fn identity<'a>(frame: &'a [u8], headers: &Headers) -> (&'a [u8], &'a [u8]) {
    (headers.ip_addresses(frame), &frame[headers.transport_at..headers.transport_at + 4])
}

fn tcp_segment(frame: &[u8]) -> Option<Segment<'_>> {
    let headers = Headers::parse(frame).ok()?;
    let Transport::Tcp { header_len } = headers.transport else {
        return None;
    };
    let header_len = headers.transport_at + header_len;
    let flags = frame[headers.transport_at + TCP_FLAGS];
    // Reserved bits and the accurate-ECN flag share a byte with the length.
    let reserved = frame[headers.transport_at + 12] & 0xf;
    let simple_ip = match headers.network {
        Network::V4 => headers.transport_at - headers.network_at == crate::frame::IPV4,
        Network::V6 => headers.transport_at - headers.network_at == crate::frame::IPV6,
        Network::Other => false,
    };
    let plain = simple_ip && flags & !PSH == ACK && reserved == 0 && headers.end == frame.len() && header_len < headers.end;
    Some(Segment { frame, headers, header_len, plain })
}

fn new_flow(segment: &Segment<'_>, first: usize) -> Flow {
    let payload = segment.frame.len() - segment.header_len;
    Flow {
        headers: segment.headers,
        header_len: segment.header_len,
        first,
        segment_size: payload,
        payload,
        next: number32(segment.frame, segment.headers.transport_at + 4).wrapping_add(length32(payload)),
        verified: false,
        push: segment.frame[segment.headers.transport_at + TCP_FLAGS] & PSH != 0,
    }
}

/// Adds the segment to the output if it continues it.
fn grow(output: &mut Output, buffer: &[u8], segment: &Segment<'_>, at: usize) -> bool {
    let Some(mut flow) = output.flow else { return false };
    let first = &buffer[flow.first..flow.first + flow.header_len + flow.segment_size];
    let payload = segment.frame.len() - segment.header_len;
    let transport_at = segment.headers.transport_at;
    let packet = flow.header_len + flow.payload + payload - flow.headers.network_at;
    if flow.header_len != segment.header_len
        || number32(segment.frame, transport_at + 4) != flow.next
        || payload > flow.segment_size
        || packet > MAX_PACKET
        || !same_headers(first, segment, output.slices.len())
    {
        return false;
    }
    if !flow.verified {
        if !checksums_hold(first, &flow.headers) {
            return false;
        }
        flow.verified = true;
    }
    if !checksums_hold(segment.frame, &segment.headers) {
        output.flow = Some(flow);
        return false;
    }
    flow.next = flow.next.wrapping_add(length32(payload));
    flow.payload += payload;
    flow.push = segment.frame[transport_at + TCP_FLAGS] & PSH != 0;
    output.flow = Some(flow);
    output.slices.push(at + segment.header_len..at + segment.frame.len());
    true
}

/// Whether the headers differ only in what segmentation would make different.
fn same_headers(first: &[u8], segment: &Segment<'_>, position: usize) -> bool {
    let (a, b) = (first, segment.frame);
    let (network, transport) = (segment.headers.network_at, segment.headers.transport_at);
    let same = |range: Range<usize>| a[range.clone()] == b[range];
    let network_same = match segment.headers.network {
        Network::V4 => {
            // An atomic packet's identification means nothing; another's must count up as segmentation would.
            let atomic = b[network + 6] & 0x40 != 0;
            let counts = number16(b, network + 4) == number16(a, network + 4).wrapping_add(length16(position));
            (atomic || counts) && same(0..network + 2) && same(network + 6..network + 10) && same(network + 12..transport + 4)
        }
        Network::V6 => same(0..network + 4) && same(network + 6..transport + 4),
        Network::Other => false,
    };
    let flags = transport + TCP_FLAGS;
    network_same
        && same(transport + 8..flags)
        && (a[flags] | PSH) == (b[flags] | PSH)
        && same(flags + 1..transport + TCP_CHECKSUM)
        && same(transport + 18..segment.header_len)
}

fn checksums_hold(frame: &[u8], headers: &Headers) -> bool {
    let (network, transport) = (headers.network_at, headers.transport_at);
    let ip = headers.network == Network::V6 || Sum::of(&frame[network..transport]).is_valid();
    ip && headers.pseudo_sum(frame, PROTOCOL_TCP, headers.end - transport).and(&frame[transport..headers.end]).is_valid()
}

fn last_is_short(output: &Output, flow: &Flow) -> bool {
    output.slices.last().is_some_and(|slice| slice.len() < flow.segment_size)
}

/// Turns the first slice's headers into those of the whole, and leaves the checksum to the kernel.
fn write_merged_header(output: &mut Output, buffer: &[u8]) {
    let Some(flow) = output.flow else { return };
    let (network, transport) = (flow.headers.network_at, flow.headers.transport_at);
    let gso = if flow.headers.network == Network::V4 { Gso::TcpV4 } else { Gso::TcpV6 };
    let vnet = VnetHeader {
        gso,
        checksum: Some((length16(transport), length16(TCP_CHECKSUM))),
        header_len: length16(flow.header_len),
        segment_size: length16(flow.segment_size),
    };
    output.header_len = virtio::LEN + flow.header_len;
    let (start, rest) = output.header[..output.header_len].split_at_mut(virtio::LEN);
    start.copy_from_slice(&vnet.encode());
    rest.copy_from_slice(&buffer[flow.first..flow.first + flow.header_len]);
    output.slices[0].start = flow.first + flow.header_len;
    let end = flow.header_len + flow.payload;
    if flow.headers.network == Network::V4 {
        rest[network + 2..network + 4].copy_from_slice(&length16(end - network).to_be_bytes());
        rest[network + 10..network + 12].fill(0);
        let checksum = Sum::of(&rest[network..transport]).checksum();
        rest[network + 10..network + 12].copy_from_slice(&checksum);
    } else {
        rest[network + 4..network + 6].copy_from_slice(&length16(end - transport).to_be_bytes());
    }
    if flow.push {
        rest[transport + TCP_FLAGS] |= PSH;
    }
    let partial = flow.headers.pseudo_sum(rest, PROTOCOL_TCP, end - transport).folded();
    rest[transport + TCP_CHECKSUM..transport + TCP_CHECKSUM + 2].copy_from_slice(&partial);
}

/// For lengths that were checked to be below [`MAX_PACKET`] and for counts below [`MAX_SLICES`].
fn length16(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

fn length32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
