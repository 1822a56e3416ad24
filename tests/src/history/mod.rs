//! The control plane under faults, with a history that is judged afterwards.
//!
//! Clients write and read registers (labels of nodes) through every manager's local socket, a nemesis kills, cuts power, freezes and
//! partitions, and a recorder notes what each client was told and when. At the end [`check`] says whether one register at a time could
//! have given all those answers, and [`lost_writes`] names what was acknowledged and is gone. Judging is pure and knows nothing of rcon;
//! [`Trial`] does the rest. All that is drawn comes from one seed, which `RCON_SEED` sets; what the machine makes of it is its own.

mod clients;
mod durable;
#[cfg(test)]
mod example;
pub mod faults;
mod linearizable;
mod nemesis;
mod operation;
mod recorder;
mod registers;
mod summary;
mod trial;

pub use durable::lost_writes;
pub use faults::Fault;
pub use linearizable::{Violation, check};
pub use operation::{Action, Operation, Outcome, Value};
pub use summary::Summary;
pub use trial::Trial;

/// The seed that `RCON_SEED` gives, or another one each time.
///
/// # Panics
/// When it is no number.
#[must_use]
pub fn seed() -> u64 {
    match std::env::var("RCON_SEED") {
        Ok(text) => text.parse().unwrap_or_else(|error| panic!("RCON_SEED is `{text}`: {error}")),
        Err(_) => rand::random(),
    }
}
