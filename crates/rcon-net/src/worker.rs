//! The thread that holds the network: commands in their order, and damage mended in between.

use std::{
    net::IpAddr,
    os::fd::AsFd,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::{EfdFlags, EventFd},
};
use rcon_netplan::{HostNetwork, Namespace};
use rcon_types::{ContainerId, Mtu};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{NetError, Options, Report, Underlay, WireguardPeer, monitor::Monitor, pass::Network, reading, socket::Netlink};

/// Most commands that wait; senders wait beyond that.
const QUEUE: usize = 64;
/// From a change that was heard to a look at everything.
const DAMAGE_DELAY: Duration = Duration::from_millis(200);
/// The longest wait between attempts that fail.
const MAX_PATIENCE: Duration = Duration::from_secs(10);
/// Between looks when nothing was heard: not everything is heard, such as settings.
const PERIOD: Duration = Duration::from_secs(30);

/// Where a command's answer goes.
pub(crate) type Answer<T> = oneshot::Sender<Result<T, NetError>>;

/// What the handle asks of the thread.
#[derive(Debug)]
pub(crate) enum Command {
    /// Make this true, and keep it so.
    Apply { desired: Box<HostNetwork>, reply: Answer<Report> },
    /// Compare and mend everything.
    Resync { reply: Answer<Report> },
    /// The container's namespace is about to go.
    Forget { container: ContainerId, reply: Answer<()> },
    /// Which interface has this address.
    Underlay { address: IpAddr, reply: Answer<Option<Underlay>> },
    /// What the kernel's WireGuard knows.
    WireguardPeers { reply: Answer<Vec<WireguardPeer>> },
    /// Remove everything of ours.
    Destroy { reply: Answer<()> },
}

/// The handle's side.
#[derive(Debug)]
pub(crate) struct Client {
    commands: Option<mpsc::Sender<Command>>,
    wake: Arc<EventFd>,
    reports: watch::Receiver<Report>,
}

impl Client {
    /// Hands a command over; waits while too many are waiting.
    pub(crate) async fn send(&self, command: Command) -> Result<(), NetError> {
        let commands = self.commands.as_ref().ok_or(NetError::Gone)?;
        commands.send(command).await.map_err(|_| NetError::Gone)?;
        let _ = self.wake.write(1);
        Ok(())
    }

    /// The latest report, as it changes.
    pub(crate) fn reports(&self) -> watch::Receiver<Report> {
        self.reports.clone()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.commands = None;
        let _ = self.wake.write(1);
    }
}

/// Starts the thread in the namespace of the caller.
pub(crate) fn start(directory: &Path, options: Options) -> Result<Client, NetError> {
    let failed = |errno: nix::errno::Errno| NetError::Socket { what: "wake-ups", source: errno.into() };
    let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map_err(failed)?);
    let (commands, receiver) = mpsc::channel(QUEUE);
    let (publish, reports) = watch::channel(Report::default());
    let worker = Worker::new(Network::new(directory, options)?, receiver, Arc::clone(&wake), publish)?;
    let spawned = thread::Builder::new().name("rcon-net".into()).spawn(move || worker.run());
    spawned.map_err(|source| NetError::Socket { what: "the network's thread", source })?;
    Ok(Client { commands: Some(commands), wake, reports })
}

/// The thread's side.
struct Worker {
    network: Network,
    desired: Option<HostNetwork>,
    commands: mpsc::Receiver<Command>,
    wake: Arc<EventFd>,
    reports: watch::Sender<Report>,
    host: Monitor,
    overlay: Option<Monitor>,
    /// Which namespace of all overlays that one listens to.
    heard_overlay: u64,
    /// When to look at everything again.
    due: Instant,
    /// How long to wait when the last look did not succeed.
    patience: Duration,
}

impl Worker {
    fn new(
        network: Network,
        commands: mpsc::Receiver<Command>,
        wake: Arc<EventFd>,
        reports: watch::Sender<Report>,
    ) -> Result<Self, NetError> {
        let host = Monitor::open(Namespace::Host, &network.hands.host)?;
        let (due, patience) = (Instant::now() + PERIOD, DAMAGE_DELAY);
        Ok(Self { network, desired: None, commands, wake, reports, host, overlay: None, heard_overlay: 0, due, patience })
    }

