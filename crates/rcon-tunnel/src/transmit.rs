//! From the TAPs to the other nodes: a thread that reads frames, finds out whose they are, and seals and sends their segments.

use std::{io, net::SocketAddr, os::fd::AsFd, sync::Arc};

use nix::sys::{
    epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    eventfd::EventFd,
};
use rcon_packet::{
    control::DropReason,
    flow, frame, icmp,
    segment::Segments,
    virtio::VnetHeader,
    vxlan::{self, Encapsulation},
    wireguard,
};

use crate::{
    TunnelError,
    forwarding::{Forwarding, Network},
    limits::{FRAME_BUFFER, FRAMES_PER_TURN, STOP_CHECK},
    peer::Peer,
    sealed::{SealedBatch, Target, send_messages},
    shared::Shared,
};

/// What wakes the thread for new tables, among the numbers of the networks.
const WAKE: u64 = u64::MAX;

/// Bytes that sealing adds to a packet.
const SEALING: u64 = (wireguard::DATA_HEADER + wireguard::DATA_TAG) as u64;

/// One sending thread: it owns the same queue of every TAP.
pub(crate) struct Transmitter {
    shared: Arc<Shared>,
    wake: Arc<EventFd>,
    queue: usize,
    frame: Vec<u8>,
    outgoing: Outgoing,
}

/// The way out, apart from the memory that frames are read into.
struct Outgoing {
    shared: Arc<Shared>,
    batch: SealedBatch,
    /// A packet that waits for a session, as the protocol wants it.
    waiting: Vec<u8>,
}

impl Transmitter {
    /// `wake` is written to whenever the tables change, and at the end.
    pub(crate) fn new(shared: Arc<Shared>, wake: Arc<EventFd>, queue: usize) -> Self {
        let outgoing = Outgoing { shared: Arc::clone(&shared), batch: SealedBatch::new(), waiting: Vec::new() };
        Self { shared, wake, queue, frame: vec![0; FRAME_BUFFER], outgoing }
    }

    /// Sends until the tunnel stops.
    ///
    /// # Errors
    /// When the kernel gives no epoll.
    pub(crate) fn run(mut self) -> Result<(), TunnelError> {
        while !self.shared.is_stopping() {
            let forwarding = self.shared.forwarding.load_full();
            let epoll = self.watch(forwarding.as_deref()).map_err(|errno| thread_error(errno.into()))?;
            self.serve(&epoll, forwarding.as_ref())?;
        }
        Ok(())
    }

