//! The send buffer. Whatever is in it is sealed: the only way in is [`SealedBatch::seal`], which writes a packet and seals it in
//! one step, and the messages of the protocol itself, which never carry anything unsealed.

use std::{io, net::SocketAddr, ops::Range, sync::Arc};

use boringtun::noise::session::Session;
use rcon_packet::{control::DropReason, frame, vxlan, wireguard};

use crate::{
    limits::{MAX_RUNS, MAX_UDP_PAYLOAD, MAX_UDP_SEGMENTS, SEND_BUFFER},
    peer::{Messages, Peer},
    shared::Shared,
    udp::{Run, UdpSocket},
};

/// Bytes that sealing adds.
const OVERHEAD: usize = wireguard::DATA_HEADER + wireguard::DATA_TAG;

/// Sealed datagrams that wait for one system call.
pub(crate) struct SealedBatch {
    buffer: Vec<u8>,
    used: usize,
    runs: Vec<Pending>,
}

/// A run of datagrams for one peer.
struct Pending {
    /// The index of the peer in the tables that the batch is flushed with.
    peer: usize,
    to: SocketAddr,
    bytes: Range<usize>,
    size: usize,
    count: usize,
    /// A shorter datagram was added, so it was the last.
    closed: bool,
}

/// Where a packet goes, and with what it is sealed.
pub(crate) struct Target<'a> {
    pub(crate) peer: usize,
    pub(crate) to: SocketAddr,
    pub(crate) session: &'a Session,
}

impl SealedBatch {
    pub(crate) fn new() -> Self {
        Self { buffer: vec![0; SEND_BUFFER], used: 0, runs: Vec::with_capacity(MAX_RUNS) }
    }

    /// Whether a packet of `len` bytes can be sealed without flushing first.
    pub(crate) fn has_room(&self, len: usize) -> bool {
        self.used + len + OVERHEAD <= self.buffer.len() && self.runs.len() < MAX_RUNS
    }

    /// Lets `write` fill a packet of `len` bytes at its final place, then seals it with this counter, which must come from
    /// [`Session::reserve`].
    ///
    /// # Panics
    /// Without [`room`](Self::has_room).
    pub(crate) fn seal(&mut self, target: &Target<'_>, counter: u64, len: usize, write: impl FnOnce(&mut [u8])) {
        let message = self.used..self.used + len + OVERHEAD;
        let bytes = &mut self.buffer[message.clone()];
        write(&mut bytes[wireguard::DATA_HEADER..][..len]);
        target.session.seal_in_place(counter, bytes);
        self.used = message.end;
        self.append(target, message);
    }

    fn append(&mut self, target: &Target<'_>, message: Range<usize>) {
        let len = message.len();
        if let Some(run) = self.runs.last_mut() {
            let fits = !run.closed && len <= run.size && run.count < MAX_UDP_SEGMENTS && run.bytes.len() + len <= MAX_UDP_PAYLOAD;
            if fits && run.peer == target.peer && run.to == target.to {
                run.bytes.end = message.end;
                run.count += 1;
                run.closed = len < run.size;
                return;
            }
        }
        self.runs.push(Pending { peer: target.peer, to: target.to, bytes: message, size: len, count: 1, closed: false });
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Sends everything. What the kernel refuses is dropped and counted; `peers` are those that the indexes refer to.
    pub(crate) fn flush(&mut self, shared: &Shared, peers: &[Arc<Peer>]) {
        if let Some(socket) = shared.socket.load().as_deref() {
            let mut next = 0;
            while next < self.runs.len() {
                let (sent, result) = if shared.segmentation() { self.send_from(next, socket) } else { (0, Ok(())) };
                next += sent;
                let Some(run) = self.runs.get(next) else { break };
                if let Some(peer) = peers.get(run.peer) {
                    match result {
                        // The run is one datagram, or what is wrong has nothing to do with its being many.
                        Err(error) if run.count == 1 || !is_about_many(&error) => refused(socket, run, run.count, peer, &error),
                        Err(error) if !may_be_size(&error) => {
                            shared.give_up_segmentation(&error);
                            self.send_apart(socket, run, peer);
                        }
                        _ => self.send_apart(socket, run, peer),
                    }
                }
                next += 1;
            }
        }
        self.clear();
    }

    /// Sends the runs from number `first` on, each as one.
    fn send_from(&self, first: usize, socket: &UdpSocket) -> (usize, io::Result<()>) {
        let mut runs = [Run { to: self.runs[first].to, bytes: &[], size: 0 }; MAX_RUNS];
        let waiting = &self.runs[first..];
        for (slot, run) in runs.iter_mut().zip(waiting) {
            *slot = Run { to: run.to, bytes: &self.buffer[run.bytes.clone()], size: run.size };
        }
        socket.send(&runs[..waiting.len()])
    }

    /// Sends a run datagram by datagram.
    fn send_apart(&self, socket: &UdpSocket, run: &Pending, peer: &Peer) {
        let mut left = run.count;
        for datagram in self.buffer[run.bytes.clone()].chunks(run.size) {
            if let (_, Err(error)) = socket.send(&[Run { to: run.to, bytes: datagram, size: datagram.len() }]) {
                if may_be_size(&error) {
                    // The others are as large.
                    return refused(socket, run, left, peer, &error);
                }
                refused(socket, run, 1, peer, &error);
            }
            left -= 1;
        }
    }

    fn clear(&mut self) {
        self.used = 0;
        self.runs.clear();
    }
}

/// What the kernel says when a datagram, or a segment, is larger than the path's MTU.
fn may_be_size(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMSGSIZE | libc::EINVAL))
}

/// What the kernel says when it may take the datagrams one by one: the size, a device without checksum offload (EIO), or a kernel
/// without UDP_SEGMENT.
fn is_about_many(error: &io::Error) -> bool {
    may_be_size(error) || matches!(error.raw_os_error(), Some(libc::EIO | libc::ENOPROTOOPT | libc::EOPNOTSUPP))
}

fn refused(socket: &UdpSocket, run: &Pending, count: usize, peer: &Peer, error: &io::Error) {
    tracing::debug!(node = %peer.node, to = %run.to, %error, count, "the socket refused datagrams");
    if error.raw_os_error() != Some(libc::EMSGSIZE) {
        return peer.drops.count_many(DropReason::SendFailed, count as u64);
    }
    peer.drops.count_many(DropReason::TooBig, count as u64);
    if let Ok(mtu) = socket.path_mtu(run.to) {
        let ip = if run.to.is_ipv4() { frame::IPV4 } else { frame::IPV6 };
        let headers = ip + frame::UDP + OVERHEAD + vxlan::OVERHEAD + frame::ETHERNET;
        peer.limit_path(mtu.saturating_sub(u32::try_from(headers).unwrap_or(u32::MAX)));
    }
}

/// Sends the protocol's own messages to a peer, or back to where one came from.
pub(crate) fn send_messages(shared: &Shared, to: SocketAddr, messages: &Messages) {
    let socket = shared.socket.load();
    let Some(socket) = socket.as_deref() else { return };
    for message in messages.iter() {
        if let (_, Err(error)) = socket.send(&[Run { to, bytes: message, size: message.len() }]) {
            tracing::debug!(%to, %error, "the socket refused a message");
        }
    }
}
