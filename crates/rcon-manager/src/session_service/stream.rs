//! One node's session, from its hello to its end.
//!
//! Beats and descriptions come up; assignments, and signs of life, go down. The queue down is two messages long: while a receiver is slow,
//! changes gather in the mailbox and become one message. The session ends when the node falls silent, opens another one, is removed, or
//! this manager gives its sessions up; the node finds its way back by itself.

use std::{sync::Arc, time::Duration};

use rcon_proto::v1::{self, session_down::Down, session_up::Up};
use rcon_raft::Mailbox;
use rcon_rpc::tonic::{Status, Streaming};
use rcon_types::{Failure, FailureKind, NodeId, Revision};
use tokio::{
    sync::mpsc::{Permit, Sender, error::SendError},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};

use super::{flush::Outbox, removed};
use crate::{
    assignments::assignments,
    limits::{BEAT, FLUSH_INTERVAL, HELLO_DEADLINE, SILENCE},
    replica::Change,
    sessions::Registration,
    shared::{Shared, refused},
};

/// A message down, or the status with which the stream ends.
type Message = Result<v1::SessionDown, Status>;

/// Serves a session until it ends, and tells the node why.
pub(super) async fn run(shared: Arc<Shared>, node: NodeId, mut up: Streaming<v1::SessionUp>, down: Sender<Message>) {
    let Err(failure) = serve(&shared, node, &mut up, &down).await else { return };
    tracing::debug!(%node, %failure, "a session ended");
    // A node that does not even take this has gone.
    let _ = timeout(BEAT, down.send(Err(refused(failure)))).await;
}

async fn serve(shared: &Arc<Shared>, node: NodeId, up: &mut Streaming<v1::SessionUp>, down: &Sender<Message>) -> Result<(), Failure> {
    let hello = hello(up).await?;
    let mut session = Session {
        shared,
        node,
        outbox: Outbox::new(&hello),
        mailbox: shared.replica.subscribe(node),
        registration: shared.sessions.begin(node)?,
        wanted: hello.description.clone(),
        describing: JoinSet::new(),
        dirty: true,
        last_flush: None,
        last_beat: Instant::now(),
        seen: Revision(0),
    };
    catch_up(shared, &hello).await?;
    session.serve(up, down).await
}

/// The first message.
async fn hello(up: &mut Streaming<v1::SessionUp>) -> Result<v1::Hello, Failure> {
    let first = timeout(HELLO_DEADLINE, up.message()).await;
    match first {
        Ok(Ok(Some(v1::SessionUp { up: Some(Up::Hello(hello)) }))) => Ok(hello),
        Ok(Ok(_)) => Err(Failure::new(FailureKind::InvalidArgument, "a session begins with a hello")),
        Ok(Err(_)) | Err(_) => Err(Failure::new(FailureKind::DeadlineExceeded, "the session's hello did not come")),
    }
}

/// Waits until this manager is not behind what the node has seen elsewhere: a node never goes back.
async fn catch_up(shared: &Shared, hello: &v1::Hello) -> Result<(), Failure> {
    let mut revision = shared.replica.revision();
    let caught_up = timeout(SILENCE, revision.wait_for(|revision| revision.0 >= hello.last_revision)).await;
    if matches!(caught_up, Ok(Ok(_))) && shared.replica.state().epoch() >= hello.epoch {
        return Ok(());
    }
    Err(Failure::new(FailureKind::Unavailable, "this manager is behind what the node has seen")
        .hint("the node tries another manager by itself"))
}

struct Session<'a> {
    shared: &'a Arc<Shared>,
    node: NodeId,
    outbox: Outbox,
    mailbox: Mailbox,
    registration: Registration<'a>,
    /// What the node says of itself, until the state says so too.
    wanted: Option<v1::NodeDescription>,
    /// At most one proposal of it.
    describing: JoinSet<Result<v1::Applied, Failure>>,
    dirty: bool,
    last_flush: Option<Instant>,
    last_beat: Instant,
    /// The revision at the last sign of life.
    seen: Revision,
}

