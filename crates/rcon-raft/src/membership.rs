//! Who takes part, and how that changes: one change at a time, never one that would lose the quorum.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use openraft::{ChangeMembers, ServerState, errors::RaftError as CoreError};
use rcon_proto::{convert, v1};
use rcon_rpc::tonic::{Code, Response, Status};
use rcon_types::{Failure, FailureKind, NodeId};

use crate::{
    MembershipView, Participant, RaftError,
    manager::Manager,
    peers,
    propose::{PATIENCE, until},
    types::ManagerNode,
};

/// A learner this close to the leader's log would not hold up commits if it voted.
const CAUGHT_UP: u64 = 1_000;
/// How long one change may take.
const CHANGE_WITHIN: Duration = Duration::from_secs(10);
/// How long a request for a change goes on looking for a leader.
const FIND_WITHIN: Duration = Duration::from_secs(20);
/// How long a new manager may take to answer the leader's call.
const DIAL_WITHIN: Duration = Duration::from_secs(5);

impl Manager {
    /// Who takes part, as this manager sees it.
    pub(crate) fn membership(&self) -> MembershipView {
        let Some(metrics) = self.metrics() else { return MembershipView::default() };
        let membership = metrics.membership_config.membership();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let last = metrics.last_log_index.unwrap_or(0);
        let from_leader = metrics.state == ServerState::Leader;
        let caught_up = |raft_id: u64| {
            let matched = metrics.replication.as_ref().and_then(|all| all.get(&raft_id)).and_then(|id| id.as_ref().map(|id| id.index));
            from_leader && (raft_id == self.context.me.raft_id || matched.is_some_and(|index| index + CAUGHT_UP >= last))
        };
        let participant = |(raft_id, node): (&u64, &ManagerNode)| Participant {
            raft_id: *raft_id,
            node_id: node.node_id,
            votes: voters.contains(raft_id),
            leads: metrics.current_leader == Some(*raft_id),
            caught_up: caught_up(*raft_id),
            reachable: self.answers(*raft_id),
        };
        MembershipView { participants: membership.nodes().map(participant).collect(), from_leader }
    }

    /// As the leader: exactly these vote from now on.
    pub(crate) async fn set_voters(&self, voters: BTreeSet<u64>) -> Result<(), RaftError> {
        let _one_at_a_time = self.changing.lock().await;
        let (participants, current) = self.participants();
        if voters == current {
            return Ok(());
        }
        if let Some(unknown) = voters.iter().find(|id| !participants.contains_key(id)) {
            return Err(RaftError::Membership { why: format!("manager {unknown} does not take part"), hint: "it has to join first" });
        }
        self.check_quorum(&voters, &participants)?;
        self.change(ChangeMembers::ReplaceAllVoters(voters), true).await
    }

    /// As the leader: takes a learner out.
    pub(crate) async fn remove_learner(&self, raft_id: u64) -> Result<(), RaftError> {
        let _one_at_a_time = self.changing.lock().await;
        let (participants, voters) = self.participants();
        if voters.contains(&raft_id) {
            return Err(RaftError::Membership { why: format!("manager {raft_id} votes"), hint: "take its vote first" });
        }
        if !participants.contains_key(&raft_id) {
            return Ok(());
        }
        self.change(ChangeMembers::RemoveNodes(BTreeSet::from([raft_id])), false).await
    }

    /// Refuses voters of whom too few answer.
    fn check_quorum(&self, voters: &BTreeSet<u64>, participants: &BTreeMap<u64, ManagerNode>) -> Result<(), RaftError> {
        let silent: Vec<u64> = voters.iter().copied().filter(|id| !self.answers(*id)).collect();
        if voters.is_empty() {
            return Err(RaftError::Membership { why: "no voter would be left".to_owned(), hint: "promote another node first" });
        }
        if voters.len() - silent.len() > voters.len() / 2 {
            return Ok(());
        }
        let name = |id: &u64| self.context.applied.with(|state| participants.get(id).map(|node| peers::name_of(state, node)));
        let names: Vec<String> = silent.iter().filter_map(name).collect();
        let why = format!("that would lose the quorum: {} do not answer", names.join(", "));
        Err(RaftError::Membership { why, hint: "bring them back first, or remove them" })
    }

    async fn change(&self, change: ChangeMembers<u64, ManagerNode>, retain: bool) -> Result<(), RaftError> {
        let raft = self.raft().ok_or(RaftError::NoLeader { missing: Vec::new() })?;
        let changed = tokio::time::timeout(CHANGE_WITHIN, Box::pin(raft.change_membership(change, retain))).await;
        let changed = changed.map_err(|_| RaftError::Deadline { what: "the change of managers", seconds: CHANGE_WITHIN.as_secs() })?;
        changed.map(|_| ()).map_err(|error| match error {
            CoreError::APIError(error) => RaftError::Membership { why: error.to_string(), hint: "try again on the leader" },
            CoreError::Fatal(fatal) => RaftError::Stopped { why: fatal.to_string() },
        })
    }

