//! The engine's side of shims: starting them, talking to them, finding them again.

mod connection;
mod observe;
mod program;
mod session;

pub(crate) use connection::{ShimConnection, ShimError};
pub(crate) use observe::{Observed, observe};
pub(crate) use program::{ShimProgram, StartFailure};
pub(crate) use session::{Input as ShimInput, Output as ShimOutput, channels};
