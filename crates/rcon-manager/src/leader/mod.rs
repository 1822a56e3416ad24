//! What only the leader does: it notes who is READY or DOWN, keeps the voters odd, sees demotions through and removes expired tokens.
//!
//! Begun and ended with the leadership. Each loop looks at the state as it is, takes the next step, and looks again: nothing is remembered
//! between leaders but what is in the log, and a step that failed is decided anew.

mod loops;
pub mod membership;

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::{
    liveness::core::Liveness,
    shared::{Shared, lock},
};

/// Does the leader's work whenever this manager leads, for ever.
pub async fn lead_loop(shared: Arc<Shared>) {
    let mut leads = shared.replica.leads();
    loop {
        if leads.wait_for(|leads| *leads).await.is_err() {
            return;
        }
        tracing::info!("this manager leads");
        *lock(&shared.liveness) = Some(Liveness::new(shared.sessions.now()));
        let mut work = JoinSet::new();
        work.spawn(loops::liveness(Arc::clone(&shared)));
        work.spawn(loops::membership(Arc::clone(&shared)));
        work.spawn(loops::tokens(Arc::clone(&shared)));
        let ended = leads.wait_for(|leads| !*leads).await.is_err();
        work.shutdown().await;
        *lock(&shared.liveness) = None;
        if ended {
            return;
        }
        tracing::info!("this manager leads no more");
    }
}
