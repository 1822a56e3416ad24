//! How a transaction finds the leader, and what is said when there is none.

use std::time::{Duration, Instant};

use bytes::Bytes;
use openraft::{
    ReadPolicy,
    errors::{ClientWriteError, LinearizableReadError, RaftError as CoreError},
};
use rcon_proto::{Message, v1};
use rcon_rpc::tonic::{Code, Status};
use rcon_state::limits::{MAX_OPERATIONS, MAX_TXN_BYTES};
use rcon_types::Failure;

use crate::{ProposeError, RaftError, manager::Manager, peers, types::Proposal};

/// How long a proposal or a read goes on looking for a leader.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// After this time without a quorum, it is said that there is none: with a round trip it stays below the 2 s of DESIGN §4.
const QUORUM_WITHIN: Duration = Duration::from_millis(1_600);
/// How often it is looked whether there is a quorum, or another leader.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Why one attempt came to nothing.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// There is another leader, or none yet: try again.
    NotLeader,
    /// Too few managers answer.
    NoQuorum(Vec<String>),
    /// The leader's disk is full.
    Full { manager: String, free_bytes: u64 },
    /// Something else, final.
    Failed(Failure),
}

/// The outcome of a transaction and the entry it was in.
type Outcome = (Result<v1::Applied, v1::Rejected>, u64);

impl Manager {
    /// Proposes on whichever manager this is; see [`crate::Consensus::propose`].
    pub(crate) async fn propose(&self, txn: &v1::Txn) -> Result<v1::Applied, ProposeError> {
        let bytes = check(txn)?;
        let since = Instant::now();
        loop {
            let refusal = match self.attempt(&bytes, since).await {
                Ok((result, index)) => {
                    let left = PATIENCE.saturating_sub(since.elapsed()).max(LOOK_EVERY);
                    let reached = tokio::time::timeout(left, self.context.applied.reached(index)).await;
                    return match (reached, result) {
                        (_, Err(rejected)) => Err(ProposeError::Rejected(rejected)),
                        (Ok(()), Ok(applied)) => Ok(applied),
                        // It took effect, but this manager does not have it yet.
                        (Err(_), Ok(_)) => Err(ProposeError::Deadline { seconds: PATIENCE.as_secs() }),
                    };
                }
                Err(refusal) => refusal,
            };
            self.go_on(refusal, since).await?;
        }
    }

    /// What a failed attempt means for the whole: nothing, when it is worth another one.
    async fn go_on(&self, refusal: Refusal, since: Instant) -> Result<(), ProposeError> {
        match refusal {
            Refusal::NotLeader => {}
            Refusal::NoQuorum(missing) => return Err(ProposeError::NoQuorum { missing }),
            Refusal::Full { manager, free_bytes } => return Err(ProposeError::Full { manager, free_bytes }),
            Refusal::Failed(failure) => return Err(ProposeError::Remote(failure)),
        }
        if let Some(why) = self.context.applied.halted().borrow().as_ref() {
            return Err(ProposeError::Stopped { why: why.to_string() });
        }
        if let Some(why) = self.down().filter(|_| since.elapsed() >= QUORUM_WITHIN) {
            return Err(ProposeError::Stopped { why });
        }
        if let Some(missing) = self.lost_quorum(since) {
            return Err(ProposeError::NoQuorum { missing });
        }
        if since.elapsed() >= PATIENCE {
            return Err(ProposeError::Deadline { seconds: PATIENCE.as_secs() });
        }
        tokio::time::sleep(LOOK_EVERY / 5).await;
        Ok(())
    }

    async fn attempt(&self, bytes: &Bytes, since: Instant) -> Result<Outcome, Refusal> {
        match self.leader() {
            Some(leader) if leader == self.context.me.raft_id => self.write(bytes.clone(), since).await,
            Some(leader) => self.forward(leader, bytes, since).await,
            None => {
                tokio::time::sleep(LOOK_EVERY / 5).await;
                Err(Refusal::NotLeader)
            }
        }
    }