impl Session<'_> {
    async fn serve(&mut self, up: &mut Streaming<v1::SessionUp>, down: &Sender<Message>) -> Result<(), Failure> {
        let mut alive = interval(BEAT);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.describe();
        loop {
            let flush_at = self.last_flush.map_or_else(Instant::now, |last| last + FLUSH_INTERVAL);
            tokio::select! {
                message = up.message() => match message {
                    Ok(Some(message)) => self.take(message)?,
                    Ok(None) => return Ok(()),
                    Err(status) => return Err(Failure::new(FailureKind::Unavailable, format!("the stream broke: {}", status.message()))),
                },
                _ = self.mailbox.changed(), if !self.dirty => self.dirty = true,
                permit = room(down, flush_at), if self.dirty => match permit {
                    Ok(permit) => self.flush(permit)?,
                    Err(_) => return Ok(()),
                },
                _ = alive.tick() => self.tick(down),
                Some(outcome) = self.describing.join_next() => self.described(outcome.unwrap_or_else(|_| Err(interrupted()))),
                () = sleep_until(self.last_beat + SILENCE) => {
                    return Err(Failure::new(FailureKind::DeadlineExceeded, format!("the node was silent for {} s", SILENCE.as_secs())));
                }
                () = self.registration.displaced() => {
                    let failure = Failure::new(FailureKind::Unavailable, "the session was given up: there is a newer one, or this manager has no leader");
                    return Err(failure.hint("the node opens another by itself"));
                }
            }
        }
    }

    fn take(&mut self, message: v1::SessionUp) -> Result<(), Failure> {
        self.last_beat = Instant::now();
        self.registration.beat();
        match message.up {
            Some(Up::Beat(beat)) => self.registration.applied(self.outbox.follows(beat.applied_revision)),
            Some(Up::Description(description)) => {
                self.wanted = Some(description);
                self.describe();
            }
            Some(Up::Hello(_)) => return Err(Failure::new(FailureKind::InvalidArgument, "a session has one hello")),
            None => {}
        }
        Ok(())
    }

    fn flush(&mut self, permit: Permit<'_, Message>) -> Result<(), Failure> {
        // What comes after this is of the next flush; what came before is in the state that is read next.
        self.mailbox.take();
        self.dirty = false;
        self.last_flush = Some(Instant::now());
        let state = self.shared.replica.state();
        match assignments(&state, self.node, self.shared.underlay(&state)) {
            Some(set) => {
                if let Some(message) = self.outbox.next(set) {
                    permit.send(Ok(message));
                }
                Ok(())
            }
            None if state.is_tombstoned(self.node) => {
                permit.send(Ok(removed()));
                Err(Failure::new(FailureKind::PermissionDenied, "this node was removed from the cluster").hint("join again with a token"))
            }
            None => Err(Failure::new(FailureKind::Unavailable, "this manager does not know the node yet")),
        }
    }

    /// Each second: a sign of life, and what was left undone.
    fn tick(&mut self, down: &Sender<Message>) {
        let seen = std::mem::replace(&mut self.seen, self.shared.replica.state().revision());
        if !self.dirty {
            match self.mailbox.take() {
                Some(_) => self.dirty = true,
                // One tick later, so that a change which is applied at this moment is in the mailbox for sure.
                None => self.outbox.quiet_until(seen.0),
            }
        }
        let alive = v1::SessionDown { down: Some(Down::Alive(v1::Beat { applied_revision: self.outbox.complete() })) };
        // A receiver that has messages waiting hears that we live from those.
        let _ = down.try_send(Ok(alive));
        self.describe();
    }

    /// Brings what the node says of itself into the state, where the state says otherwise.
    fn describe(&mut self) {
        let Some(wanted) = &self.wanted else { return };
        if !self.describing.is_empty() {
            return;
        }
        let state = self.shared.replica.state();
        if state.node(self.node).is_none_or(|node| node.description.as_ref() == Some(wanted)) {
            self.wanted = None;
            return;
        }
        let node_id = rcon_proto::convert::id_bytes(self.node);
        let describe = v1::DescribeNode { node_id, description: Some(wanted.clone()) };
        let shared = Arc::clone(self.shared);
        self.describing.spawn(async move { shared.replica.propose(Change::new(vec![v1::op::Op::DescribeNode(describe)]), &state).await });
    }

    fn described(&mut self, outcome: Result<v1::Applied, Failure>) {
        match outcome {
            Ok(_) => self.describe(),
            Err(failure) if failure.kind == FailureKind::InvalidArgument => {
                tracing::warn!(node = %self.node, %failure, "what the node says of itself is refused");
                self.wanted = None;
            }
            // The next tick tries again.
            Err(failure) => tracing::debug!(node = %self.node, %failure, "the node's description could not be written"),
        }
    }
}

fn interrupted() -> Failure {
    Failure::new(FailureKind::Internal, "a proposal was interrupted")
}

/// Room in the queue, not before a moment.
async fn room(down: &Sender<Message>, at: Instant) -> Result<Permit<'_, Message>, SendError<()>> {
    sleep_until(at).await;
    down.reserve().await
}

const _: () = assert!(FLUSH_INTERVAL.as_millis() < Duration::from_secs(1).as_millis(), "flushes come between signs of life");
