//! One other node: its WireGuard state, its sessions for the fast path, and what is counted about it.
//!
//! Handshakes and timers happen under a lock. The fast path never takes it: it loads the session that was published, seals or
//! opens with it, and leaves a note of what it did, which the next tick passes on to the timers.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use arc_swap::{ArcSwapOption, Guard};
use boringtun::{
    noise::{N_SESSIONS, Packet, Tunn, TunnResult, errors::WireGuardError, rate_limiter::RateLimiter, session::Session},
    x25519,
};
use rcon_packet::control::{self, PeerStatus, PublicKey};
use rcon_types::NodeId;

use crate::{
    counters::DropCounters,
    identity::Identity,
    limits::{PATH_MTU_LIFE, RECEIVE_SLOT, REKEY_INITIATOR, REKEY_RESPONDER},
};

/// Room for any message that carries no packet; the largest is a handshake initiation with 148 bytes.
const CONTROL_MESSAGE: usize = 160;

/// What the protocol wants sent: handshake messages, keepalives, and packets that waited for a session, sealed. Only the
/// protocol makes these, so nothing unsealed can be among them.
#[derive(Debug, Default)]
pub(crate) struct Messages(Vec<Box<[u8]>>);

impl Messages {
    fn push(&mut self, message: &[u8]) {
        self.0.push(message.into());
    }

    /// Each message, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// A cookie reply of the rate limiter, which belongs to no peer.
    pub(crate) fn cookie(message: &[u8]) -> Self {
        Self(vec![message.into()])
    }
}

/// One other node.
pub(crate) struct Peer {
    pub(crate) node: NodeId,
    pub(crate) public_key: PublicKey,
    pub(crate) vtep: Ipv4Addr,
    /// The upper 24 bits of every session's index.
    pub(crate) index: u32,
    /// Where the tables say that it listens; `None` where they do not.
    configured: ArcSwapOption<SocketAddr>,
    endpoint: ArcSwapOption<SocketAddr>,
    tunn: Mutex<Tunn>,
    sending: ArcSwapOption<Session>,
    receiving: [ArcSwapOption<Session>; N_SESSIONS],
    last_handshake_unix_ms: AtomicU64,
    pub(crate) drops: DropCounters,
    rx_bytes: AtomicU64,
    tx_bytes: AtomicU64,
    noted: Noted,
    path_limit: Mutex<Option<(u32, Instant)>>,
    /// Whether `path_limit` is worth a look.
    path_limited: AtomicBool,
}

/// What the fast path did since the last tick: plaintext bytes, and received messages.
#[derive(Debug, Default)]
struct Noted {
    sent: AtomicU64,
    received: AtomicU64,
    received_messages: AtomicU64,
}

impl Peer {
    /// A peer without a session. `index` has 24 bits and no other peer's.
    pub(crate) fn new(peer: &control::Peer, index: u32, identity: &Identity, limiter: &Arc<RateLimiter>) -> Self {
        let key = x25519::PublicKey::from(peer.public_key.0);
        let tunn = Tunn::new(identity.secret.clone(), key, None, None, index, Some(Arc::clone(limiter)));
        let endpoint = peer.endpoint.map(Arc::new);
        Self {
            node: peer.node,
            public_key: peer.public_key,
            vtep: peer.vtep,
            index,
            configured: ArcSwapOption::new(endpoint.clone()),
            endpoint: ArcSwapOption::new(endpoint),
            tunn: Mutex::new(tunn),
            sending: ArcSwapOption::empty(),
            receiving: std::array::from_fn(|_| ArcSwapOption::empty()),
            last_handshake_unix_ms: AtomicU64::new(0),
            drops: DropCounters::default(),
            rx_bytes: AtomicU64::new(0),
            tx_bytes: AtomicU64::new(0),
            noted: Noted::default(),
            path_limit: Mutex::new(None),
            path_limited: AtomicBool::new(false),
        }
    }

    /// Takes over what the tables say about where the peer is; a peer that has moved since keeps its newer place.
    pub(crate) fn configure_endpoint(&self, endpoint: Option<SocketAddr>) {
        let known = self.configured.load();
        if known.as_deref() != endpoint.as_ref() {
            self.configured.store(endpoint.map(Arc::new));
            if let Some(endpoint) = endpoint {
                self.endpoint.store(Some(Arc::new(endpoint)));
            }
        }
    }

