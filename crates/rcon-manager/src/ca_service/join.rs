//! A host becomes a member: the decision is pure ([`decide`]), the rest reads, proposes and signs.
//!
//! Idempotent: a host that did not hear the answer asks again with the same key and finds itself a member, also when the token's last use
//! was its own. The key is what a repeated request is known by, since its owner has proved to hold it.

use std::{net::IpAddr, time::SystemTime};

use rcon_identity::{JoinSecret, RequestedKey};
use rcon_proto::{convert, v1};
use rcon_state::{ObjectKey, State, TokenId};
use rcon_types::{Failure, FailureKind, NodeId, Role};
use thiserror::Error;

use super::welcome;
use crate::{
    random::{self, RandomError},
    replica::Change,
    shared::{Shared, lock},
    transaction::milliseconds,
};

/// Length of a request's id in bytes.
const REQUEST_ID_BYTES: usize = 16;

/// Why a host does not become a member.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum JoinError {
    /// No token has this secret: wrong, used up, or replaced. One answer for all, so that nothing is learnt from it.
    #[error("the join token is not valid: it is wrong, used up, or was replaced")]
    Token,
    /// Its time is over.
    #[error("the join token has expired")]
    Expired,
    /// A manager-to-be that cannot do what the cluster does.
    #[error("this host supports feature level {has}, the cluster is at {needs}")]
    FeatureLevel {
        /// The host's.
        has: u32,
        /// The cluster's.
        needs: u32,
    },
    /// The request lacks a part or has it in the wrong size.
    #[error("the join request is malformed: {0}")]
    Malformed(&'static str),
    /// Too many failures from that address.
    #[error("too many joins have failed from this address")]
    Limited,
}

impl From<JoinError> for Failure {
    fn from(error: JoinError) -> Self {
        let (kind, hint) = match error {
            JoinError::Token | JoinError::Expired => {
                (FailureKind::PermissionDenied, "print a good one on a manager: `rconctl swarm join-token worker` (or `manager`)")
            }
            JoinError::FeatureLevel { .. } => (FailureKind::FailedPrecondition, "upgrade rcond on this host, or join as a worker"),
            JoinError::Malformed(_) => (FailureKind::InvalidArgument, "the versions of rcond may differ too much"),
            JoinError::Limited => (FailureKind::ResourceExhausted, "wait a minute"),
        };
        Self::from_error(kind, &error).hint(hint)
    }
}

/// What is to be done with a joiner.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is a member already.
    Member(NodeId),
    /// Admit it in this role, by this token, whose use is counted where it has a limit.
    Admit { role: Role, token: TokenId, counted: bool },
}

/// Looks at a joiner. `digest` is that of the key which it has proved to hold.
pub(super) fn decide(state: &State, request: &v1::JoinRequest, digest: &[u8], now_ms: u64) -> Result<Decision, JoinError> {
    if request.request_id.len() != REQUEST_ID_BYTES {
        return Err(JoinError::Malformed("its id has not 16 bytes"));
    }
    if let Some(member) = state.node_by_public_key(digest) {
        return Ok(Decision::Member(member));
    }
    let secret = JoinSecret::from_slice(&request.token_secret).ok_or(JoinError::Token)?;
    let (id, token) = state.token_by_secret_hash(&secret.hash()).ok_or(JoinError::Token)?;
    if !secret.matches(&token.secret_sha256) {
        return Err(JoinError::Token);
    }
    if token.expires_ms != 0 && token.expires_ms <= now_ms {
        return Err(JoinError::Expired);
    }
    let role = convert::role(token.role).ok_or(JoinError::Token)?;
    let description = request.description.as_ref().ok_or(JoinError::Malformed("it does not describe the host"))?;
    let needs = state.cluster().map_or(0, |c| c.feature_level);
    if role == Role::Manager && description.feature_level < needs {
        return Err(JoinError::FeatureLevel { has: description.feature_level, needs });
    }
    Ok(Decision::Admit { role, token: id, counted: token.uses_left > 0 })
}

pub(super) async fn join(shared: &Shared, request: v1::JoinRequest, from: Option<IpAddr>) -> Result<v1::JoinResponse, Failure> {
    let clock = shared.sessions.now();
    if !lock(&shared.join_failures).allows(from, clock) {
        return Err(JoinError::Limited.into());
    }
    let joined = admit(shared, &request).await;
    if let Err(failure) = &joined
        && matches!(failure.kind, FailureKind::PermissionDenied | FailureKind::InvalidArgument)
    {
        lock(&shared.join_failures).failed(from, clock);
        tracing::warn!(?from, error = %failure.message, "a host was not let in");
    }
    joined
}

