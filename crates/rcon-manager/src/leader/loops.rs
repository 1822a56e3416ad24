//! The leader's loops: pure decisions of other modules, carried out.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcon_proto::{convert, v1};
use rcon_state::ObjectKey;
use rcon_types::Failure;
use tokio::time::{sleep, timeout};

use super::membership::{Step, plan};
use crate::{
    limits::{LIVENESS_TICK, MEMBERSHIP_TICK, OPS_PER_TXN, TOKENS_TICK},
    liveness::core::Decision,
    replica::Change,
    shared::{Shared, lock},
    tokens,
    transaction::milliseconds,
};

/// Proposes READY and DOWN as the table says.
pub(super) async fn liveness(shared: Arc<Shared>) {
    loop {
        let state = shared.replica.state();
        let members = state.nodes().map(|(id, node)| (id, convert::node_state(node.state)));
        let now = shared.sessions.now();
        let decisions = lock(&shared.liveness).as_mut().map_or_else(Vec::new, |table| table.decide(members, now));
        for some in decisions.chunks(OPS_PER_TXN) {
            let change = Change::new(some.iter().map(node_state).collect());
            match shared.replica.propose(change, &state).await {
                Ok(_) => some.iter().for_each(log),
                // A member may have been removed at this moment; the next round knows.
                Err(failure) => tracing::debug!(%failure, "the states of nodes could not be written"),
            }
        }
        // Whichever comes first.
        let _ = timeout(LIVENESS_TICK, shared.liveness_changed.notified()).await;
    }
}

fn node_state(decision: &Decision) -> v1::op::Op {
    let (node, state, message) = match decision {
        Decision::Ready(node) => (*node, v1::NodeState::Ready, String::new()),
        Decision::Down { node, silent_ms: Some(ms) } => (*node, v1::NodeState::Down, format!("not heard for {} ms", ms)),
        Decision::Down { node, silent_ms: None } => (*node, v1::NodeState::Down, "not heard since the leader changed".to_owned()),
    };
    v1::op::Op::SetNodeState(v1::SetNodeState { node_id: convert::id_bytes(node), state: state.into(), message })
}

fn log(decision: &Decision) {
    match decision {
        Decision::Ready(node) => tracing::info!(%node, "a node is ready"),
        Decision::Down { node, silent_ms } => tracing::warn!(%node, ?silent_ms, "a node is down"),
    }
}

/// Keeps Raft's membership as the state wants it, a step at a time.
pub(super) async fn membership(shared: Arc<Shared>) {
    let mut complained = false;
    loop {
        let participants = shared.replica.membership().participants;
        if let Some(step) = plan(&participants, &shared.replica.state()) {
            match carry_out(&shared, &step).await {
                Ok(()) => {
                    tracing::info!(?step, "the managers of Raft were changed");
                    complained = false;
                }
                Err(failure) if complained => tracing::debug!(?step, %failure, "the managers of Raft could not be changed"),
                Err(failure) => {
                    tracing::warn!(?step, %failure, "the managers of Raft could not be changed; this is tried again");
                    complained = true;
                }
            }
        }
        sleep(MEMBERSHIP_TICK).await;
    }
}

async fn carry_out(shared: &Shared, step: &Step) -> Result<(), Failure> {
    let consensus = shared.replica.consensus();
    match step {
        Step::HandOver(node) => Ok(consensus.transfer_leader(*node).await?),
        Step::SetVoters(raft_ids) => Ok(consensus.set_voters(raft_ids.clone()).await?),
        Step::Remove(raft_id) => Ok(consensus.remove_learner(*raft_id).await?),
        Step::Clear(node) => {
            let clear = Change::new(vec![v1::op::Op::ClearManager(convert::id_bytes(*node))]);
            shared.replica.propose(clear, &shared.replica.state()).await.map(|_| ())
        }
    }
}

/// Removes tokens whose time is over.
pub(super) async fn tokens(shared: Arc<Shared>) {
    loop {
        let state = shared.replica.state();
        let expired = tokens::expired(&state, milliseconds(SystemTime::now()));
        for some in expired.chunks(OPS_PER_TXN) {
            let change = some.iter().fold(Change::default(), |mut change, id| {
                change.ops.push(v1::op::Op::RemoveToken(convert::id_bytes(*id)));
                change.relying_on(ObjectKey::Token(*id))
            });
            if let Err(failure) = shared.replica.propose(change, &state).await {
                tracing::debug!(%failure, "expired join tokens could not be removed");
            }
        }
        sleep(TOKENS_TICK).await;
    }
}

const _: () =
    assert!(LIVENESS_TICK.as_millis() <= Duration::from_secs(1).as_millis(), "a silence of three beats is noticed within the fourth");
