//! One container that is served: its sockets, the tasks on them, and what it may see at this moment.

use std::{io, os::fd::OwnedFd, sync::Arc};

use arc_swap::ArcSwap;
use rcon_types::ContainerId;
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};

use crate::{
    answer::{Decision, Transport, decide},
    forward, limits,
    namespace::{NamespaceId, Sockets},
    tcp, udp,
    zone::View,
};

/// A container that is served. Dropping it closes its sockets, and so lets its namespace go.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) namespace: NamespaceId,
    asker: Arc<Asker>,
    udp: Arc<UdpSocket>,
    tcp: Arc<TcpListener>,
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

/// What the tasks of a container share.
#[derive(Debug)]
pub(crate) struct Asker {
    view: ArcSwap<View>,
    own: Arc<Semaphore>,
    everyones: Arc<Semaphore>,
}

/// A right to ask the upstreams: one of the container's, and one of all.
pub(crate) struct Permit {
    _own: OwnedSemaphorePermit,
    _everyones: OwnedSemaphorePermit,
}

/// What becomes of a query.
pub(crate) enum Outcome {
    /// Send this at once.
    Reply(Vec<u8>),
    /// Send what this gives, whenever it does.
    Pending(Box<Pending>),
    /// Say nothing.
    Silence,
}

/// A query that waits for upstreams.
pub(crate) struct Pending {
    question: crate::answer::Question,
    view: Arc<View>,
    transport: Transport,
    _permit: Permit,
}

impl Container {
    /// Serves on these sockets, inside a tokio runtime.
    pub(crate) fn start(
        id: ContainerId,
        (namespace, sockets): (NamespaceId, Sockets),
        view: View,
        everyones: &Arc<Semaphore>,
    ) -> io::Result<Self> {
        let udp = Arc::new(UdpSocket::from_std(sockets.udp)?);
        let tcp = Arc::new(TcpListener::from_std(sockets.tcp)?);
        let asker = Arc::new(Asker {
            view: ArcSwap::from_pointee(view),
            own: Arc::new(Semaphore::new(limits::MAX_FORWARDED_PER_CONTAINER)),
            everyones: Arc::clone(everyones),
        });
        let stop = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(udp::serve(Arc::clone(&asker), Arc::clone(&udp), stop.subscribe()));
        tasks.spawn(tcp::serve(Arc::clone(&asker), Arc::clone(&tcp), stop.subscribe()));
        tracing::info!(container = %id.short(), "serving names");
        Ok(Self { namespace, asker, udp, tcp, tasks, stop })
    }

    /// What the container sees from the next query on.
    pub(crate) fn show(&self, view: View) {
        self.asker.view.store(Arc::new(view));
    }

    /// Copies of the descriptors, UDP then TCP, for a successor.
    pub(crate) fn descriptors(&self) -> io::Result<[OwnedFd; 2]> {
        use std::os::fd::AsFd;
        Ok([self.udp.as_fd().try_clone_to_owned()?, self.tcp.as_fd().try_clone_to_owned()?])
    }

    /// Takes no more queries, and answers those that it has taken.
    pub(crate) async fn drain(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Asker {
    /// Decides on a query.
    pub(crate) fn handle(&self, bytes: &[u8], transport: Transport) -> Outcome {
        let view = self.view.load_full();
        match decide(&view, bytes, transport, &mut rand::rng()) {
            Decision::Reply(reply) => Outcome::Reply(reply),
            Decision::Drop => Outcome::Silence,
            Decision::Forward(question) => match self.permit() {
                Some(permit) => Outcome::Pending(Box::new(Pending { question, view, transport, _permit: permit })),
                None => Outcome::Reply(question.failed()),
            },
        }
    }

    fn permit(&self) -> Option<Permit> {
        let own = Arc::clone(&self.own).try_acquire_owned().ok()?;
        let everyones = Arc::clone(&self.everyones).try_acquire_owned().ok()?;
        Some(Permit { _own: own, _everyones: everyones })
    }
}

impl Pending {
    /// The reply, in the end.
    pub(crate) async fn reply(self) -> Vec<u8> {
        forward::ask(&self.question, &self.view.upstreams, self.transport).await
    }
}