async fn admit(shared: &Shared, request: &v1::JoinRequest) -> Result<v1::JoinResponse, Failure> {
    let key = RequestedKey::from_request(&request.csr)?;
    let mut member = None;
    let propose = |state: &State| {
        let now = SystemTime::now();
        match decide(state, request, &key.digest(), milliseconds(now))? {
            Decision::Member(node) => {
                member = Some(node);
                Ok(None)
            }
            Decision::Admit { role, token, counted } => {
                let node: NodeId = random::id().map_err(RandomError::failure)?;
                member = Some(node);
                let mut ops = vec![v1::op::Op::CreateNode(new_node(node, role, request, &key, now))];
                if counted {
                    ops.push(v1::op::Op::UseToken(convert::id_bytes(token)));
                    return Ok(Some(Change::new(ops)));
                }
                // A token that is replaced at this moment is not good any more.
                Ok(Some(Change::new(ops).relying_on(ObjectKey::Token(token))))
            }
        }
    };
    let admitted = shared.replica.change(propose).await;
    let state = shared.replica.state();
    let node = match admitted {
        Ok(_) => member,
        // Its own earlier request came through meanwhile.
        Err(failure) if failure.kind == FailureKind::AlreadyExists => Some(state.node_by_public_key(&key.digest()).ok_or(failure)?),
        Err(failure) => return Err(failure),
    };
    let node = node.ok_or_else(|| Failure::new(FailureKind::Internal, "nobody was admitted"))?;
    let answer = welcome(&state, node, &key, SystemTime::now())?;
    let hostname = request.description.as_ref().map_or("", |d| d.hostname.as_str());
    tracing::info!(%node, hostname, role = answer.role, "a host has joined");
    Ok(answer)
}

fn new_node(id: NodeId, role: Role, request: &v1::JoinRequest, key: &RequestedKey, now: SystemTime) -> v1::Node {
    v1::Node {
        id: convert::id_bytes(id),
        created_ms: milliseconds(now),
        role: v1::Role::from(role).into(),
        availability: v1::Availability::from(convert::availability(request.availability)).into(),
        description: request.description.clone(),
        public_key_digest: key.digest().to_vec().into(),
        ..v1::Node::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fixture::{Fixture, description, now},
        tokens::{Limits, limited},
    };

    fn request(secret: &JoinSecret) -> v1::JoinRequest {
        v1::JoinRequest {
            token_secret: secret.as_bytes().to_vec().into(),
            description: Some(description(9)),
            request_id: vec![1; 16].into(),
            ..Default::default()
        }
    }

    #[test]
    fn the_token_decides_the_role() {
        let Fixture { state, founded } = Fixture::new();
        for (token, expected) in [(&founded.worker_token, Role::Worker), (&founded.manager_token, Role::Manager)] {
            let decision = decide(&state, &request(token.secret()), &[9; 32], 0).unwrap();
            assert!(matches!(decision, Decision::Admit { role, counted: false, .. } if role == expected), "{decision:?}");
        }
    }

    #[test]
    fn wrong_expired_and_malformed_requests_are_refused() {
        let mut fixture = Fixture::new();
        let secret = JoinSecret::from_bytes([3; 16]);
        let limits = Limits { expires_ms: milliseconds(now()), uses: 2 };
        fixture.apply(vec![v1::op::Op::PutToken(limited(Role::Worker, &secret, limits))]);
        let state = &fixture.state;
        let good = decide(state, &request(&secret), &[9; 32], limits.expires_ms - 1).unwrap();
        assert!(matches!(good, Decision::Admit { role: Role::Worker, counted: true, .. }), "{good:?}");
        assert_eq!(decide(state, &request(&secret), &[9; 32], limits.expires_ms), Err(JoinError::Expired));
        assert_eq!(decide(state, &request(&JoinSecret::from_bytes([4; 16])), &[9; 32], 0), Err(JoinError::Token));
        let short = v1::JoinRequest { token_secret: vec![3; 15].into(), ..request(&secret) };
        assert_eq!(decide(state, &short, &[9; 32], 0), Err(JoinError::Token));
        let nameless = v1::JoinRequest { request_id: Default::default(), ..request(&secret) };
        assert!(matches!(decide(state, &nameless, &[9; 32], 0), Err(JoinError::Malformed(_))));
    }

    #[test]
    fn a_repeated_request_finds_the_member_even_when_the_token_is_used_up() {
        let mut fixture = Fixture::new();
        let node = fixture.add_node(9, Role::Worker);
        let gone = request(&JoinSecret::from_bytes([5; 16]));
        assert_eq!(decide(&fixture.state, &gone, &[9; 32], 0), Ok(Decision::Member(node)));
    }

    #[test]
    fn an_old_host_joins_as_a_worker_alone() {
        let Fixture { state, founded } = Fixture::new();
        let old = Some(v1::NodeDescription { feature_level: 0, ..description(9) });
        let as_manager = v1::JoinRequest { description: old.clone(), ..request(founded.manager_token.secret()) };
        assert_eq!(decide(&state, &as_manager, &[9; 32], 0), Err(JoinError::FeatureLevel { has: 0, needs: 1 }));
        let as_worker = v1::JoinRequest { description: old, ..request(founded.worker_token.secret()) };
        assert!(decide(&state, &as_worker, &[9; 32], 0).is_ok());
    }
}