    /// An epoll on this thread's queue of every TAP.
    fn watch(&self, forwarding: Option<&Forwarding>) -> nix::Result<Epoll> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(self.wake.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        for (number, network) in forwarding.iter().flat_map(|f| &f.networks).enumerate() {
            if let Some(fd) = network.tap.queue(self.queue) {
                epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, number as u64))?;
            }
        }
        Ok(epoll)
    }

    /// Sends by these tables until there are others.
    fn serve(&mut self, epoll: &Epoll, forwarding: Option<&Arc<Forwarding>>) -> Result<(), TunnelError> {
        let mut events = [EpollEvent::empty(); 64];
        let timeout = EpollTimeout::try_from(STOP_CHECK).unwrap_or(EpollTimeout::ZERO);
        loop {
            let ready = match epoll.wait(&mut events, timeout) {
                Ok(ready) => ready,
                Err(nix::Error::EINTR) => 0,
                Err(errno) => return Err(thread_error(errno.into())),
            };
            if let Some(forwarding) = forwarding {
                for event in &events[..ready] {
                    let network = usize::try_from(event.data()).ok().and_then(|number| forwarding.networks.get(number));
                    if let Some(network) = network
                        && let Err(error) = self.drain(forwarding, network)
                    {
                        self.give_up(epoll, network, &error);
                    }
                }
                self.outgoing.flush(forwarding);
            }
            if events[..ready].iter().any(|event| event.data() == WAKE) {
                // Only a hint; should it be lost, the comparison below finds the new tables at the next timeout.
                let _ = self.wake.read();
            }
            let current = self.shared.forwarding.load();
            let same = match (current.as_ref(), forwarding) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                (None, None) => true,
                _ => false,
            };
            if !same || self.shared.is_stopping() {
                return Ok(());
            }
        }
    }

    /// Takes the frames that wait on one TAP, up to a turn's worth.
    fn drain(&mut self, forwarding: &Forwarding, network: &Network) -> io::Result<()> {
        for _ in 0..FRAMES_PER_TURN {
            match network.tap.read(self.queue, &mut self.frame) {
                Ok(len) => self.outgoing.frame(forwarding, network, &self.frame[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // An interface that is down; its frames are gone.
                Err(error) if error.raw_os_error() == Some(libc::EIO) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Looks no more at a TAP that has no interface any longer; the next tables make a new one.
    fn give_up(&self, epoll: &Epoll, network: &Network, error: &io::Error) {
        tracing::warn!(tap = network.tap.name, %error, "a TAP has lost its interface");
        if let Some(fd) = network.tap.queue(self.queue) {
            // Fails only when it is not watched, which is what is wanted.
            let _ = epoll.delete(fd);
        }
    }
}

fn thread_error(source: io::Error) -> TunnelError {
    TunnelError::Thread { operation: "wait for frames", source }
}

impl Outgoing {
    /// Sends what waits. Queues that hold more are asked again at once, so a batch never waits for one to fill.
    fn flush(&mut self, forwarding: &Forwarding) {
        if !self.batch.is_empty() {
            self.batch.flush(&self.shared, &forwarding.peers);
        }
    }

    /// One frame of a TAP, still with its virtio header.
    fn frame(&mut self, forwarding: &Forwarding, network: &Network, bytes: &[u8]) {
        let drop = |reason| self.shared.drops.count(reason);
        let Ok((vnet, frame)) = VnetHeader::parse(bytes) else { return drop(DropReason::MalformedFrame) };
        let Some((destination, _)) = frame::addresses(frame) else { return drop(DropReason::MalformedFrame) };
        let Ok(segments) = Segments::plan(&vnet, frame) else { return drop(DropReason::MalformedFrame) };
        let outbound = Outbound { forwarding, network, frame, segments, source_port: flow::source_port(frame) };
        if destination.is_multicast() {
            for peer in &network.replicate_to {
                self.send(&outbound, *peer);
            }
        } else if let Some(peer) = network.station(destination) {
            self.send(&outbound, peer);
        } else {
            drop(DropReason::UnknownDestination);
        }
    }

    /// Sends a frame to one peer: sealed, or by way of the protocol, which keeps it until it can be sealed.
    fn send(&mut self, outbound: &Outbound<'_>, number: usize) {
        let Some(peer) = outbound.forwarding.peers.get(number) else { return };
        let count = outbound.segments.count() as u64;
        let network_mtu = outbound.network.mtu.0;
        let mtu = peer.path_limit().map_or(network_mtu, |limit| limit.min(network_mtu));
        if outbound.segments.largest() - outbound.segments.link_header() > mtu as usize {
            peer.drops.count_many(DropReason::TooBig, count);
            if let Some(answer) = icmp::too_big(outbound.frame, mtu) {
                // Whoever sent the frame tries again; an answer that is lost does no harm.
                let _ = outbound.network.tap.write_frame(&answer);
            }
            return;
        }
        let Some(to) = peer.endpoint() else {
            return peer.drops.count_many(DropReason::NoEndpoint, count);
        };
        let inner = outbound.towards(peer, mtu);
        let session = peer.session();
        // A session whose counters are used up is as good as none.
        match session.as_deref().and_then(|session| Some((session, session.reserve(count)?))) {
            Some((session, first)) => {
                let target = Target { peer: number, to, session };
                let sent = self.seal(outbound.forwarding, &inner, &target, first);
                peer.note_sent(sent, sent + count * SEALING);
            }
            None => self.queue(&inner, peer, to),
        }
    }

    /// Seals every segment into the batch; gives the bytes of plaintext.
    fn seal(&mut self, forwarding: &Forwarding, inner: &Inner<'_>, target: &Target<'_>, first: u64) -> u64 {
        let mut plaintext = 0;
        for (index, counter) in (0..inner.segments.count()).zip(first..) {
            let len = inner.len(index);
            if !self.batch.has_room(len) {
                self.flush(forwarding);
            }
            self.batch.seal(target, counter, len, |packet| inner.write(index, packet));
            plaintext += len as u64;
        }
        plaintext
    }

    fn queue(&mut self, inner: &Inner<'_>, peer: &Peer, to: SocketAddr) {
        for index in 0..inner.segments.count() {
            self.waiting.resize(inner.len(index), 0);
            inner.write(index, &mut self.waiting);
            let (messages, taken) = peer.queue(&self.waiting);
            if !taken {
                peer.drops.count(DropReason::NoSession);
            }
            send_messages(&self.shared, to, &messages);
        }
    }
}

/// A frame on its way, before it is known to whom.
struct Outbound<'a> {
    forwarding: &'a Forwarding,
    network: &'a Network,
    frame: &'a [u8],
    segments: Segments<'a>,
    source_port: u16,
}

impl Outbound<'_> {
    fn towards(&self, peer: &Peer, mtu: u32) -> Inner<'_> {
        Inner {
            encapsulation: Encapsulation::new(self.forwarding.tables.get().vtep, peer.vtep, self.network.vni),
            source_port: self.source_port,
            segments: &self.segments,
            largest: mtu as usize + frame::ETHERNET + vxlan::OVERHEAD,
        }
    }
}

/// Segments with what goes around them inside the tunnel.
struct Inner<'a> {
    encapsulation: Encapsulation,
    source_port: u16,
    segments: &'a Segments<'a>,
    /// Bytes that the tunnel carries, beyond which nothing is padded.
    largest: usize,
}

impl Inner<'_> {
    /// Bytes of packet number `index`, padding included.
    fn len(&self, index: usize) -> usize {
        wireguard::padded(vxlan::OVERHEAD + self.segments.size(index), self.largest)
    }

    /// Writes packet number `index`: headers, frame, zeros.
    fn write(&self, index: usize, packet: &mut [u8]) {
        let size = self.segments.size(index);
        if let Some((header, rest)) = packet.split_first_chunk_mut::<{ vxlan::OVERHEAD }>() {
            self.encapsulation.write(header, self.source_port, u16::try_from(size).unwrap_or(u16::MAX));
            let (frame, padding) = rest.split_at_mut(size);
            self.segments.write(index, frame);
            padding.fill(0);
        }
    }
}
