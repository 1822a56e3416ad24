//! From the other nodes to the TAPs: a thread that opens what comes, checks who may say so, merges and writes.

use std::{io, net::SocketAddr, ops::Range, sync::Arc};

use boringtun::noise::{Packet, TunnResult, errors::WireGuardError, handshake::parse_handshake_anon, session::Session};
use rcon_packet::{
    control::{DropReason, PublicKey},
    frame,
    merge::Merger,
    vxlan,
    wireguard::{COOKIE_LEN, DATA_HEADER, Message},
};
use rcon_types::{MacAddr, Vni};

use crate::{
    TunnelError,
    forwarding::Forwarding,
    limits::{MERGED_RECEIVE, RECEIVE_SLOTS, RECEIVE_SLOTS_MERGED},
    peer::Messages,
    sealed::send_messages,
    shared::Shared,
    udp::{ReceiveBuffer, Received},
};

/// The receiving thread.
pub(crate) struct Receiver {
    shared: Arc<Shared>,
    merger: Merger,
}

/// One batch of datagrams, with what the last one has shown, since the next is mostly of the same kind.
struct Batch<'a> {
    shared: &'a Shared,
    forwarding: &'a Forwarding,
    merger: &'a mut Merger,
    session: Option<KnownSession>,
    station: Option<KnownStation>,
}

/// The session of the last data message.
struct KnownSession {
    receiver: u32,
    peer: usize,
    session: Arc<Session>,
    /// Whether this is also the session that is sealed with.
    current: bool,
    from: SocketAddr,
    plaintext: u64,
    messages: u64,
}

/// The station of the last frame, which was found to be where it claims.
#[derive(PartialEq, Eq)]
struct KnownStation {
    peer: usize,
    vni: Vni,
    mac: MacAddr,
    network: usize,
}

impl Receiver {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, merger: Merger::new() }
    }

    /// Receives until the tunnel stops.
    ///
    /// # Errors
    /// When the socket is of no use any more.
    pub(crate) fn run(mut self) -> Result<(), TunnelError> {
        let mut buffer = ReceiveBuffer::new();
        let mut slots = RECEIVE_SLOTS;
        let mut socket = self.shared.socket.load_full();
        while !self.shared.is_stopping() {
            let Some(current) = &socket else {
                return Err(TunnelError::Ending);
            };
            let (arena, received) = match buffer.receive(current, slots) {
                Ok(batch) => batch,
                Err(source) if is_passing(&source) => continue,
                Err(source) => return Err(TunnelError::Udp { operation: "receive from", port: current.port, source }),
            };
            if received.is_empty() {
                // Only when nothing comes is there time to see whether the port has changed.
                socket = self.shared.socket.load_full();
                continue;
            }
            let bytes: usize = received.iter().map(|r| r.len).sum();
            slots = if bytes / received.len() >= MERGED_RECEIVE { RECEIVE_SLOTS_MERGED } else { RECEIVE_SLOTS };
            if let Some(forwarding) = self.shared.forwarding.load_full() {
                self.batch(&forwarding, arena, received);
            }
            if self.shared.socket.load().as_ref().is_none_or(|new| !Arc::ptr_eq(new, current)) {
                socket = self.shared.socket.load_full();
            }
        }
        Ok(())
    }

    fn batch(&mut self, forwarding: &Forwarding, arena: &mut [u8], received: &[Received]) {
        let mut batch = Batch { shared: &self.shared, forwarding, merger: &mut self.merger, session: None, station: None };
        for message in received {
            let mut start = message.start;
            let end = message.start + message.len;
            while start < end {
                let next = (start + message.size).min(end);
                batch.datagram(arena, start..next, message.from);
                start = next;
            }
        }
        batch.settle();
        for output in self.merger.finish(arena) {
            if let Some(network) = forwarding.networks.get(output.network() as usize)
                && let Err(error) = network.tap.write_output(output, arena)
            {
                tracing::debug!(tap = network.tap.name, %error, "the TAP refused a frame");
                self.shared.drops.count(DropReason::TapRefused);
            }
        }
    }
}

/// Errors that say something about one datagram or one moment, not about the socket.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH | libc::ENETDOWN | libc::ENOBUFS | libc::ENOMEM)
    )
}