    /// Where to send to.
    pub(crate) fn endpoint(&self) -> Option<SocketAddr> {
        self.endpoint.load().as_deref().copied()
    }

    /// The peer has proved that it is at `from` now.
    pub(crate) fn heard_from(&self, from: SocketAddr) {
        if self.endpoint() != Some(from) {
            tracing::info!(node = %self.node, endpoint = %from, "peer is at a new address");
            self.endpoint.store(Some(Arc::new(from)));
        }
    }

    /// The session to seal with.
    pub(crate) fn session(&self) -> Guard<Option<Arc<Session>>> {
        self.sending.load()
    }

    /// The session that a data message with this index was sealed for.
    pub(crate) fn receiving_session(&self, receiver: u32) -> Option<Arc<Session>> {
        let session = self.receiving[receiver as usize % N_SESSIONS].load_full()?;
        (session.receiving_index() == receiver).then_some(session)
    }

    /// Leaves a note that data was sealed and sent.
    pub(crate) fn note_sent(&self, plaintext: u64, messages: u64) {
        self.noted.sent.fetch_add(plaintext, Ordering::Relaxed);
        self.tx_bytes.fetch_add(messages, Ordering::Relaxed);
    }

    /// Leaves a note that authentic messages came: how many bytes of plaintext, how many of messages.
    pub(crate) fn note_received(&self, plaintext: u64, messages: u64) {
        self.noted.received.fetch_add(plaintext, Ordering::Relaxed);
        self.noted.received_messages.fetch_add(1, Ordering::Relaxed);
        self.rx_bytes.fetch_add(messages, Ordering::Relaxed);
    }

    /// Starts a handshake unless one is going on.
    pub(crate) fn initiate(&self) -> Messages {
        self.with_tunn(CONTROL_MESSAGE, |tunn, scratch, messages| collect(tunn.format_handshake_initiation(scratch, false), messages)).0
    }

    /// Hands a packet to the protocol because there was no session: it is sealed if there is one by now, else it waits for the
    /// handshake that this starts. `false` when it was dropped because too many wait already.
    pub(crate) fn queue(&self, packet: &[u8]) -> (Messages, bool) {
        self.with_tunn(packet.len() + CONTROL_MESSAGE, |tunn, scratch, messages| {
            let room = tunn.current_session().is_some() || tunn.has_queue_room();
            collect(tunn.encapsulate(packet, scratch), messages);
            room
        })
    }

    /// Passes a verified handshake message or cookie on. `Err` when the protocol refuses it.
    pub(crate) fn receive_handshake(&self, packet: Packet<'_>) -> Result<Messages, WireGuardError> {
        let (messages, refused) =
            self.with_tunn(RECEIVE_SLOT, |tunn, scratch, messages| match tunn.handle_verified_packet(packet, scratch) {
                TunnResult::Err(error) => Some(error),
                result => {
                    collect(result, messages);
                    drain(tunn, scratch, messages);
                    None
                }
            });
        refused.map_or(Ok(messages), Err)
    }

    /// The peer has used the session with this index, so from now on it is sealed with.
    pub(crate) fn confirm(&self, receiver: u32) -> Messages {
        self.with_tunn(RECEIVE_SLOT, |tunn, scratch, messages| {
            tunn.confirm_session(receiver);
            drain(tunn, scratch, messages);
        })
        .0
    }

    /// Lets time pass: tells the timers what happened, and does what they ask for.
    pub(crate) fn tick(&self) -> Messages {
        let sent = self.noted.sent.swap(0, Ordering::Relaxed);
        let received_messages = self.noted.received_messages.swap(0, Ordering::Relaxed);
        let received = self.noted.received.swap(0, Ordering::Relaxed);
        self.with_tunn(CONTROL_MESSAGE, |tunn, scratch, messages| {
            if sent > 0 {
                tunn.note_sent(usize::try_from(sent).unwrap_or(usize::MAX));
            }
            if received_messages > 0 {
                tunn.note_received(usize::try_from(received).unwrap_or(usize::MAX));
            }
            collect(tunn.update_timers(scratch), messages);
            let limit = if tunn.is_initiator() { REKEY_INITIATOR } else { REKEY_RESPONDER };
            // The tables say that the peer is there, so a session is kept with it, and a handshake that timed out starts again.
            if !tunn.is_handshake_in_progress() && tunn.time_since_last_handshake().is_none_or(|age| age >= limit) {
                collect(tunn.format_handshake_initiation(scratch, true), messages);
            }
        })
        .0
    }

