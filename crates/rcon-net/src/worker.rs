//! The thread that holds the network.

use std::{net::IpAddr, path::Path, sync::Arc};

use nix::sys::eventfd::{EfdFlags, EventFd};
use rcon_netplan::HostNetwork;
use rcon_types::ContainerId;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{NetError, Options, Report, Underlay};

/// Most commands that wait; senders wait beyond that.
const QUEUE: usize = 64;

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
pub(crate) fn start(_directory: &Path, _options: Options) -> Result<Client, NetError> {
    let (commands, _receiver) = mpsc::channel(QUEUE);
    let (_publish, reports) = watch::channel(Report::default());
    let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
        .map_err(|errno| NetError::Socket { what: "wake-ups", source: errno.into() })?;
    Ok(Client { commands: Some(commands), wake: Arc::new(wake), reports })
}
