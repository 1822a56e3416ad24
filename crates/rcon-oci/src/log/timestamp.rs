//! Times as in RFC 3339 with up to nine digits below the second, in UTC.

use thiserror::Error;

const NANOS: u64 = 1_000_000_000;
const DAY_S: u64 = 86_400;

/// A text that is no time.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is not a time like 2026-01-31T23:59:59.5Z")]
pub struct TimestampError {
    text: String,
}

/// Nanoseconds since 1970 as `2026-01-31T23:59:59.123456789Z`, always with nine digits so that texts sort like times.
#[must_use]
pub fn format_timestamp(unix_ns: u64) -> String {
    let (seconds, nanos) = (unix_ns / NANOS, unix_ns % NANOS);
    let (year, month, day) = date(seconds / DAY_S);
    let (hour, minute, second) = (seconds % DAY_S / 3600, seconds % 3600 / 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

/// The reverse; any number of digits below the second up to nine, `Z` only.
///
/// # Errors
/// When the text is no such time, or one before 1970 or after 2554, where 64 bits of nanoseconds end.
pub fn parse_timestamp(text: &str) -> Result<u64, TimestampError> {
    parse(text).ok_or_else(|| TimestampError { text: text.to_owned() })
}

fn parse(text: &str) -> Option<u64> {
    let (date_part, time_part) = text.strip_suffix('Z')?.split_once('T')?;
    let mut numbers = date_part.split('-');
    let (year, month, day) = (digits(numbers.next()?, 4)?, digits(numbers.next()?, 2)?, digits(numbers.next()?, 2)?);
    let (clock, fraction) = time_part.split_once('.').unwrap_or((time_part, "0"));
    let mut parts = clock.split(':');
    let (hour, minute, second) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    if numbers.next().is_some() || parts.next().is_some() || hour > 23 || minute > 59 || second > 59 || fraction.len() > 9 {
        return None;
    }
    let nanos = digits(fraction, fraction.len())? * 10u64.pow(9 - u32::try_from(fraction.len()).ok()?);
    let days = days_since_1970(year, month, day)?;
    let seconds = days.checked_mul(DAY_S)?.checked_add(hour * 3600 + minute * 60 + second)?;
    seconds.checked_mul(NANOS)?.checked_add(nanos)
}

fn digits(text: &str, len: usize) -> Option<u64> {
    if text.len() != len || len == 0 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// The proleptic Gregorian date of a day, counted in eras of 400 years that begin on 1 March.
fn date(days_since_1970: u64) -> (u64, u64, u64) {
    let days = days_since_1970 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let (era, year_of_era) = (shifted_year / 400, shifted_year % 400);
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    (date(days) == (year, month, day)).then_some(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (ns, text) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400 * NANOS, "2000-02-29T00:00:00.000000000Z"),
            (951_868_799 * NANOS + 5, "2000-02-29T23:59:59.000000005Z"),
            (4_107_542_400 * NANOS, "2100-03-01T00:00:00.000000000Z"),
            (1_767_225_599 * NANOS + 999_999_999, "2025-12-31T23:59:59.999999999Z"),
        ] {
            assert_eq!(format_timestamp(ns), text);
            assert_eq!(parse_timestamp(text), Ok(ns));
        }
        assert_eq!(parse_timestamp("1970-01-01T00:00:01.5Z"), Ok(1_500_000_000));
        assert_eq!(parse_timestamp("1970-01-01T00:00:01Z"), Ok(NANOS));
    }

    #[test]
    fn texts_that_are_no_times_are_refused() {
        for text in [
            "",
            "Z",
            "2100-02-29T00:00:00Z",
            "2001-13-01T00:00:00Z",
            "2001-01-01T24:00:00Z",
            "2001-01-01T00:00:00+01:00",
            "2001-01-01T00:00:00.Z",
        ] {
            assert!(parse_timestamp(text).is_err(), "{text}");
        }
    }
}
