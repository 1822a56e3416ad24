//! The records of a PAX extended header (POSIX.1-2017, pax, "pax Extended Header").
//!
//! Parsed here and not by the `tar` crate, which splits records at newlines; values (a capability, say) may contain them.

use rustix::fs::Timespec;

/// One `LENGTH KEY=VALUE\n`.
pub(super) type Record<'header> = (&'header [u8], &'header [u8]);

/// The records of a header, in order.
///
/// # Errors
/// When a length lies, or a record has not the form.
pub(super) fn records(mut header: &[u8]) -> Result<Vec<Record<'_>>, &'static str> {
    let mut records = Vec::new();
    while !header.is_empty() {
        // Some writers pad with NULs.
        if header.iter().all(|byte| *byte == 0) {
            break;
        }
        let space = header.iter().position(|byte| *byte == b' ').ok_or("a PAX record has no length")?;
        let length = usize::try_from(decimal(&header[..space])?).map_err(|_| "a PAX record's length is absurd")?;
        if length <= space + 1 || length > header.len() {
            return Err("a PAX record's length is wrong");
        }
        let (record, rest) = header.split_at(length);
        let record = record[space + 1..].strip_suffix(b"\n").ok_or("a PAX record's length is wrong")?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or("a PAX record has no `=`")?;
        records.push((&record[..equals], &record[equals + 1..]));
        header = rest;
    }
    Ok(records)
}

/// An unsigned decimal number.
pub(super) fn decimal(digits: &[u8]) -> Result<u64, &'static str> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err("a PAX number is none");
    }
    std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).ok_or("a PAX number is too large")
}

/// A time in seconds, maybe negative, maybe with a fraction.
pub(super) fn time(text: &[u8]) -> Result<Timespec, &'static str> {
    let (negative, digits) = text.strip_prefix(b"-").map_or((false, text), |digits| (true, digits));
    let point = digits.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = point.map_or((digits, &[][..]), |point| (&digits[..point], &digits[point + 1..]));
    let seconds = i64::try_from(decimal(whole)?).map_err(|_| "a PAX time is too large")?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err("a PAX time is none");
    }
    let nanoseconds = (0..9).fold(0i64, |sum, place| sum * 10 + fraction.get(place).map_or(0, |digit| i64::from(digit - b'0')));
    Ok(match (negative, nanoseconds) {
        (false, _) => Timespec { tv_sec: seconds, tv_nsec: nanoseconds },
        (true, 0) => Timespec { tv_sec: -seconds, tv_nsec: 0 },
        (true, _) => Timespec { tv_sec: -seconds - 1, tv_nsec: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_hold_newlines_and_equals_signs() {
        assert_eq!(records(b"8 k=\n=\n\n").unwrap(), [(&b"k"[..], &b"\n=\n"[..])]);
        assert_eq!(records(b"6 a=1\n6 b=2\n\0\0").unwrap(), [(&b"a"[..], &b"1"[..]), (&b"b"[..], &b"2"[..])]);
    }

    #[test]
    fn records_that_lie_are_refused() {
        for header in
            [&b"7 a=1\n"[..], b"5 a=1\n", b"0 a=1\n", b"2 ", b"-6 a=1\n", b"99999999999999999999999 a=1\n", b"6 a:1\n", b"a=1\n", b"1"]
        {
            assert!(records(header).is_err(), "{}", header.escape_ascii());
        }
    }

    #[test]
    fn times_have_fractions_and_signs() {
        let parts = |text: &[u8]| time(text).map(|time| (time.tv_sec, time.tv_nsec));
        assert_eq!(parts(b"12"), Ok((12, 0)));
        assert_eq!(parts(b"12.5"), Ok((12, 500_000_000)));
        assert_eq!(parts(b"12.0000000019"), Ok((12, 1)));
        assert_eq!(parts(b"-1.25"), Ok((-2, 750_000_000)));
        for text in [&b""[..], b"-", b".5", b"1.x", b"1e9", b"99999999999999999999"] {
            assert!(time(text).is_err());
        }
    }
}
