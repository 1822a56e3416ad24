//! The cluster object and its join tokens, as people see them.

use std::time::SystemTime;

use rcon_identity::{CertificateAuthority, JoinSecret};
use rcon_proto::v1;
use rcon_state::{ObjectKey, State};
use rcon_types::{Failure, FailureKind, Role};

use crate::{
    assignments::managers,
    authority::authority,
    replica::Change,
    shared::Shared,
    tokens::{self, Wish, wish},
    transaction::milliseconds,
};

pub(super) async fn get(shared: &Shared) -> Result<v1::GetClusterResponse, Failure> {
    let state = shared.replica.read().await?;
    Ok(view(&state))
}

/// The cluster without what must not leave the managers.
fn view(state: &State) -> v1::GetClusterResponse {
    let cluster = state.cluster().map(|cluster| v1::Cluster { ca_key_pkcs8: Default::default(), ..cluster.clone() });
    v1::GetClusterResponse {
        cluster,
        nodes: u32::try_from(state.node_count()).unwrap_or(u32::MAX),
        managers: u32::try_from(state.nodes().filter(|(_, n)| n.role() == v1::Role::Manager).count()).unwrap_or(u32::MAX),
    }
}

pub(super) async fn join_token(shared: &Shared, request: v1::GetJoinTokenRequest) -> Result<v1::GetJoinTokenResponse, Failure> {
    let state = shared.replica.read().await?;
    let now_ms = milliseconds(SystemTime::now());
    let wish = wish(request, &state, now_ms)?;
    let authority = authority(&state)?;
    let secret = match wish {
        Wish::Show(role) => standing_secret(&state, role)?,
        Wish::Rotate(role) => rotate(shared, role).await?,
        Wish::Limited(role, limits) => {
            let secret = JoinSecret::generate()?;
            let put = v1::op::Op::PutToken(tokens::limited(role, &secret, limits));
            shared.replica.propose(Change::new(vec![put]), &state).await?;
            secret
        }
    };
    tracing::info!(?wish, "a join token was given out");
    Ok(answer(&authority, secret, &state))
}

fn answer(authority: &CertificateAuthority, secret: JoinSecret, state: &State) -> v1::GetJoinTokenResponse {
    let manager_addresses = managers(state).into_iter().map(|m| m.address).collect();
    v1::GetJoinTokenResponse { token: authority.token(secret).reveal(), manager_addresses }
}

fn standing_secret(state: &State, role: Role) -> Result<JoinSecret, Failure> {
    let token = state.standing_token(role.into()).map(|(_, token)| token);
    token.and_then(|token| JoinSecret::from_slice(&token.secret)).ok_or_else(|| {
        Failure::new(FailureKind::NotFound, format!("there is no join token for a {role}"))
            .hint(format!("make one: `rconctl swarm join-token --rotate {role}`"))
    })
}

/// Replaces the standing token. Of two who rotate at once, each gets a token that was good; the later one stays.
async fn rotate(shared: &Shared, role: Role) -> Result<JoinSecret, Failure> {
    let secret = JoinSecret::generate()?;
    let decide = |state: &State| {
        let put = Change::new(vec![v1::op::Op::PutToken(tokens::standing(role, &secret))]);
        let old = state.standing_token(role.into()).map(|(id, _)| ObjectKey::Token(id));
        Ok(Some(old.into_iter().fold(put, Change::relying_on)))
    };
    shared.replica.change(decide).await?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Fixture;

    #[test]
    fn the_authoritys_key_never_leaves() {
        let fixture = Fixture::new();
        let key = fixture.state.cluster().unwrap().ca_key_pkcs8.clone();
        assert!(!key.is_empty());
        let bytes = rcon_proto::Message::encode_to_vec(&view(&fixture.state));
        assert!(!bytes.windows(key.len()).any(|window| window == key));
        let secret = fixture.founded.worker_token.secret().as_bytes().to_vec();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret));
    }
}
