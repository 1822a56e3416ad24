//! The datapath as a whole: puts tables in force, keeps the threads, and takes everything down again.

use std::{
    collections::BTreeMap,
    os::fd::{AsRawFd, RawFd},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use rcon_packet::control::{Descriptor, Status, Tables, ValidTables};
use rcon_types::{Revision, Vni};

use crate::{
    TunnelError,
    forwarding::Forwarding,
    handover::Inherited,
    identity::Identity,
    limits::MAX_SENDERS,
    namespace,
    receive::Receiver,
    sealed::send_messages,
    shared::Shared,
    tap::Tap,
    threads::{Outcome, Threads},
    timers,
    transmit::Transmitter,
    udp::UdpSocket,
};

/// Everything that moves packets.
#[derive(Debug)]
pub(crate) struct Datapath {
    shared: Arc<Shared>,
    outcome: Arc<Outcome>,
    tap_namespace: PathBuf,
    queues: usize,
    state: Mutex<State>,
}

/// What only one request at a time may change.
#[derive(Debug)]
struct State {
    taps: BTreeMap<Vni, Arc<Tap>>,
    threads: Threads,
    inherited: Inherited,
    ended: bool,
}

impl Datapath {
    /// One without tables and threads.
    pub(crate) fn new(tap_namespace: PathBuf, inherited: Inherited, outcome: Arc<Outcome>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            shared: Shared::new(),
            outcome,
            tap_namespace,
            queues: (cores / 2).clamp(1, MAX_SENDERS),
            state: Mutex::new(State { taps: BTreeMap::new(), threads: Threads::default(), inherited, ended: false }),
        }
    }

    /// Puts tables in force. When this returns, packets follow them; on failure nothing has changed.
    pub(crate) fn apply(&self, tables: ValidTables) -> Result<Revision, TunnelError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.ended {
            return Err(TunnelError::Ending);
        }
        let old = self.shared.forwarding.load_full();
        let revision = tables.get().revision;
        if let Some(current) = old.as_ref().map(|old| old.tables.get().revision).filter(|current| *current > revision) {
            return Err(TunnelError::Stale { offered: revision, current });
        }
        let identity = Identity::read(&tables.get().private_key_file)?;
        let taps = self.taps(&mut state, tables.get())?;
        let socket = self.socket(&mut state, tables.get().listen_port)?;
        let identity = match &old {
            Some(old) if old.identity.public == identity.public => Arc::clone(&old.identity),
            _ => Arc::new(identity),
        };
        let (forwarding, new_peers) = Forwarding::build(tables, identity, &taps, old.as_deref());
        let forwarding = Arc::new(forwarding);
        state.taps = taps;
        if let Some(socket) = socket {
            self.shared.socket.store(Some(Arc::new(socket)));
        }
        self.shared.forwarding.store(Some(Arc::clone(&forwarding)));
        if state.threads.is_empty() {
            self.start(&mut state.threads)?;
        } else {
            state.threads.wake();
        }
        for peer in new_peers.iter().filter_map(|number| forwarding.peers.get(*number)) {
            if let Some(to) = peer.endpoint() {
                send_messages(&self.shared, to, &peer.initiate());
            }
        }
        tracing::info!(%revision, peers = forwarding.peers.len(), networks = forwarding.networks.len(), "tables in force");
        Ok(revision)
    }

    /// The TAPs of the tables: those that are there, those that were inherited, and new ones.
    fn taps(&self, state: &mut State, tables: &Tables) -> Result<BTreeMap<Vni, Arc<Tap>>, TunnelError> {
        let mut taps = BTreeMap::new();
        let mut missing = Vec::new();
        for network in &tables.networks {
            let there = state.taps.get(&network.vni).filter(|tap| tap.name == network.tap && tap.is_attached());
            if let Some(tap) = there {
                taps.insert(network.vni, Arc::clone(tap));
            } else if let Some(tap) = state.inherited.tap(network.vni, &network.tap) {
                taps.insert(network.vni, Arc::new(tap?));
            } else {
                missing.push((network.vni, network.tap.clone()));
            }
        }
        if !missing.is_empty() {
            let queues = self.queues;
            let open = move || missing.into_iter().map(|(vni, name)| Tap::open(vni, &name, queues)).collect::<Result<Vec<_>, _>>();
            for tap in namespace::inside(&self.tap_namespace, open)? {
                taps.insert(tap.vni, Arc::new(tap));
            }
        }
        Ok(taps)
    }

    /// A socket, if the one in use is none or bound to another port.
    fn socket(&self, state: &mut State, port: u16) -> Result<Option<UdpSocket>, TunnelError> {
        if self.shared.socket.load().as_ref().is_some_and(|socket| socket.port == port) {
            return Ok(None);
        }
        state.inherited.socket(port).unwrap_or_else(|| UdpSocket::bind(port)).map(Some)
    }

    fn start(&self, threads: &mut Threads) -> Result<(), TunnelError> {
        for queue in 0..self.queues {
            let shared = Arc::clone(&self.shared);
            threads.start(&format!("transmit-{queue}"), &self.outcome, move |wake| Transmitter::new(shared, wake, queue).run())?;
        }
        let shared = Arc::clone(&self.shared);
        threads.start("receive", &self.outcome, move |_| Receiver::new(shared).run())?;
        let shared = Arc::clone(&self.shared);
        threads.start("timers", &self.outcome, move |wake| {
            timers::run(&shared, &wake);
            Ok(())
        })
    }

    /// What is told about the tunnel.
    pub(crate) fn status(&self) -> Status {
        let forwarding = self.shared.forwarding.load_full();
        let forwarding = forwarding.as_deref();
        Status {
            revision: forwarding.map_or(Revision(0), |f| f.tables.get().revision),
            pid: std::process::id(),
            public_key: forwarding.map(|f| f.identity.public_key()),
            listen_port: self.shared.socket.load().as_ref().map_or(0, |socket| socket.port),
            peers: forwarding.map_or_else(Vec::new, |f| f.peers.iter().map(|peer| peer.status()).collect()),
            networks: forwarding.map_or_else(Vec::new, Forwarding::network_status),
            drops: self.shared.drops.snapshot(),
        }
    }

    /// The private key, for `wg show`, which derives the public one from it.
    pub(crate) fn private_key_hex(&self) -> Option<String> {
        self.shared.forwarding.load().as_ref().map(|f| hex::encode(f.identity.secret.to_bytes()))
    }

    /// Whether it was stopped or handed over.
    pub(crate) fn has_ended(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).ended
    }

    /// Stops forwarding; there is no way back.
    pub(crate) fn stop(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.ended = true;
        self.shared.stop();
        state.threads.join();
    }

    /// Stops forwarding and gives `pass_on` every descriptor with what it is; they are closed afterwards.
    pub(crate) fn hand_over<T>(&self, pass_on: impl FnOnce(Vec<Descriptor>, &[RawFd]) -> T) -> T {
        self.stop();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.forwarding.store(None);
        let socket = self.shared.socket.swap(None);
        let (mut descriptors, mut fds) = (Vec::new(), Vec::new());
        if let Some(socket) = &socket {
            descriptors.push(Descriptor::Udp { port: socket.port });
            fds.push(socket.raw_fd());
        }
        let taps = std::mem::take(&mut state.taps);
        for tap in taps.values() {
            for fd in (0..tap.queues()).filter_map(|queue| tap.queue(queue)) {
                descriptors.push(Descriptor::Tap { vni: tap.vni, name: tap.name.clone() });
                fds.push(fd.as_raw_fd());
            }
        }
        pass_on(descriptors, &fds)
    }
}
