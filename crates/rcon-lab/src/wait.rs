//! Waiting for a condition, always with a deadline; and the wish of the person at the terminal to stop.
//!
//! Nothing in the lab sleeps for a fixed time: it looks, and looks again a little later, until the condition holds, the
//! deadline has passed or Ctrl-C was pressed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::error::LabError;

/// The first pause between two looks; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// The longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Looks until `look` gives a value, and fails after `deadline` with `what` in the message.
pub fn until<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Result<Option<T>, LabError>) -> Result<T, LabError> {
    let begin = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(value) = look()? {
            return Ok(value);
        }
        if interrupted() {
            return Err(LabError::Interrupted);
        }
        let left = deadline.saturating_sub(begin.elapsed());
        if left.is_zero() {
            return Err(LabError::Timeout { what: what.to_owned(), deadline });
        }
        std::thread::park_timeout(pause.min(left));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// From now on SIGINT, SIGTERM and SIGHUP end no process but make every wait fail, so that the caller can clean up.
#[allow(unsafe_code)]
pub fn stop_on_signals() -> Result<(), LabError> {
    let action = SigAction::new(SigHandler::Handler(remember), SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
        unsafe { sigaction(signal, &action) }.map_err(|error| LabError::system("install a signal handler", error))?;
    }
    Ok(())
}

/// Whether such a signal has come.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Forgets the signal, for the cleaning up that follows it.
pub fn forget_interrupt() {
    INTERRUPTED.store(false, Ordering::SeqCst);
}

extern "C" fn remember(_: libc::c_int) {
    INTERRUPTED.store(true, Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_comes_true_is_returned() {
        let mut looks = 0;
        let value = until("three looks", Duration::from_secs(5), || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(value.unwrap(), 3);
    }

    #[test]
    fn a_condition_that_never_holds_fails_with_its_name() {
        let error = until::<()>("the moon is blue", Duration::from_millis(5), || Ok(None)).unwrap_err();
        assert!(error.to_string().starts_with("the moon is blue: not within"), "{error}");
    }
}
