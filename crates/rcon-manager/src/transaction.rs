//! Builders of transactions. The time and the random id in one are its proposer's, so that `apply` needs neither clock nor randomness.

use std::time::{SystemTime, UNIX_EPOCH};

use rcon_proto::{convert, v1};
use rcon_state::{ObjectKey, State, TxnId};

/// Milliseconds since 1970-01-01 UTC; 0 for a clock that is before.
#[must_use]
pub fn milliseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// A transaction without preconditions.
#[must_use]
pub fn transaction(id: TxnId, now: SystemTime, ops: Vec<v1::Op>) -> v1::Txn {
    v1::Txn { id: convert::id_bytes(id), time_ms: milliseconds(now), preconditions: Vec::new(), ops }
}

/// An operation in its envelope.
#[must_use]
pub const fn op(op: v1::op::Op) -> v1::Op {
    v1::Op { op: Some(op) }
}

/// Holds while the object is as it is in `state`.
#[must_use]
pub fn unchanged(state: &State, key: ObjectKey) -> v1::Precondition {
    v1::Precondition { key: Some(key.to_wire()), version: state.version(key) }
}
