//! The ring of recent outcomes, by which a transaction that is proposed twice takes effect once.

use std::sync::Arc;

use imbl::{OrdMap, Vector};
use rcon_proto::v1;

use crate::{TxnId, limits::RECENT_TXNS};

/// The latest [`RECENT_TXNS`] transactions with their outcomes, oldest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recent {
    order: Vector<TxnId>,
    outcomes: OrdMap<TxnId, Arc<v1::TxnOutcome>>,
}

impl Recent {
    pub(crate) fn get(&self, id: TxnId) -> Option<&Arc<v1::TxnOutcome>> {
        self.outcomes.get(&id)
    }

    /// Remembers an outcome and forgets the oldest one when there are too many.
    pub(crate) fn push(&mut self, id: TxnId, outcome: Arc<v1::TxnOutcome>) {
        if self.outcomes.insert(id, outcome).is_none() {
            self.order.push_back(id);
        }
        while self.order.len() > RECENT_TXNS {
            if let Some(oldest) = self.order.pop_front() {
                self.outcomes.remove(&oldest);
            }
        }
    }

    /// The outcomes, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (TxnId, &Arc<v1::TxnOutcome>)> {
        self.order.iter().filter_map(|id| self.outcomes.get(id).map(|outcome| (*id, outcome)))
    }
}