    /// Largest inner IP packet that the path to this peer carries, where it is known to be less than the network's.
    pub(crate) fn path_limit(&self) -> Option<u32> {
        if !self.path_limited.load(Ordering::Relaxed) {
            return None;
        }
        let mut limit = self.path_limit.lock().unwrap_or_else(PoisonError::into_inner);
        if limit.is_some_and(|(_, since)| since.elapsed() > PATH_MTU_LIFE) {
            *limit = None;
            self.path_limited.store(false, Ordering::Relaxed);
        }
        limit.map(|(bytes, _)| bytes)
    }

    /// The path to this peer carries inner IP packets of `bytes` only.
    pub(crate) fn limit_path(&self, bytes: u32) {
        tracing::warn!(node = %self.node, mtu = bytes, "the path to a peer carries less than its networks need");
        *self.path_limit.lock().unwrap_or_else(PoisonError::into_inner) = Some((bytes, Instant::now()));
        self.path_limited.store(true, Ordering::Relaxed);
    }

    /// What is told about this peer.
    pub(crate) fn status(&self) -> PeerStatus {
        PeerStatus {
            node: self.node,
            public_key: self.public_key,
            vtep: self.vtep,
            endpoint: self.endpoint(),
            last_handshake_unix_ms: self.last_handshake_unix_ms.load(Ordering::Relaxed),
            connected: self.session().is_some(),
            rx_bytes: self.rx_bytes.load(Ordering::Relaxed),
            tx_bytes: self.tx_bytes.load(Ordering::Relaxed),
            drops: self.drops.snapshot(),
        }
    }

    /// Runs the protocol under its lock and publishes the sessions it then has.
    fn with_tunn<T>(&self, largest: usize, act: impl FnOnce(&mut Tunn, &mut [u8], &mut Messages) -> T) -> (Messages, T) {
        let mut messages = Messages::default();
        let (mut small, mut large) = ([0; CONTROL_MESSAGE], Vec::new());
        let scratch = if largest <= CONTROL_MESSAGE {
            &mut small[..]
        } else {
            large.resize(largest, 0);
            &mut large[..]
        };
        let mut tunn = self.tunn.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut tunn, scratch, &mut messages);
        self.publish(&tunn);
        drop(tunn);
        let bytes: usize = messages.iter().map(<[u8]>::len).sum();
        self.tx_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        (messages, result)
    }

    fn publish(&self, tunn: &MutexGuard<'_, Tunn>) {
        for (slot, session) in self.receiving.iter().zip(tunn.sessions()) {
            if !same(&slot.load(), session) {
                slot.store(session.clone());
            }
        }
        let current = tunn.current_session();
        if !same(&self.sending.load(), &current) {
            if current.is_some() {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
                self.last_handshake_unix_ms.store(u64::try_from(now.as_millis()).unwrap_or(0), Ordering::Relaxed);
            }
            self.sending.store(current);
        }
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").field("node", &self.node).field("public_key", &self.public_key).finish_non_exhaustive()
    }
}

fn same(a: &Option<Arc<Session>>, b: &Option<Arc<Session>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    }
}

/// Keeps what is to be sent. Data never comes out here: the fast path opens it.
fn collect(result: TunnResult<'_>, messages: &mut Messages) {
    match result {
        TunnResult::WriteToNetwork(message) => messages.push(message),
        TunnResult::Done | TunnResult::Err(_) | TunnResult::WriteToTunnelV4(..) | TunnResult::WriteToTunnelV6(..) => {}
    }
}

/// Seals what waited for the session, if there is one now.
fn drain(tunn: &mut Tunn, scratch: &mut [u8], messages: &mut Messages) {
    while tunn.has_queued_packets() && tunn.current_session().is_some() {
        collect(tunn.decapsulate(None, &[], scratch), messages);
    }
}
