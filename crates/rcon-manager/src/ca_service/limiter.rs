//! How many joins may fail, so that nobody tries secrets, or fills the log, at leisure. Pure: addresses and clock readings in, verdicts out.

use std::{collections::BTreeMap, net::IpAddr};

use crate::{
    limits::{JOIN_FAILURE_ADDRESSES, JOIN_FAILURE_WINDOW, JOIN_FAILURES, JOIN_FAILURES_TOTAL},
    liveness::core::Monotonic,
};

/// Failures of the current window, by address and altogether.
#[derive(Debug, Default)]
pub struct FailureLimiter {
    began: Monotonic,
    total: u32,
    by_address: BTreeMap<IpAddr, u32>,
}

impl FailureLimiter {
    /// Whether a join from there may be looked at now.
    pub fn allows(&mut self, address: Option<IpAddr>, now: Monotonic) -> bool {
        self.turn(now);
        let own = address.and_then(|a| self.by_address.get(&a)).copied().unwrap_or(0);
        own < JOIN_FAILURES && self.total < JOIN_FAILURES_TOTAL
    }

    /// A join from there has failed for a reason that an attacker would cause.
    pub fn failed(&mut self, address: Option<IpAddr>, now: Monotonic) {
        self.turn(now);
        self.total = self.total.saturating_add(1);
        let Some(address) = address else { return };
        if self.by_address.len() < JOIN_FAILURE_ADDRESSES || self.by_address.contains_key(&address) {
            let own = self.by_address.entry(address).or_default();
            *own = own.saturating_add(1);
        }
    }

    fn turn(&mut self, now: Monotonic) {
        if now >= self.began.after(JOIN_FAILURE_WINDOW) {
            *self = Self { began: now, ..Self::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_keeps_failing_waits_and_others_do_not() {
        let mut limiter = FailureLimiter::default();
        let [bad, good]: [Option<IpAddr>; 2] = [Some([10, 0, 0, 1].into()), Some([10, 0, 0, 2].into())];
        for _ in 0..JOIN_FAILURES {
            assert!(limiter.allows(bad, Monotonic(5)));
            limiter.failed(bad, Monotonic(5));
        }
        assert!(!limiter.allows(bad, Monotonic(5)) && limiter.allows(good, Monotonic(5)));
        let later = Monotonic(5).after(JOIN_FAILURE_WINDOW);
        assert!(limiter.allows(bad, later));
    }

    #[test]
    fn memory_and_failures_are_bounded_altogether() {
        let mut limiter = FailureLimiter::default();
        for number in 0..2 * JOIN_FAILURES_TOTAL {
            limiter.failed(Some(number.to_be_bytes().into()), Monotonic(1));
        }
        assert!(limiter.by_address.len() <= JOIN_FAILURE_ADDRESSES);
        assert!(!limiter.allows(None, Monotonic(1)));
    }
}
