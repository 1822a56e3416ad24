//! Join tokens as the state keeps them. Pure.
//!
//! Of a token with limits only the hash is kept; the standing token of a role keeps its secret too, so that it can be shown again, and that
//! secret leaves in `GetJoinToken` alone.

use rcon_identity::JoinSecret;
use rcon_proto::v1;
use rcon_state::State;
use rcon_types::{Failure, FailureKind, Role};

use crate::limits::{LIMITED_TOKENS, TOKEN_LIFE_S};

/// The standing token of a role; replaces the one before.
#[must_use]
pub fn standing(role: Role, secret: &JoinSecret) -> v1::JoinToken {
    v1::JoinToken { standing: true, secret: secret.as_bytes().to_vec().into(), ..limited(role, secret, Limits::default()) }
}

/// How long and how often a token is good; 0 for no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Milliseconds since 1970 from which on it is not.
    pub expires_ms: u64,
    /// Joins that it is good for.
    pub uses: u32,
}

/// A token with limits.
#[must_use]
pub fn limited(role: Role, secret: &JoinSecret, limits: Limits) -> v1::JoinToken {
    let hash = secret.hash();
    v1::JoinToken {
        id: hash[..16].to_vec().into(),
        version: 0,
        role: v1::Role::from(role).into(),
        secret_sha256: hash.to_vec().into(),
        expires_ms: limits.expires_ms,
        uses_left: limits.uses,
        standing: false,
        secret: rcon_proto::v1::JoinToken::default().secret,
    }
}

/// What a request for a token asks for, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Show the standing token.
    Show(Role),
    /// Replace it.
    Rotate(Role),
    /// Make another one, with limits.
    Limited(Role, Limits),
}

/// Reads a request.
///
/// # Errors
/// When it names no role, contradicts itself, or asks for a life beyond ten years or for one token too many.
pub fn wish(request: v1::GetJoinTokenRequest, state: &State, now_ms: u64) -> Result<Wish, Failure> {
    let invalid = |message: &str| Failure::new(FailureKind::InvalidArgument, message);
    let role = rcon_proto::convert::role(request.role).ok_or_else(|| invalid("a join token is for a role: worker or manager"))?;
    let has_limits = request.expires_in_s > 0 || request.uses > 0;
    match (request.rotate, has_limits) {
        (true, true) => {
            Err(invalid("the standing token has no limits").hint("either `--rotate`, or `--expires` and `--uses` for one more token"))
        }
        (true, false) => Ok(Wish::Rotate(role)),
        (false, false) => Ok(Wish::Show(role)),
        (false, true) if request.expires_in_s > TOKEN_LIFE_S => Err(invalid("a join token lives at most ten years")),
        (false, true) if state.tokens().filter(|(_, token)| !token.standing).count() >= LIMITED_TOKENS => {
            let failure = Failure::new(FailureKind::ResourceExhausted, format!("{LIMITED_TOKENS} join tokens with limits are outstanding"));
            Err(failure.hint("wait until some are used or expire, or use the standing token"))
        }
        (false, true) => {
            let expires_ms = match request.expires_in_s {
                0 => 0,
                seconds => now_ms.saturating_add(seconds.saturating_mul(1000)),
            };
            Ok(Wish::Limited(role, Limits { expires_ms, uses: request.uses }))
        }
    }
}

/// Tokens whose time is over by `now_ms`: the leader removes them.
#[must_use]
pub fn expired(state: &State, now_ms: u64) -> Vec<rcon_state::TokenId> {
    state.tokens().filter(|(_, token)| token.expires_ms != 0 && token.expires_ms <= now_ms).map(|(id, _)| id).collect()
}