    /// As the leader: writes the entry and waits until it is applied.
    pub(crate) async fn write(&self, bytes: Bytes, since: Instant) -> Result<Outcome, Refusal> {
        if let Some(free_bytes) = self.context.disk.refuses() {
            return Err(Refusal::Full { manager: self.context.options.address.clone(), free_bytes });
        }
        let raft = self.raft().ok_or(Refusal::NotLeader)?;
        let mut writing = Box::pin(raft.client_write(Proposal(bytes)));
        loop {
            tokio::select! {
                written = &mut writing => return match written {
                    Ok(written) => match written.data.0 {
                        Some(result) => Ok((result, written.log_id.index)),
                        None => Err(Refusal::NotLeader),
                    },
                    // Discarded or not, the same transaction id makes a repetition harmless.
                    Err(CoreError::APIError(ClientWriteError::ForwardToLeader(_) | ClientWriteError::LogEntryDiscarded(_))) => Err(Refusal::NotLeader),
                    Err(CoreError::APIError(_) | CoreError::Fatal(_)) => Err(Refusal::NotLeader),
                },
                () = tokio::time::sleep(LOOK_EVERY) => {
                    if let Some(missing) = self.lost_quorum(since) {
                        return Err(Refusal::NoQuorum(missing));
                    }
                    if since.elapsed() >= PATIENCE {
                        return Err(Refusal::NotLeader);
                    }
                }
            }
        }
    }

    async fn forward(&self, leader: u64, bytes: &Bytes, since: Instant) -> Result<Outcome, Refusal> {
        let mut client = self.client(leader)?;
        let txn = v1::Txn::decode(bytes.clone()).map_err(|_| Refusal::NotLeader)?;
        let answer = self.ask_leader(leader, since, async move { client.propose(v1::ProposeRequest { txn: Some(txn) }).await }).await?;
        if let Some(refusal) = answer.refusal {
            return Err(from_wire(refusal));
        }
        match answer.outcome.and_then(|outcome| outcome.outcome) {
            Some(v1::txn_outcome::Outcome::Applied(applied)) => Ok((Ok(applied), answer.index)),
            Some(v1::txn_outcome::Outcome::Rejected(rejected)) => Ok((Err(rejected), answer.index)),
            None => Err(Refusal::NotLeader),
        }
    }

    /// The index up to which a linearizable read must have applied.
    pub(crate) async fn read_index(&self) -> Result<u64, ProposeError> {
        let since = Instant::now();
        loop {
            let refusal = match self.leader() {
                Some(leader) if leader == self.context.me.raft_id => self.own_read_index(since).await,
                Some(leader) => self.ask_read_index(leader, since).await,
                None => Err(Refusal::NotLeader),
            };
            match refusal {
                Ok(index) => return Ok(index),
                Err(refusal) => self.go_on(refusal, since).await?,
            }
        }
    }

    /// As the leader: asks a quorum whether this still is the leader.
    pub(crate) async fn own_read_index(&self, since: Instant) -> Result<u64, Refusal> {
        let raft = self.raft().ok_or(Refusal::NotLeader)?;
        let mut reading = Box::pin(raft.get_read_linearizer(ReadPolicy::ReadIndex));
        loop {
            tokio::select! {
                read = &mut reading => return match read {
                    Ok(linearizer) => Ok(linearizer.read_log_id().index()),
                    Err(CoreError::APIError(LinearizableReadError::QuorumNotEnough(_) | LinearizableReadError::ForwardToLeader(_)) | CoreError::Fatal(_)) => Err(Refusal::NotLeader),
                },
                () = tokio::time::sleep(LOOK_EVERY) => {
                    if let Some(missing) = self.lost_quorum(since) {
                        return Err(Refusal::NoQuorum(missing));
                    }
                    if since.elapsed() >= PATIENCE {
                        return Err(Refusal::NotLeader);
                    }
                }
            }
        }
    }

    async fn ask_read_index(&self, leader: u64, since: Instant) -> Result<u64, Refusal> {
        let mut client = self.client(leader)?;
        let answer = self.ask_leader(leader, since, async move { client.read_index(v1::ReadIndexRequest {}).await }).await?;
        match answer.refusal {
            Some(refusal) => Err(from_wire(refusal)),
            None => Ok(answer.index),
        }
    }

    pub(crate) fn client(&self, raft_id: u64) -> Result<rcon_rpc::v1::raft_client::RaftClient<rcon_rpc::Channel>, Refusal> {
        let (participants, _) = self.participants();
        let node = participants.get(&raft_id).ok_or(Refusal::NotLeader)?;
        let peer = self.context.peers.peer(raft_id, node);
        self.context.peers.prompt(&peer).map_err(|_| Refusal::NotLeader)
    }

