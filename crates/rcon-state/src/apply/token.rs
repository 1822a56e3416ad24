//! Operations on join tokens.

use std::sync::Arc;

use rcon_proto::{convert, v1};
use sha2::{Digest, Sha256};

use super::{Done, Transition, removed};
use crate::{ObjectKey, TokenId, error::Refusal, limits::MAX_TEXT, validate};

impl Transition {
    pub(super) fn put_token(&mut self, token: &v1::JoinToken) -> Done {
        self.cluster()?;
        let id = check(token)?;
        let replaced = self.state.standing_token(token.role()).map(|(old, _)| old).filter(|old| token.standing && *old != id);
        if let Some(old) = replaced {
            self.state.tokens.remove(&old);
            self.dirty.keys.insert(ObjectKey::Token(old));
        }
        Ok(self.write_token(id, token.clone()))
    }

    pub(super) fn remove_token(&mut self, id: &[u8]) -> Done {
        let (id, _) = self.find_token(id)?;
        self.drop_token(id);
        Ok(removed(ObjectKey::Token(id)))
    }

    pub(super) fn use_token(&mut self, id: &[u8]) -> Done {
        let (id, token) = self.find_token(id)?;
        if token.expires_ms != 0 && self.time_ms >= token.expires_ms {
            return Err(Refusal::invalid("the join token has expired").hint("make a new one with `rconctl swarm join-token`").into());
        }
        match token.uses_left {
            0 => Ok(self.write_token(id, token.as_ref().clone())),
            1 => {
                self.drop_token(id);
                Ok(removed(ObjectKey::Token(id)))
            }
            uses => Ok(self.write_token(id, v1::JoinToken { uses_left: uses - 1, ..token.as_ref().clone() })),
        }
    }

    fn find_token(&self, id: &[u8]) -> Result<(TokenId, Arc<v1::JoinToken>), Refusal> {
        let id: TokenId = convert::id("token_id", id)?;
        let refuse = || {
            Refusal::not_found("the join token is unknown, used up or was replaced")
                .hint("ask a manager: `rconctl swarm join-token worker`")
        };
        self.state.tokens.get(&id).map(|token| (id, Arc::clone(token))).ok_or_else(refuse)
    }

    fn write_token(&mut self, id: TokenId, token: v1::JoinToken) -> v1::written::Object {
        let token = v1::JoinToken { version: self.index, ..token };
        self.state.tokens.insert(id, Arc::new(token.clone()));
        self.dirty.keys.insert(ObjectKey::Token(id));
        v1::written::Object::Token(token)
    }

    fn drop_token(&mut self, id: TokenId) {
        self.state.tokens.remove(&id);
        self.dirty.keys.insert(ObjectKey::Token(id));
    }
}

fn check(token: &v1::JoinToken) -> Result<TokenId, Refusal> {
    let id: TokenId = convert::id("token.id", &token.id)?;
    validate::role("token.role", token.role)?;
    validate::bytes("token.secret_sha256", &token.secret_sha256, 32)?;
    if token.secret_sha256[..16] != token.id[..] {
        return Err(Refusal::invalid("a token's id is the start of its secret's SHA-256"));
    }
    if token.standing && (token.expires_ms != 0 || token.uses_left != 0) {
        return Err(Refusal::invalid("a standing token has no limits"));
    }
    if token.standing == token.secret.is_empty() || token.secret.len() > MAX_TEXT {
        return Err(Refusal::invalid("the secret of a standing token is kept, that of another is not"));
    }
    if token.standing && Sha256::digest(&token.secret)[..] != token.secret_sha256[..] {
        return Err(Refusal::invalid("the token's secret does not have the given SHA-256"));
    }
    Ok(id)
}
