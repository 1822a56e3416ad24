//! openraft's messages and entries as those of `raft.proto`, and back.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderRequest, VoteRequest, VoteResponse};
use rcon_proto::{Message, convert, convert::Malformed, v1};

use crate::types::{Entry, LeaderId, LogId, ManagerNode, Membership, Payload, Proposal, SnapshotMeta, StoredMembership, TypeConfig, Vote};

fn malformed(field: &'static str, why: impl ToString) -> Malformed {
    Malformed { field, why: why.to_string() }
}

/// A message from its bytes.
pub(crate) fn decode<M: Message + Default>(field: &'static str, bytes: &[u8]) -> Result<M, Malformed> {
    M::decode(bytes).map_err(|e| malformed(field, e))
}

pub(crate) fn log_id(id: &LogId) -> v1::LogId {
    v1::LogId { term: id.leader_id.term, leader: id.leader_id.node_id, index: id.index }
}

pub(crate) fn to_log_id(wire: &v1::LogId) -> LogId {
    LogId { leader_id: LeaderId { term: wire.term, node_id: wire.leader }, index: wire.index }
}

pub(crate) fn vote(vote: &Vote) -> v1::Vote {
    v1::Vote { term: vote.leader_id.term, candidate: vote.leader_id.node_id, committed: vote.committed }
}

pub(crate) fn to_vote(wire: Option<&v1::Vote>) -> Result<Vote, Malformed> {
    let wire = wire.ok_or_else(|| malformed("vote", "it is missing"))?;
    Ok(Vote { leader_id: LeaderId { term: wire.term, node_id: wire.candidate }, committed: wire.committed })
}

pub(crate) fn membership(membership: &Membership) -> v1::Membership {
    v1::Membership {
        voters: membership.get_joint_config().iter().map(|set| v1::VoterSet { raft_ids: set.iter().copied().collect() }).collect(),
        participants: membership
            .nodes()
            .map(|(raft_id, node)| v1::Participant {
                raft_id: *raft_id,
                node_id: convert::id_bytes(node.node_id),
                address: node.address.clone(),
            })
            .collect(),
    }
}

pub(crate) fn to_membership(wire: &v1::Membership) -> Result<Membership, Malformed> {
    let mut nodes = BTreeMap::new();
    for participant in &wire.participants {
        let node_id = convert::id("participant.node_id", &participant.node_id)?;
        nodes.insert(participant.raft_id, ManagerNode { node_id, address: participant.address.clone() });
    }
    let voters: Vec<BTreeSet<u64>> = wire.voters.iter().map(|set| set.raft_ids.iter().copied().collect()).collect();
    if voters.is_empty() && nodes.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(voters, nodes).map_err(|e| malformed("membership", e))
}

/// The record of an entry in the log and on the wire.
pub(crate) fn payload(payload: &Payload) -> Bytes {
    use v1::log_payload::Payload as Wire;
    let wire = match payload {
        Payload::Blank => Wire::Blank(true),
        Payload::Normal(Proposal(txn)) => Wire::Txn(txn.clone()),
        Payload::Membership(members) => Wire::Membership(membership(members)),
    };
    Bytes::from(v1::LogPayload { payload: Some(wire) }.encode_to_vec())
}

pub(crate) fn to_payload(bytes: Bytes) -> Result<Payload, Malformed> {
    use v1::log_payload::Payload as Wire;
    let wire = v1::LogPayload::decode(bytes).map_err(|e| malformed("payload", e))?;
    match wire.payload {
        Some(Wire::Blank(_)) => Ok(Payload::Blank),
        Some(Wire::Txn(txn)) => Ok(Payload::Normal(Proposal(txn))),
        Some(Wire::Membership(members)) => Ok(Payload::Membership(to_membership(&members)?)),
        None => Err(malformed("payload", "this version does not know such an entry")),
    }
}

pub(crate) fn append_request(request: &AppendEntriesRequest<TypeConfig>) -> v1::AppendRequest {
    v1::AppendRequest {
        vote: Some(vote(&request.vote)),
        previous: request.prev_log_id.as_ref().map(log_id),
        entries: request.entries.iter().map(|e| v1::LogEntry { id: Some(log_id(&e.log_id)), payload: payload(&e.payload) }).collect(),
        leader_commit: request.leader_commit.as_ref().map(log_id),
    }
}