    /// As the leader: reserves a Raft id for a node and takes it in as a learner.
    pub(crate) async fn take_in(&self, node_id: NodeId, address: &str) -> Result<v1::JoinMembershipResponse, RaftError> {
        self.dial_back(node_id, address).await?;
        let _one_at_a_time = self.changing.lock().await;
        let reserve = v1::op::Op::ReserveRaftId(v1::ReserveRaftId { node_id: convert::id_bytes(node_id), address: address.to_owned() });
        let applied = self.propose(&transaction(reserve)?).await.map_err(RaftError::from)?;
        let raft_id = match applied.written.first().and_then(|written| written.object.as_ref()) {
            Some(v1::written::Object::Node(node)) => node.manager.as_ref().map(|manager| manager.raft_id),
            _ => None,
        };
        let raft_id = raft_id.ok_or_else(|| RaftError::Stopped { why: "a reservation wrote no Raft id".to_owned() })?;
        let node = ManagerNode { node_id, address: address.to_owned() };
        self.change(ChangeMembers::AddNodes(BTreeMap::from([(raft_id, node)])), true).await?;
        // What this node was before, under ids that it will never have again.
        let (participants, voters) = self.participants();
        let old =
            participants.iter().filter(|(id, node)| node.node_id == node_id && **id != raft_id && !voters.contains(id)).map(|(id, _)| *id);
        let old: BTreeSet<u64> = old.collect();
        if !old.is_empty() {
            self.change(ChangeMembers::RemoveNodes(old), false).await?;
        }
        Ok(v1::JoinMembershipResponse { raft_id, epoch: self.context.me.epoch })
    }

    /// Proves that the node answers at its address, and is the node.
    async fn dial_back(&self, node_id: NodeId, address: &str) -> Result<(), RaftError> {
        let unreachable = |source: Failure| RaftError::Remote {
            source: source
                .during(format!("the leader could not reach the new manager at {address}"))
                .hint("check --advertise-addr, and that 2377/tcp is open there"),
        };
        let mut client = self.context.peers.dial(address, Some(node_id)).map_err(unreachable)?;
        match tokio::time::timeout(DIAL_WITHIN, client.read_index(v1::ReadIndexRequest {})).await {
            // It is no manager yet, and says so.
            Ok(Err(status)) if status.code() == Code::FailedPrecondition => Ok(()),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => Err(unreachable(peers::failure(status))),
            Err(_) => Err(unreachable(Failure::new(FailureKind::DeadlineExceeded, "it does not answer"))),
        }
    }

    /// As the leader: takes a node out of Raft and clears its mark in the state. Hands the leadership over where the node is this one.
    pub(crate) async fn take_out(&self, node_id: NodeId) -> Result<(), RaftError> {
        let (participants, voters) = self.participants();
        let ids: BTreeSet<u64> = participants.iter().filter(|(_, node)| node.node_id == node_id).map(|(id, _)| *id).collect();
        let left: BTreeSet<u64> = voters.difference(&ids).copied().collect();
        if left != voters {
            self.check_quorum(&left, &participants)?;
            if ids.contains(&self.context.me.raft_id) {
                let heir = left.iter().copied().find(|id| self.answers(*id));
                let heir =
                    heir.ok_or(RaftError::Membership { why: "no other voter answers".to_owned(), hint: "promote another node first" })?;
                return self.hand_over_to(heir).await;
            }
            self.set_voters(left).await?;
        }
        for id in ids {
            self.remove_learner(id).await?;
        }
        if self.context.applied.with(|state| state.node(node_id).is_some_and(|node| node.manager.is_some())) {
            let clear = v1::op::Op::ClearManager(convert::id_bytes(node_id));
            self.propose(&transaction(clear)?).await.map_err(RaftError::from)?;
        }
        Ok(())
    }

    /// As the leader: hands the leadership to a node that votes.
    pub(crate) async fn hand_over(&self, to: NodeId) -> Result<(), RaftError> {
        let (participants, voters) = self.participants();
        let heir = participants.iter().find(|(id, node)| node.node_id == to && voters.contains(id)).map(|(id, _)| *id);
        let heir = heir.ok_or_else(|| RaftError::Membership {
            why: format!("node {to} has no vote"),
            hint: "promote it first, and wait until it votes",
        })?;
        self.hand_over_to(heir).await
    }

