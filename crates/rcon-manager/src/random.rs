//! Randomness of the operating system, for what a proposer chooses: ids of objects and transactions.

use rcon_types::{Failure, FailureKind, Id, id::Kind};
use thiserror::Error;

/// The operating system gave no randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("could not get random bytes for a new id")]
pub struct RandomError(#[source] getrandom::Error);

impl RandomError {
    /// As it crosses the wire.
    #[must_use]
    pub fn failure(self) -> Failure {
        Failure::from_error(FailureKind::Internal, &self)
    }
}

/// `N` random bytes.
///
/// # Errors
/// When there are none.
pub fn bytes<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut out = [0; N];
    getrandom::fill(&mut out).map_err(RandomError)?;
    Ok(out)
}

/// A new id.
///
/// # Errors
/// When there is no randomness.
pub fn id<K: Kind>() -> Result<Id<K>, RandomError> {
    bytes().map(Id::from_bytes)
}
