//! What openraft sends to the other managers, over gRPC.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, future::BoxFuture, stream::BoxStream};
use openraft::{
    OptionalSend,
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::{RPCOption, RaftNetworkFactory, RaftNetworkV2},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest, VoteRequest, VoteResponse,
    },
    storage::Snapshot,
};
use rcon_proto::{Message, v1};
use rcon_rpc::tonic::{Response, Status, Streaming};
use rcon_types::Failure;

use crate::{
    context::Context,
    machine::Image,
    peers::{Peer, failure},
    snapshot_file,
    types::{LeaderId, ManagerNode, TypeConfig, Vote},
    wire,
};

/// The largest piece of a snapshot in one message.
const CHUNK_BYTES: usize = 1 << 20;
/// How long a stream of entries may take to begin, with the connection it needs.
const OPEN_WITHIN: Duration = Duration::from_secs(1);
/// How long the follower may take for one answer on a stream of entries.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

type RpcResult<T> = Result<T, RPCError<TypeConfig>>;
type TransferResult = openraft::raft::TransferLeaderResponse<TypeConfig>;

/// Makes links to the other managers.
pub(crate) struct Links {
    pub(crate) context: Arc<Context>,
}

impl RaftNetworkFactory<TypeConfig> for Links {
    type Network = Link;

    async fn new_client(&mut self, target: u64, node: &ManagerNode) -> Link {
        Link { context: Arc::clone(&self.context), peer: self.context.peers.peer(target, node), prompt: false }
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &ManagerNode) -> Link {
        Link { prompt: true, ..self.new_client(target, node).await }
    }
}

/// Sends to one other manager.
pub(crate) struct Link {
    context: Arc<Context>,
    peer: Arc<Peer>,
    /// Whether entries go over the connection that is kept free for what is urgent: heartbeats.
    prompt: bool,
}

fn unreachable(failure: &Failure) -> Unreachable<TypeConfig> {
    Unreachable::from_string(failure)
}

impl Link {
    /// What the peer answered, noted as a sign of life.
    fn open<M: Message + Default>(&self, answer: &v1::RaftMessage) -> RpcResult<M> {
        self.context.peers.hear(self.peer.raft_id);
        wire::decode("payload", &answer.payload).map_err(|e| RPCError::Unreachable(Unreachable::new(&e)))
    }

    async fn ask<M: Message + Default>(
        &self,
        time: Duration,
        call: impl Future<Output = Result<Response<v1::RaftMessage>, Status>>,
    ) -> RpcResult<M> {
        match tokio::time::timeout(time, call).await {
            Ok(Ok(answer)) => self.open(answer.get_ref()),
            Ok(Err(status)) => Err(RPCError::Unreachable(unreachable(&failure(status)))),
            Err(_) => Err(RPCError::Unreachable(Unreachable::from_string(format!("no answer within {} ms", time.as_millis())))),
        }
    }

    async fn ask_for_vote(&self, request: VoteRequest<TypeConfig>, time: Duration, pre_vote: bool) -> RpcResult<VoteResponse<TypeConfig>> {
        let message = self.context.envelope(self.peer.raft_id, &wire::vote_request(&request, pre_vote));
        let mut client = self.context.peers.prompt(&self.peer).map_err(|e| RPCError::Unreachable(unreachable(&e)))?;
        let reply: v1::VoteReply = self.ask(time, client.vote(message)).await?;
        wire::to_vote_reply(&reply).map_err(|e| RPCError::Unreachable(Unreachable::new(&e)))
    }

    /// Opens a stream of entries; returns the answers and the count of requests that were sent.
    async fn open_stream<S>(&self, input: S, time: Duration) -> RpcResult<(Streaming<v1::RaftMessage>, Arc<AtomicU64>)>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let peers = &self.context.peers;
        let client = if self.prompt { peers.prompt(&self.peer) } else { peers.bulk(&self.peer) };
        let mut client = client.map_err(|e| RPCError::Unreachable(unreachable(&e)))?;
        let sent = Arc::new(AtomicU64::new(0));
        let (context, to, counter) = (Arc::clone(&self.context), self.peer.raft_id, Arc::clone(&sent));
        let messages = input.map(move |request| {
            counter.fetch_add(1, Ordering::Relaxed);
            context.envelope(to, &wire::append_request(&request))
        });
        match tokio::time::timeout(time, client.append(messages)).await {
            Ok(Ok(answers)) => Ok((answers.into_inner(), sent)),
            Ok(Err(status)) => Err(RPCError::Unreachable(unreachable(&failure(status)))),
            Err(_) => Err(RPCError::Unreachable(Unreachable::from_string("no answer to a stream of entries"))),
        }
    }

    /// The next answer on a stream; `answered` of `sent` requests have theirs.
    async fn next_answer(
        &self,
        answers: &mut Streaming<v1::RaftMessage>,
        sent: &AtomicU64,
        answered: u64,
    ) -> Option<RpcResult<StreamAppendResult<TypeConfig>>> {
        let answer = loop {
            // An idle stream may be silent for as long as it likes; one with open requests may not.
            match tokio::time::timeout(ANSWER_WITHIN, answers.next()).await {
                Ok(answer) => break answer?,
                Err(_) if sent.load(Ordering::Relaxed) == answered => {}
                Err(_) => return Some(Err(RPCError::Unreachable(Unreachable::from_string("the follower stopped answering")))),
            }
        };
        Some(match answer {
            Ok(message) => {
                self.context.check_digest(&message);
                self.open::<v1::AppendReply>(&message)
                    .and_then(|reply| wire::to_append_reply(&reply).map_err(|e| RPCError::Unreachable(Unreachable::new(&e))))
            }
            Err(status) => Err(RPCError::Unreachable(unreachable(&failure(status)))),
        })
    }
}