    pub(crate) async fn hand_over_to(&self, heir: u64) -> Result<(), RaftError> {
        if heir == self.context.me.raft_id {
            return Ok(());
        }
        let raft = self.raft().ok_or(RaftError::NoLeader { missing: Vec::new() })?;
        let since = Instant::now();
        while self.leader() != Some(heir) && since.elapsed() < PATIENCE {
            raft.trigger().transfer_leader(heir).await.map_err(|e| RaftError::Stopped { why: e.to_string() })?;
            let half_an_election = Duration::from_millis(self.context.options.timing.election_min_ms);
            drop(until(half_an_election, "the transfer", || self.leader() == Some(heir)).await);
        }
        if self.leader() == Some(heir) {
            Ok(())
        } else {
            Err(RaftError::Deadline { what: "the transfer of the leadership", seconds: PATIENCE.as_secs() })
        }
    }

    /// Has the leader do something that only it can, wherever it is and while it moves.
    pub(crate) async fn on_leader(&self, request: LeaderRequest) -> Result<LeaderAnswer, RaftError> {
        let since = Instant::now();
        loop {
            let outcome = match self.leader() {
                Some(leader) if leader == self.context.me.raft_id => self.carry_out(&request).await,
                Some(leader) => self.send(leader, &request).await,
                None => Err(RaftError::NoLeader { missing: Vec::new() }),
            };
            match outcome {
                Err(RaftError::NoLeader { .. }) if since.elapsed() < FIND_WITHIN => {
                    if let Some(missing) = self.missing_for_quorum().filter(|_| since.elapsed() > PATIENCE / 3) {
                        return Err(RaftError::NoLeader { missing });
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// As the leader.
    pub(crate) async fn carry_out(&self, request: &LeaderRequest) -> Result<LeaderAnswer, RaftError> {
        if self.leader() != Some(self.context.me.raft_id) {
            return Err(RaftError::NoLeader { missing: Vec::new() });
        }
        match request {
            LeaderRequest::Join { node_id, address } => self.take_in(*node_id, address).await.map(LeaderAnswer::Joined),
            LeaderRequest::Leave { node_id } => {
                self.take_out(*node_id).await?;
                // It was us, and now another one leads: that one goes on.
                if self.leader() == Some(self.context.me.raft_id) {
                    Ok(LeaderAnswer::Done)
                } else {
                    Err(RaftError::NoLeader { missing: Vec::new() })
                }
            }
            LeaderRequest::HandOver { node_id } => self.hand_over(*node_id).await.map(|()| LeaderAnswer::Done),
        }
    }

    async fn send(&self, leader: u64, request: &LeaderRequest) -> Result<LeaderAnswer, RaftError> {
        let mut client = self.client(leader).map_err(|_| RaftError::NoLeader { missing: Vec::new() })?;
        match request {
            LeaderRequest::Join { node_id, address } => {
                let message = v1::JoinMembershipRequest { node_id: convert::id_bytes(*node_id), address: address.clone() };
                answer(client.join_membership(message).await).map(LeaderAnswer::Joined)
            }
            LeaderRequest::Leave { node_id } => {
                let message = v1::LeaveMembershipRequest { node_id: convert::id_bytes(*node_id) };
                answer(client.leave_membership(message).await).map(|_| LeaderAnswer::Done)
            }
            LeaderRequest::HandOver { node_id } => {
                answer(client.hand_over(v1::HandOverRequest { node_id: convert::id_bytes(*node_id) }).await).map(|_| LeaderAnswer::Done)
            }
        }
    }
}

/// What only the leader can do.
#[derive(Debug, Clone)]
pub(crate) enum LeaderRequest {
    /// Take a node in as a learner.
    Join { node_id: NodeId, address: String },
    /// Take a node out.
    Leave { node_id: NodeId },
    /// Hand the leadership to a node.
    HandOver { node_id: NodeId },
}

/// What came of it.
#[derive(Debug, Clone)]
pub(crate) enum LeaderAnswer {
    Joined(v1::JoinMembershipResponse),
    Done,
}

fn answer<T>(answer: Result<Response<T>, Status>) -> Result<T, RaftError> {
    answer.map(Response::into_inner).map_err(|status| {
        let failure = peers::failure(status);
        // "Unavailable" is how a manager says that it does not lead.
        if failure.kind == FailureKind::Unavailable {
            RaftError::NoLeader { missing: Vec::new() }
        } else {
            RaftError::Remote { source: failure }
        }
    })
}

/// A transaction of one operation, proposed by this manager itself.
fn transaction(op: v1::op::Op) -> Result<v1::Txn, RaftError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|e| RaftError::Stopped { why: e.to_string() })?;
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let time_ms = u64::try_from(time.as_millis()).unwrap_or(0);
    Ok(v1::Txn { id: id.to_vec().into(), time_ms, preconditions: Vec::new(), ops: vec![v1::Op { op: Some(op) }] })
}
