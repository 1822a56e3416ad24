//! When a node asks for its next certificate. Pure: the caller has the clock and the randomness.

use std::time::{Duration, SystemTime};

use crate::certificate::Validity;

/// The earliest share of a certificate's life at which it is renewed, in percent.
const EARLIEST_PERCENT: u64 = 50;
/// The latest, in percent: a fifth of the life is left for managers that do not answer.
const LATEST_PERCENT: u64 = 80;

/// The moment to renew a certificate of this validity. `random` spreads the nodes of a cluster evenly over 50 to 80 % of the
/// life, so that certificates issued in one second are not renewed in one second.
#[must_use]
pub fn renewal_time(validity: Validity, random: u32) -> SystemTime {
    let life = validity.not_after.duration_since(validity.not_before).unwrap_or_default();
    let millis = u64::try_from(life.as_millis()).unwrap_or(u64::MAX / 100);
    let earliest = millis / 100 * EARLIEST_PERCENT;
    let span = millis / 100 * (LATEST_PERCENT - EARLIEST_PERCENT);
    let offset = u64::try_from(u128::from(span) * u128::from(random) / u128::from(u32::MAX)).unwrap_or(span);
    validity.not_before + Duration::from_millis(earliest + offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_between_half_and_four_fifths_of_its_life() {
        let not_before = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let validity = Validity { not_before, not_after: not_before + Duration::from_secs(1000) };
        assert_eq!(renewal_time(validity, 0), not_before + Duration::from_secs(500));
        assert_eq!(renewal_time(validity, u32::MAX), not_before + Duration::from_secs(800));
        let middle = renewal_time(validity, u32::MAX / 2);
        assert!(middle > not_before + Duration::from_secs(649) && middle < not_before + Duration::from_secs(651));
    }

    #[test]
    fn a_validity_that_runs_backwards_is_renewed_at_once() {
        let validity = Validity { not_before: SystemTime::UNIX_EPOCH + Duration::from_secs(9), not_after: SystemTime::UNIX_EPOCH };
        assert_eq!(renewal_time(validity, 7), validity.not_before);
    }
}