impl RaftNetworkV2<TypeConfig> for Link {
    type SnapshotData = Image;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<AppendEntriesResponse<TypeConfig>> {
        let (mut answers, sent) = self.open_stream(futures::stream::iter([request]), option.soft_ttl()).await?;
        let result = self.next_answer(&mut answers, &sent, 0).await;
        result.unwrap_or_else(|| Err(RPCError::Unreachable(Unreachable::from_string("the follower gave no answer")))).map(Into::into)
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, RpcResult<BoxStream<'s, RpcResult<StreamAppendResult<TypeConfig>>>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            // The time of `option` is a heartbeat's, which its sender keeps itself; a connection may have to be made first.
            let (answers, sent) = self.open_stream(input, OPEN_WITHIN.max(option.soft_ttl())).await?;
            let link: &'s Self = self;
            let results = futures::stream::unfold(Some((answers, sent, 0_u64)), move |open| async move {
                let (mut answers, sent, answered) = open?;
                let result = link.next_answer(&mut answers, &sent, answered).await?;
                let goes_on = matches!(result, Ok(Ok(_)));
                Some((result, goes_on.then_some((answers, sent, answered + 1))))
            });
            let results: BoxStream<'s, _> = Box::pin(results);
            Ok(results)
        })
    }

    async fn vote(&mut self, request: VoteRequest<TypeConfig>, option: RPCOption) -> RpcResult<VoteResponse<TypeConfig>> {
        self.ask_for_vote(request, option.soft_ttl(), false).await
    }

    async fn pre_vote(&mut self, request: VoteRequest<TypeConfig>, option: RPCOption) -> RpcResult<VoteResponse<TypeConfig>> {
        self.ask_for_vote(request, option.soft_ttl(), true).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<LeaderId, u64, ManagerNode, Image>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let failed = |failure: &Failure| StreamingError::Unreachable(unreachable(failure));
        let Snapshot { meta, snapshot: Image(state) } = snapshot;
        let text = tokio::task::spawn_blocking(move || Bytes::from(snapshot_file::encode(&meta, &state)));
        let text = text.await.map_err(|e| StreamingError::Unreachable(Unreachable::new(&e)))?;
        let head =
            self.context.envelope(self.peer.raft_id, &v1::SnapshotHead { vote: Some(wire::vote(&vote)), ..v1::SnapshotHead::default() });
        let mut client = self.context.peers.bulk(&self.peer).map_err(|e| failed(&e))?;
        let sending = tokio::time::timeout(option.soft_ttl(), client.snapshot(chunks(head, text)));
        let answer = tokio::select! {
            answer = sending => answer,
            closed = cancel => return Err(StreamingError::Closed(closed)),
        };
        let answer = answer.map_err(|e| StreamingError::Unreachable(Unreachable::new(&e)))?.map_err(|status| failed(&failure(status)))?;
        self.context.peers.hear(self.peer.raft_id);
        let reply: v1::SnapshotReply =
            wire::decode("payload", &answer.get_ref().payload).map_err(|e| StreamingError::Unreachable(Unreachable::new(&e)))?;
        let vote = wire::to_vote(reply.vote.as_ref()).map_err(|e| StreamingError::Unreachable(Unreachable::new(&e)))?;
        Ok(SnapshotResponse::new(vote))
    }

    async fn transfer_leader(&mut self, request: TransferLeaderRequest<TypeConfig>, option: RPCOption) -> RpcResult<TransferResult> {
        let message = self.context.envelope(self.peer.raft_id, &wire::transfer_request(&request));
        let mut client = self.context.peers.prompt(&self.peer).map_err(|e| RPCError::Unreachable(unreachable(&e)))?;
        let reply: v1::TransferReply = self.ask(option.soft_ttl(), client.transfer_leader(message)).await?;
        if reply.refused.is_empty() { Ok(Ok(())) } else { Err(RPCError::Unreachable(Unreachable::from_string(reply.refused))) }
    }
}

/// A snapshot in pieces; the first has the head.
fn chunks(head: v1::RaftMessage, text: Bytes) -> impl Stream<Item = v1::SnapshotChunk> {
    let parts = text.len().div_ceil(CHUNK_BYTES).max(1);
    let mut head = Some(head);
    futures::stream::iter((0..parts).map(move |part| v1::SnapshotChunk {
        head: head.take(),
        data: text.slice(part * CHUNK_BYTES..text.len().min((part + 1) * CHUNK_BYTES)),
        done: part + 1 == parts,
    }))
}