pub(crate) fn to_append_request(wire: v1::AppendRequest) -> Result<AppendEntriesRequest<TypeConfig>, Malformed> {
    let mut entries = Vec::with_capacity(wire.entries.len());
    for entry in wire.entries {
        let id = entry.id.ok_or_else(|| malformed("entry.id", "it is missing"))?;
        entries.push(Entry { log_id: to_log_id(&id), payload: to_payload(entry.payload)? });
    }
    Ok(AppendEntriesRequest {
        vote: to_vote(wire.vote.as_ref())?,
        prev_log_id: wire.previous.as_ref().map(to_log_id),
        entries,
        leader_commit: wire.leader_commit.as_ref().map(to_log_id),
    })
}

pub(crate) fn append_reply(result: &StreamAppendResult<TypeConfig>) -> v1::AppendReply {
    use v1::append_reply::Reply;
    let reply = match result {
        Ok(matched) => Reply::Matched(v1::Matched { id: matched.as_ref().map(log_id) }),
        Err(StreamAppendError::Conflict(id)) => Reply::Conflict(log_id(id)),
        Err(StreamAppendError::HigherVote(higher)) => Reply::HigherVote(vote(higher)),
    };
    v1::AppendReply { reply: Some(reply) }
}

pub(crate) fn to_append_reply(wire: &v1::AppendReply) -> Result<StreamAppendResult<TypeConfig>, Malformed> {
    use v1::append_reply::Reply;
    match &wire.reply {
        Some(Reply::Matched(matched)) => Ok(Ok(matched.id.as_ref().map(to_log_id))),
        Some(Reply::Conflict(id)) => Ok(Err(StreamAppendError::Conflict(to_log_id(id)))),
        Some(Reply::HigherVote(higher)) => Ok(Err(StreamAppendError::HigherVote(to_vote(Some(higher))?))),
        None => Err(malformed("reply", "it is missing")),
    }
}

pub(crate) fn vote_request(request: &VoteRequest<TypeConfig>, pre_vote: bool) -> v1::VoteAsk {
    v1::VoteAsk {
        vote: Some(vote(&request.vote)),
        last: request.last_log_id.as_ref().map(log_id),
        leadership_transfer: request.leadership_transfer,
        pre_vote,
    }
}

pub(crate) fn to_vote_request(wire: &v1::VoteAsk) -> Result<VoteRequest<TypeConfig>, Malformed> {
    let mut request = VoteRequest::new(to_vote(wire.vote.as_ref())?, wire.last.as_ref().map(to_log_id));
    request.leadership_transfer = wire.leadership_transfer;
    Ok(request)
}

pub(crate) fn vote_reply(reply: &VoteResponse<TypeConfig>) -> v1::VoteReply {
    v1::VoteReply { vote: Some(vote(&reply.vote)), granted: reply.vote_granted, last: reply.last_log_id.as_ref().map(log_id) }
}

pub(crate) fn to_vote_reply(wire: &v1::VoteReply) -> Result<VoteResponse<TypeConfig>, Malformed> {
    Ok(VoteResponse::new(to_vote(wire.vote.as_ref())?, wire.last.as_ref().map(to_log_id), wire.granted))
}

pub(crate) fn transfer_request(request: &TransferLeaderRequest<TypeConfig>) -> v1::TransferAsk {
    v1::TransferAsk { from_leader: Some(vote(request.from_leader())), to: *request.to_node_id(), last: request.last_log_id().map(log_id) }
}

pub(crate) fn to_transfer_request(wire: &v1::TransferAsk) -> Result<TransferLeaderRequest<TypeConfig>, Malformed> {
    Ok(TransferLeaderRequest::new(to_vote(wire.from_leader.as_ref())?, wire.to, wire.last.as_ref().map(to_log_id)))
}

pub(crate) fn snapshot_head(by: Option<&Vote>, meta: &SnapshotMeta) -> v1::SnapshotHead {
    v1::SnapshotHead {
        vote: by.map(vote),
        last: meta.last_log_id.as_ref().map(log_id),
        membership_id: meta.last_membership.log_id().as_ref().map(log_id),
        membership: Some(membership(meta.last_membership.membership())),
    }
}

pub(crate) fn to_snapshot_meta(wire: &v1::SnapshotHead) -> Result<SnapshotMeta, Malformed> {
    let members = to_membership(wire.membership.as_ref().unwrap_or(&v1::Membership::default()))?;
    Ok(SnapshotMeta {
        last_log_id: wire.last.as_ref().map(to_log_id),
        last_membership: StoredMembership::new(wire.membership_id.as_ref().map(to_log_id), members),
    })
}
