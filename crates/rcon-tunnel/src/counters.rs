//! Counts that many threads add to and nobody waits for.

use std::sync::atomic::{AtomicU64, Ordering};

use rcon_packet::control::{DropReason, Drops};

/// How often each reason came up.
#[derive(Debug, Default)]
pub(crate) struct DropCounters([AtomicU64; DropReason::ALL.len()]);

impl DropCounters {
    /// One more.
    pub(crate) fn count(&self, reason: DropReason) {
        self.count_many(reason, 1);
    }

    /// Some more.
    pub(crate) fn count_many(&self, reason: DropReason, many: u64) {
        self.0[reason as usize].fetch_add(many, Ordering::Relaxed);
    }

    /// Those that came up at all.
    pub(crate) fn snapshot(&self) -> Drops {
        let all = DropReason::ALL.iter().map(|reason| (*reason, self.0[*reason as usize].load(Ordering::Relaxed)));
        all.filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_count() {
        let counters = DropCounters::default();
        for (n, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, n);
            counters.count_many(*reason, n as u64 + 1);
        }
        let drops = counters.snapshot();
        assert_eq!(drops.len(), DropReason::ALL.len());
        assert_eq!(drops[&DropReason::ALL[3]], 4);
    }
}
