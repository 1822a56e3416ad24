//! Waiting for what a cluster will come to.

use std::time::{Duration, Instant};

use rcon_lab::wait;

/// How long a test waits for what should take seconds at most.
const USUAL_DEADLINE: Duration = Duration::from_secs(30);

/// Tries until it succeeds and gives its value; panics with the last failure after half a minute.
#[track_caller]
pub fn eventually<T>(what: &str, attempt: impl FnMut() -> anyhow::Result<T>) -> T {
    eventually_within(USUAL_DEADLINE, what, attempt)
}

/// The same with another deadline.
#[track_caller]
pub fn eventually_within<T>(deadline: Duration, what: &str, mut attempt: impl FnMut() -> anyhow::Result<T>) -> T {
    let begin = Instant::now();
    let mut last = None;
    let value = wait::until(what, deadline, || match attempt() {
        Ok(value) => Ok(Some(value)),
        Err(error) => {
            last = Some(error);
            Ok(None)
        }
    });
    match value {
        Ok(value) => value,
        Err(error) => {
            panic!("{error}, tried for {} ms: {:#}", begin.elapsed().as_millis(), last.unwrap_or_else(|| anyhow::anyhow!("never tried")))
        }
    }
}
