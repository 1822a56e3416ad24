//! The node's session with a manager: beats and reports up, assignments down, and another manager when this one goes.
//!
//! In: what the node applied and what it says of itself. Out: the ledger. A session that breaks is never the end of anything:
//! containers and networks go on from the ledger.

use std::sync::Arc;

use rcon_proto::v1::{self, session_down::Down, session_up::Up};
use rcon_rpc::{Channel, status_to_failure, tonic::Streaming, v1::node_session_client::NodeSessionClient};
use rcon_types::{Failure, FailureKind, Revision};
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    ledger::{Ledger, LedgerError},
    limits,
    link::{Candidate, ManagerLink},
};

/// What the session reads and writes.
pub struct Session {
    /// The way to the managers.
    pub link: Arc<ManagerLink>,
    /// Where assignments go.
    pub ledger: Arc<Ledger>,
    /// The revision that this host's kernel follows.
    pub applied: watch::Receiver<Revision>,
    /// What this host says of itself.
    pub description: watch::Receiver<v1::NodeDescription>,
    /// Told when the cluster says that this node is not its member.
    pub removed: watch::Sender<bool>,
}

/// Why a session ended.
enum End {
    /// The manager went, or was never there.
    Lost(Failure),
    /// The ledger does not fit; the next session asks for a full set.
    Unfit(LedgerError),
}

impl Session {
    /// Keeps a session with some manager until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut pause = limits::RECONNECT.0;
        let mut start = 0;
        let mut full = false;
        loop {
            for candidate in self.link.in_order(start) {
                let ended = tokio::select! {
                    () = stop.cancelled() => return,
                    ended = self.with(&candidate, full) => ended,
                };
                let was_open = self.link.current().is_some();
                self.link.set_current(None);
                full = matches!(ended, End::Unfit(_));
                match ended {
                    End::Unfit(error) => warn!(manager = candidate.address, %error, "asking for a full set"),
                    End::Lost(failure) if was_open => {
                        info!(manager = candidate.address, failure = %failure.message, "session ended; looking for a manager");
                        pause = limits::RECONNECT.0;
                    }
                    End::Lost(failure) => debug!(manager = candidate.address, failure = %failure.message, "no session with this manager"),
                }
            }
            start += 1;
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => pause = (pause * 2).min(limits::RECONNECT.1),
            }
        }
    }

    async fn with(&mut self, candidate: &Candidate, full: bool) -> End {
        let opened = timeout(limits::SESSION_OPEN, self.open(candidate, full)).await;
        let (channel, up, down) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(failure)) => return End::Lost(failure),
            Err(_) => return End::Lost(Failure::new(FailureKind::DeadlineExceeded, "the manager did not open a session in time")),
        };
        self.link.set_current(Some((candidate.clone(), channel)));
        self.converse(candidate, up, down).await
    }

    async fn open(
        &self,
        candidate: &Candidate,
        full: bool,
    ) -> Result<(Channel, mpsc::Sender<v1::SessionUp>, Streaming<v1::SessionDown>), Failure> {
        let channel = self.link.open(candidate)?;
        let (up, receiver) = mpsc::channel(limits::SESSION_QUEUE);
        let set = self.ledger.current();
        let hello = v1::Hello {
            epoch: set.epoch,
            last_revision: if full { 0 } else { set.revision },
            description: Some(self.description.borrow().clone()),
        };
        up.try_send(v1::SessionUp { up: Some(Up::Hello(hello)) })
            .map_err(|_| Failure::new(FailureKind::Internal, "the session's queue is full before its start"))?;
        let answer = NodeSessionClient::new(channel.clone()).session(ReceiverStream::new(receiver)).await;
        let down = answer.map_err(status_to_failure)?.into_inner();
        Ok((channel, up, down))
    }

    async fn converse(&mut self, candidate: &Candidate, up: mpsc::Sender<v1::SessionUp>, mut down: Streaming<v1::SessionDown>) -> End {
        let mut beats = interval(limits::BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut greeted = false;
        let lost = |text: &str| End::Lost(Failure::new(FailureKind::Unavailable, text));
        loop {
            let message = tokio::select! {
                received = timeout(limits::MANAGER_SILENCE, down.message()) => match received {
                    Err(_) => return lost("the manager has fallen silent"),
                    Ok(Err(status)) => return End::Lost(status_to_failure(status)),
                    Ok(Ok(None)) => return lost("the manager closed the session"),
                    Ok(Ok(Some(message))) => message,
                },
                _ = beats.tick() => {
                    if up.try_send(self.beat()).is_err() { return lost("the manager takes no beats") }
                    continue;
                }
                Ok(()) = self.applied.changed() => {
                    // Said at once, so that others can wait for it; a full queue is no matter, the next beat says it too.
                    let _ = up.try_send(self.beat());
                    continue;
                }
                Ok(()) = self.description.changed() => {
                    let description = self.description.borrow_and_update().clone();
                    if up.try_send(v1::SessionUp { up: Some(Up::Description(description)) }).is_err() { return lost("the manager takes no reports") }
                    continue;
                }
            };
            let taken = match message.down {
                Some(Down::Full(set)) => self.ledger.take_full(set),
                Some(Down::Delta(delta)) => self.ledger.take_delta(delta),
                Some(Down::Alive(_)) | None => Ok(()),
                Some(Down::Removed(removed)) => {
                    self.removed.send_if_modified(|known| !std::mem::replace(known, true));
                    return lost(&format!("the cluster has removed this node: {}", removed.message));
                }
            };
            if let Err(error) = taken {
                return End::Unfit(error);
            }
            if !greeted {
                greeted = true;
                self.removed.send_if_modified(|removed| std::mem::replace(removed, false));
                info!(manager = candidate.address, revision = self.ledger.current().revision, "session open");
            }
        }
    }

    fn beat(&mut self) -> v1::SessionUp {
        let applied_revision = self.applied.borrow_and_update().0;
        v1::SessionUp { up: Some(Up::Beat(v1::Beat { applied_revision })) }
    }
}