    fn run(mut self) {
        loop {
            self.wait();
            let _ = self.wake.read();
            loop {
                match self.commands.try_recv() {
                    Ok(command) => self.obey(command),
                    Err(mpsc::error::TryRecvError::Empty) => break,
                    Err(mpsc::error::TryRecvError::Disconnected) => return,
                }
            }
            self.listen();
            if Instant::now() >= self.due {
                self.mend();
            }
        }
    }

    fn wait(&self) {
        let left = self.due.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX);
        let monitors = [Some(&self.host), self.overlay.as_ref()];
        let heard = monitors.into_iter().flatten().flat_map(Monitor::descriptors);
        let mut polled: Vec<PollFd<'_>> =
            [self.wake.as_fd()].into_iter().chain(heard).map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        // Interrupted or not: everything is looked at afterwards.
        let _ = poll(&mut polled, timeout);
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Apply { desired, reply } => {
                let result = self.pass(&desired, false);
                self.desired = Some(*desired);
                let _ = reply.send(result);
            }
            Command::Resync { reply } => {
                let desired = self.desired.clone().unwrap_or_default();
                let _ = reply.send(self.pass(&desired, true));
            }
            Command::Forget { container, reply } => {
                self.network.forget(container);
                let _ = reply.send(Ok(()));
            }
            Command::Underlay { address, reply } => {
                let _ = reply.send(underlay(&mut self.network.hands.host.route, address));
            }
            Command::WireguardPeers { reply } => {
                let _ = reply.send(self.network.wireguard_peers());
            }
            Command::Destroy { reply } => {
                self.desired = None;
                // Its sockets would hold the namespace.
                self.overlay = None;
                let _ = reply.send(self.network.destroy());
            }
        }
    }

    fn pass(&mut self, desired: &HostNetwork, full: bool) -> Result<Report, NetError> {
        let result = self.network.pass(desired, full);
        if self.heard_overlay != self.network.overlays_opened {
            let monitor = self.network.hands.overlay.as_ref().map(|handle| Monitor::open(Namespace::Overlay, handle));
            self.overlay = monitor.transpose()?;
            self.heard_overlay = self.network.overlays_opened;
            // Whatever happened before it listened was not heard.
            self.due = self.due.min(Instant::now() + DAMAGE_DELAY);
        }
        if let Ok(report) = &result {
            self.publish(report);
        }
        result
    }

    fn publish(&self, report: &Report) {
        if report.problems != self.reports.borrow().problems {
            for problem in &report.problems {
                tracing::warn!(network = ?problem.network, "{}", problem.failure);
            }
        }
        self.reports.send_replace(report.clone());
    }

    /// What was heard makes a look due soon, not at once: changes come in bursts.
    fn listen(&mut self) {
        let host = self.host.take();
        let overlay = self.overlay.as_mut().is_some_and(Monitor::take);
        if host || overlay {
            self.due = self.due.min(Instant::now() + self.patience);
        }
    }

    /// Looks at everything and mends it, if anything was ever wanted.
    fn mend(&mut self) {
        let Some(desired) = self.desired.clone() else {
            self.due = Instant::now() + PERIOD;
            return;
        };
        let before = self.network.hands.overlay.is_some();
        let well = match self.pass(&desired, true) {
            Ok(report) => {
                if report.steps > 0 && before {
                    tracing::info!(steps = report.steps, "the host's network was mended");
                }
                report.applied
            }
            Err(error) => {
                tracing::warn!("{}", error.failure());
                false
            }
        };
        self.patience = if well { DAMAGE_DELAY } else { (self.patience * 2).min(MAX_PATIENCE) };
        self.due = Instant::now() + if well { PERIOD } else { self.patience };
    }
}

/// The interface of the namespace of `socket` that has `address`.
fn underlay(socket: &mut Netlink, address: IpAddr) -> Result<Option<Underlay>, NetError> {
    let failed = |source| NetError::Observe { what: "the addresses", source };
    let addresses = reading::addresses(socket).map_err(failed)?;
    let Some((index, _)) = addresses.into_iter().find(|(_, net)| net.addr() == address) else { return Ok(None) };
    let links = reading::links(socket).map_err(failed)?;
    Ok(links.into_iter().find(|link| link.index == index).map(|link| Underlay { interface: link.name, mtu: Mtu(link.mtu) }))
}