impl Batch<'_> {
    fn datagram(&mut self, arena: &mut [u8], range: Range<usize>, from: SocketAddr) {
        match Message::of(&arena[range.clone()]) {
            Some(Message::Data { receiver }) => self.data(arena, range, receiver, from),
            Some(_) => self.handshake(&arena[range], from),
            None => self.shared.drops.count(DropReason::UnknownSession),
        }
    }

    fn data(&mut self, arena: &mut [u8], range: Range<usize>, receiver: u32, from: SocketAddr) {
        if self.session.as_ref().is_none_or(|known| known.receiver != receiver || known.from != from) {
            self.settle();
            self.session = self.find_session(receiver, from);
        }
        let Some(known) = &mut self.session else {
            self.shared.drops.count(DropReason::UnknownSession);
            return;
        };
        let peer = &self.forwarding.peers[known.peer];
        let len = match known.session.open_in_place(&mut arena[range.clone()]) {
            Ok(plaintext) => plaintext.len(),
            Err(error) => return peer.drops.count(reason(&error)),
        };
        known.plaintext += len as u64;
        known.messages += range.len() as u64;
        if !known.current {
            // The first message of a session proves that the peer has it too.
            known.current = true;
            let messages = peer.confirm(receiver);
            send_messages(self.shared, from, &messages);
        }
        if len > 0 {
            let start = range.start + DATA_HEADER;
            if let Err(reason) = self.packet(arena, start..start + len) {
                peer.drops.count(reason);
            }
        }
    }

    fn find_session(&self, receiver: u32, from: SocketAddr) -> Option<KnownSession> {
        let number = self.forwarding.peer_of_session(receiver)?;
        let peer = &self.forwarding.peers[number];
        let session = peer.receiving_session(receiver)?;
        let current = peer.session().as_ref().is_some_and(|current| current.receiving_index() == receiver);
        Some(KnownSession { receiver, peer: number, session, current, from, plaintext: 0, messages: 0 })
    }

    /// Passes on what was learned about the peer of the last messages: that it lives, and where.
    fn settle(&mut self) {
        if let Some(known) = self.session.take().filter(|known| known.messages > 0) {
            let peer = &self.forwarding.peers[known.peer];
            peer.note_received(known.plaintext, known.messages);
            peer.heard_from(known.from);
        }
    }

    /// An authentic packet of the session's peer.
    fn packet(&mut self, arena: &[u8], range: Range<usize>) -> Result<(), DropReason> {
        let number = self.session.as_ref().map_or(usize::MAX, |known| known.peer);
        let peer = &self.forwarding.peers[number];
        let packet = vxlan::decapsulate(&arena[range.clone()]).map_err(|_| DropReason::MalformedTunnel)?;
        if packet.source != peer.vtep || packet.destination != self.forwarding.tables.get().vtep {
            return Err(DropReason::SpoofedTunnelAddress);
        }
        let frame = range.start + packet.frame.start..range.start + packet.frame.end;
        let (_, mac) = frame::addresses(&arena[frame.clone()]).ok_or(DropReason::MalformedTunnel)?;
        let network = match &self.station {
            Some(known) if known.peer == number && known.vni == packet.vni && known.mac == mac => known.network,
            _ => {
                let network = self.forwarding.network(packet.vni).ok_or(DropReason::UnknownNetwork)?;
                if self.forwarding.networks[network].station(mac) != Some(number) {
                    return Err(DropReason::SpoofedStation);
                }
                self.station = Some(KnownStation { peer: number, vni: packet.vni, mac, network });
                network
            }
        };
        self.merger.push(u32::try_from(network).unwrap_or(u32::MAX), arena, frame);
        Ok(())
    }

    /// A handshake message or a cookie: verified first, so that a stranger costs one hash.
    fn handshake(&mut self, datagram: &[u8], from: SocketAddr) {
        let mut cookie = [0; COOKIE_LEN];
        let refused = || self.shared.drops.count(DropReason::HandshakeRefused);
        let packet = match self.forwarding.limiter.0.verify_packet(Some(from), datagram, &mut cookie) {
            Ok(packet) => packet,
            Err(TunnResult::WriteToNetwork(reply)) => return send_messages(self.shared, from, &Messages::cookie(reply)),
            Err(_) => return refused(),
        };
        let (number, proves_address) = match &packet {
            Packet::HandshakeInit(init) => {
                let identity = &self.forwarding.identity;
                let sender = parse_handshake_anon(&identity.secret, &identity.public, init).ok();
                (sender.and_then(|half| self.forwarding.peer_with_key(PublicKey(half.peer_static_public))), true)
            }
            Packet::HandshakeResponse(response) => (self.forwarding.peer_of_session(response.receiver_idx), true),
            Packet::PacketCookieReply(reply) => (self.forwarding.peer_of_session(reply.receiver_idx), false),
            Packet::PacketData(_) => (None, false),
        };
        let Some(peer) = number.and_then(|number| self.forwarding.peers.get(number)) else {
            return refused();
        };
        match peer.receive_handshake(packet) {
            Ok(messages) => {
                if proves_address {
                    peer.heard_from(from);
                }
                send_messages(self.shared, from, &messages);
            }
            Err(error) => {
                tracing::debug!(node = %peer.node, %from, ?error, "refused a handshake");
                peer.drops.count(DropReason::HandshakeRefused);
            }
        }
    }
}

fn reason(error: &WireGuardError) -> DropReason {
    match error {
        WireGuardError::InvalidCounter | WireGuardError::DuplicateCounter => DropReason::Replayed,
        WireGuardError::InvalidAeadTag => DropReason::NotAuthentic,
        _ => DropReason::UnknownSession,
    }
}