    /// Asks the leader, for as long as it is the leader and answers others.
    async fn ask_leader<T: Send + 'static>(
        &self,
        leader: u64,
        since: Instant,
        call: impl Future<Output = Result<rcon_rpc::tonic::Response<T>, Status>> + Send,
    ) -> Result<T, Refusal> {
        let mut call = Box::pin(call);
        loop {
            tokio::select! {
                answer = &mut call => return match answer {
                    Ok(answer) => {
                        self.context.peers.hear(leader);
                        Ok(answer.into_inner())
                    }
                    // The manager answered, and will say the same again.
                    Err(status) if matches!(status.code(), Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated | Code::ResourceExhausted) => {
                        Err(Refusal::Failed(peers::failure(status)))
                    }
                    Err(_) => Err(Refusal::NotLeader),
                },
                () = tokio::time::sleep(LOOK_EVERY) => {
                    if self.leader() != Some(leader) || since.elapsed() >= PATIENCE || self.lost_quorum(since).is_some() {
                        return Err(Refusal::NotLeader);
                    }
                }
            }
        }
    }

    /// The managers that do not answer, once a quorum has been missing for long enough to say so.
    fn lost_quorum(&self, since: Instant) -> Option<Vec<String>> {
        if since.elapsed() < QUORUM_WITHIN { None } else { self.missing_for_quorum() }
    }
}

/// What no state machine should ever see.
pub(crate) fn check(txn: &v1::Txn) -> Result<Bytes, ProposeError> {
    let invalid = |why: String| Err(ProposeError::Invalid { why });
    if txn.id.len() != 16 {
        return invalid("its id has not 16 bytes".to_owned());
    }
    if txn.ops.len() > MAX_OPERATIONS {
        return invalid(format!("it has {} operations, at most {MAX_OPERATIONS} are allowed", txn.ops.len()));
    }
    // Once in the log, such an operation would stop every manager.
    if txn.ops.iter().any(|op| op.op.is_none()) {
        return invalid("it has an operation that this version does not know".to_owned());
    }
    if txn.encoded_len() > MAX_TXN_BYTES {
        return invalid(format!("it has {} bytes, at most {MAX_TXN_BYTES} are allowed", txn.encoded_len()));
    }
    Ok(Bytes::from(txn.encode_to_vec()))
}

/// A refusal for the manager that asked.
pub(crate) fn to_wire(refusal: Refusal) -> Result<v1::LeaderRefusal, Failure> {
    use v1::LeaderRefusalKind as Kind;
    let wire = |kind: Kind| v1::LeaderRefusal { kind: kind.into(), ..v1::LeaderRefusal::default() };
    match refusal {
        Refusal::NotLeader => Ok(wire(Kind::NotLeader)),
        Refusal::NoQuorum(missing) => Ok(v1::LeaderRefusal { missing, ..wire(Kind::NoQuorum) }),
        Refusal::Full { manager, free_bytes } => Ok(v1::LeaderRefusal { manager, free_bytes, ..wire(Kind::DiskFull) }),
        Refusal::Failed(failure) => Err(failure),
    }
}

fn from_wire(wire: v1::LeaderRefusal) -> Refusal {
    use v1::LeaderRefusalKind as Kind;
    match wire.kind() {
        Kind::NoQuorum => Refusal::NoQuorum(wire.missing),
        Kind::DiskFull => Refusal::Full { manager: wire.manager, free_bytes: wire.free_bytes },
        Kind::NotLeader | Kind::Unspecified => Refusal::NotLeader,
    }
}

impl From<ProposeError> for RaftError {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::NoQuorum { missing } => Self::NoLeader { missing },
            ProposeError::Deadline { seconds } => Self::Deadline { what: "it", seconds },
            ProposeError::Stopped { why } => Self::Stopped { why },
            other => Self::Remote { source: other.failure() },
        }
    }
}

/// For waiting on things that a manager does by itself.
pub(crate) async fn until(within: Duration, what: &'static str, mut condition: impl FnMut() -> bool) -> Result<(), RaftError> {
    let since = Instant::now();
    while !condition() {
        if since.elapsed() >= within {
            return Err(RaftError::Deadline { what, seconds: within.as_secs() });
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
