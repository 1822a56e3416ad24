//! Where the other managers knock: the gRPC service that is served before, while and after this node is a manager.
//!
//! Every request is authorised: its caller has a manager's certificate of this cluster, the Raft id it speaks for belongs to the
//! node of that certificate, and the message is for us, in our cluster and epoch.

use std::{
    pin::Pin,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use openraft::{raft::AppendEntriesRequest, storage::Snapshot};
use rcon_identity::PeerIdentity;
use rcon_proto::{Message, convert, v1};
use rcon_rpc::{
    Caller, failure_to_status,
    tonic::{self, Request, Response, Status, Streaming},
    v1::raft_server::{Raft as RaftService, RaftServer},
};
use rcon_state::State;
use rcon_types::{Failure, FailureKind, NodeId, Role};

use crate::{
    machine::Image,
    manager::Manager,
    membership::{LeaderAnswer, LeaderRequest},
    propose::{self, Refusal},
    types::{Raft, TypeConfig},
    wire,
};

/// The largest snapshot that is taken in.
const MAX_SNAPSHOT_BYTES: usize = 2 << 30;
/// The most requests read ahead on a stream of entries.
const READ_AHEAD: usize = 16;

/// The service `rcon.v1.Raft` of this node. Serve it on 2377/tcp from the start; while the node is no manager it says so.
#[derive(Clone, Default)]
pub struct RaftGate {
    behind: Arc<RwLock<Option<Arc<Manager>>>>,
}

impl RaftGate {
    /// A gate with nobody behind it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The service, for a tonic router.
    #[must_use]
    pub fn service(&self) -> RaftServer<Self> {
        RaftServer::new(self.clone())
    }

    pub(crate) fn open_for(&self, manager: Option<Arc<Manager>>) {
        *self.behind.write().unwrap_or_else(PoisonError::into_inner) = manager;
    }

    fn manager(&self) -> Result<Arc<Manager>, Status> {
        let behind = self.behind.read().unwrap_or_else(PoisonError::into_inner);
        behind.clone().ok_or_else(|| failure_to_status(Failure::new(FailureKind::FailedPrecondition, "this node is no manager")))
    }

    /// The manager behind, its core, and who speaks to it as which Raft id.
    fn open<T>(&self, request: &Request<T>) -> Result<Line, Status> {
        let manager = self.manager()?;
        let caller = calling_manager(&manager, request)?;
        let raft = manager.raft().ok_or_else(|| unavailable("consensus does not run on this manager now"))?;
        Ok(Line { manager, raft, caller, speaker: Arc::default() })
    }
}

/// One authorised caller, and what it talks to.
struct Line {
    manager: Arc<Manager>,
    raft: Arc<Raft>,
    caller: PeerIdentity,
    /// The Raft id that speaks on a stream; 0 before its first message.
    speaker: Arc<AtomicU64>,
}

fn refused(message: impl Into<String>) -> Status {
    failure_to_status(Failure::new(FailureKind::PermissionDenied, message))
}
fn unavailable(message: impl Into<String>) -> Status {
    failure_to_status(Failure::new(FailureKind::Unavailable, message))
}
fn malformed(error: &convert::Malformed) -> Status {
    failure_to_status(Failure::from_error(FailureKind::InvalidArgument, error))
}
fn status(error: impl Into<Failure>) -> Status {
    failure_to_status(error.into())
}

/// The caller, if its certificate is that of a manager of this cluster.
fn calling_manager<T>(manager: &Manager, request: &Request<T>) -> Result<PeerIdentity, Status> {
    match rcon_rpc::caller(request)? {
        Caller::Node(peer) if peer.cluster_id != manager.context.me.cluster_id => Err(refused("the caller is of another cluster")),
        Caller::Node(peer) if peer.role != Role::Manager => Err(refused(format!("node {} is no manager", peer.node_id))),
        Caller::Node(peer) => Ok(peer),
        Caller::Local => Err(refused("only managers speak Raft")),
    }
}

impl Line {
    /// Checks a message of this caller and notes the sign of life; gives its content.
    fn read<M: Message + Default>(&self, message: &v1::RaftMessage) -> Result<M, Status> {
        let context = &self.manager.context;
        context.check_envelope(message).map_err(failure_to_status)?;
        if !self.belongs(message.from) {
            return Err(refused(format!("Raft id {} does not belong to node {}", message.from, self.caller.node_id)));
        }
        context.peers.hear(message.from);
        context.check_digest(message);
        wire::decode("payload", &message.payload).map_err(|e| malformed(&e))
    }

    /// Whether a Raft id is that of the caller's node.
    fn belongs(&self, raft_id: u64) -> bool {
        let node = self.caller.node_id;
        let (participants, _) = self.manager.participants();
        let in_state = |state: &State| state.cluster().is_none() || state.node_by_raft_id(raft_id) == Some(node);
        participants.get(&raft_id).map_or_else(|| self.manager.context.applied.with(in_state), |known| known.node_id == node)
    }

    fn reply(&self, to: u64, payload: &impl Message) -> Response<v1::RaftMessage> {
        Response::new(self.manager.context.envelope(to, payload))
    }

    /// Whether the caller is a manager that takes part, and not one that only has the certificate.
    fn check_takes_part(&self) -> Result<(), Status> {
        let node = self.caller.node_id;
        let known = self.manager.participants().0.values().any(|known| known.node_id == node);
        if known { Ok(()) } else { Err(refused(format!("node {node} takes no part in Raft"))) }
    }

    async fn lead(&self, request: LeaderRequest) -> Result<LeaderAnswer, Status> {
        self.manager.carry_out(&request).await.map_err(status)
    }
}

#[tonic::async_trait]
impl RaftService for RaftGate {
    type AppendStream = Pin<Box<dyn Stream<Item = Result<v1::RaftMessage, Status>> + Send>>;

    async fn append(&self, request: Request<Streaming<v1::RaftMessage>>) -> Result<Response<Self::AppendStream>, Status> {
        let line = Arc::new(self.open(&request)?);
        let (requests, mut accepted) = tokio::sync::mpsc::channel(READ_AHEAD);
        let (refuse, refused) = tokio::sync::oneshot::channel();
        // The answer begins before the first request: a leader opens its stream when it has nothing to say yet.
        tokio::spawn(read_requests(Arc::clone(&line), request.into_inner(), requests, refuse));
        let input = futures::stream::poll_fn(move |cx| accepted.poll_recv(cx));
        let raft = Arc::clone(&line.raft);
        let to = Arc::clone(&line.speaker);
        let answers = raft.stream_append(input).map(move |result| match result {
            Ok(result) => Ok(line.manager.context.envelope(to.load(Ordering::Relaxed), &wire::append_reply(&result))),
            Err(fatal) => Err(unavailable(fatal.to_string())),
        });
        let end = futures::stream::once(refused).filter_map(|refused| std::future::ready(refused.ok().map(Err)));
        Ok(Response::new(Box::pin(answers.chain(end))))
    }

    async fn vote(&self, request: Request<v1::RaftMessage>) -> Result<Response<v1::RaftMessage>, Status> {
        let line = self.open(&request)?;
        let message = request.into_inner();
        let ask: v1::VoteAsk = line.read(&message)?;
        let vote = wire::to_vote_request(&ask).map_err(|e| malformed(&e))?;
        let reply = if ask.pre_vote { line.raft.pre_vote(vote).await } else { line.raft.vote(vote).await };
        let reply = reply.map_err(|e| unavailable(e.to_string()))?;
        Ok(line.reply(message.from, &wire::vote_reply(&reply)))
    }

    async fn snapshot(&self, request: Request<Streaming<v1::SnapshotChunk>>) -> Result<Response<v1::RaftMessage>, Status> {
        let line = self.open(&request)?;
        let mut chunks = request.into_inner();
        let (mut head, mut text, mut done) = (None, Vec::new(), false);
        while let Some(chunk) = chunks.message().await? {
            if let Some(message) = chunk.head {
                let wire: v1::SnapshotHead = line.read(&message)?;
                head = Some((message.from, wire::to_vote(wire.vote.as_ref()).map_err(|e| malformed(&e))?));
            }
            if head.is_none() || done || text.len() + chunk.data.len() > MAX_SNAPSHOT_BYTES {
                return Err(failure_to_status(Failure::new(FailureKind::InvalidArgument, "the snapshot has no head, no end or no bounds")));
            }
            text.extend_from_slice(&chunk.data);
            done = chunk.done;
        }
        let (from, vote) = head.filter(|_| done).ok_or_else(|| unavailable("the snapshot broke off"))?;
        let read = tokio::task::spawn_blocking(move || read_snapshot(Bytes::from(text)));
        let snapshot = read.await.map_err(|e| unavailable(e.to_string()))?.map_err(failure_to_status)?;
        let reply = line.raft.install_full_snapshot(vote, snapshot).await.map_err(|e| unavailable(e.to_string()))?;
        Ok(line.reply(from, &v1::SnapshotReply { vote: Some(wire::vote(&reply.vote)) }))
    }

    async fn transfer_leader(&self, request: Request<v1::RaftMessage>) -> Result<Response<v1::RaftMessage>, Status> {
        let line = self.open(&request)?;
        let message = request.into_inner();
        let ask: v1::TransferAsk = line.read(&message)?;
        let ask = wire::to_transfer_request(&ask).map_err(|e| malformed(&e))?;
        let reply = line.raft.handle_transfer_leader(ask).await.map_err(|e| unavailable(e.to_string()))?;
        Ok(line.reply(message.from, &v1::TransferReply { refused: reply.err().map(|e| e.to_string()).unwrap_or_default() }))
    }

    async fn propose(&self, request: Request<v1::ProposeRequest>) -> Result<Response<v1::ProposeResponse>, Status> {
        let line = self.open(&request)?;
        line.check_takes_part()?;
        let txn = request.into_inner().txn.unwrap_or_default();
        let bytes = propose::check(&txn).map_err(status)?;
        let response = match line.manager.write(bytes, Instant::now()).await {
            Ok((result, index)) => {
                let outcome = match result {
                    Ok(applied) => v1::txn_outcome::Outcome::Applied(applied),
                    Err(rejected) => v1::txn_outcome::Outcome::Rejected(rejected),
                };
                v1::ProposeResponse { outcome: Some(v1::TxnOutcome { outcome: Some(outcome) }), index, refusal: None }
            }
            Err(refusal) => v1::ProposeResponse { refusal: Some(refusal_to_wire(refusal)?), ..v1::ProposeResponse::default() },
        };
        Ok(Response::new(response))
    }

    async fn read_index(&self, request: Request<v1::ReadIndexRequest>) -> Result<Response<v1::ReadIndexResponse>, Status> {
        let line = self.open(&request)?;
        let response = match line.manager.own_read_index(Instant::now()).await {
            Ok(index) => v1::ReadIndexResponse { index, refusal: None },
            Err(refusal) => v1::ReadIndexResponse { index: 0, refusal: Some(refusal_to_wire(refusal)?) },
        };
        Ok(Response::new(response))
    }

    async fn join_membership(&self, request: Request<v1::JoinMembershipRequest>) -> Result<Response<v1::JoinMembershipResponse>, Status> {
        let line = self.open(&request)?;
        let message = request.into_inner();
        let node_id: NodeId = convert::id("node_id", &message.node_id).map_err(|e| malformed(&e))?;
        let join = LeaderRequest::Join { node_id, address: message.address };
        // A node asks for itself; a manager passes it on to the leader.
        let answer = if line.caller.node_id == node_id {
            line.manager.on_leader(join).await.map_err(status)?
        } else {
            line.check_takes_part()?;
            line.lead(join).await?
        };
        match answer {
            LeaderAnswer::Joined(joined) => Ok(Response::new(joined)),
            LeaderAnswer::Done => Err(unavailable("the leader gave no Raft id")),
        }
    }

    async fn leave_membership(
        &self,
        request: Request<v1::LeaveMembershipRequest>,
    ) -> Result<Response<v1::LeaveMembershipResponse>, Status> {
        let line = self.open(&request)?;
        line.check_takes_part()?;
        let node_id = convert::id("node_id", &request.get_ref().node_id).map_err(|e| malformed(&e))?;
        line.lead(LeaderRequest::Leave { node_id }).await?;
        Ok(Response::new(v1::LeaveMembershipResponse {}))
    }

    async fn hand_over(&self, request: Request<v1::HandOverRequest>) -> Result<Response<v1::HandOverResponse>, Status> {
        let line = self.open(&request)?;
        line.check_takes_part()?;
        let node_id = convert::id("node_id", &request.get_ref().node_id).map_err(|e| malformed(&e))?;
        line.lead(LeaderRequest::HandOver { node_id }).await?;
        Ok(Response::new(v1::HandOverResponse {}))
    }
}

/// Hands the requests of one stream to consensus; says why where one is refused, which ends the stream.
async fn read_requests(
    line: Arc<Line>,
    mut incoming: Streaming<v1::RaftMessage>,
    requests: tokio::sync::mpsc::Sender<AppendEntriesRequest<TypeConfig>>,
    refuse: tokio::sync::oneshot::Sender<Status>,
) {
    while let Ok(Some(message)) = incoming.message().await {
        let read = line.read::<v1::AppendRequest>(&message);
        match read.and_then(|wire| wire::to_append_request(wire).map_err(|e| malformed(&e))) {
            Ok(request) => {
                line.speaker.store(message.from, Ordering::Relaxed);
                if requests.send(request).await.is_err() {
                    return;
                }
            }
            Err(status) => {
                drop(refuse.send(status));
                return;
            }
        }
    }
}

fn refusal_to_wire(refusal: Refusal) -> Result<v1::LeaderRefusal, Status> {
    propose::to_wire(refusal).map_err(failure_to_status)
}

type Received = Snapshot<crate::types::LeaderId, u64, crate::types::ManagerNode, Image>;

/// The state of a snapshot that arrived whole.
fn read_snapshot(text: Bytes) -> Result<Received, Failure> {
    let wrong = |why: String| Failure::new(FailureKind::InvalidArgument, format!("the snapshot is no state: {why}"));
    let mut rest = text;
    let head = v1::SnapshotHead::decode_length_delimited(&mut rest).map_err(|e| wrong(e.to_string()))?;
    let meta = wire::to_snapshot_meta(&head).map_err(|e| wrong(e.to_string()))?;
    let snapshot = v1::StateSnapshot::decode(rest).map_err(|e| wrong(e.to_string()))?;
    let state = State::from_snapshot(snapshot).map_err(|e| wrong(e.to_string()))?;
    Ok(Snapshot { meta, snapshot: Image(state) })
}
