//! Signals by name or number.

use std::str::FromStr;

use nix::sys::signal::Signal;

use crate::error::EngineError;

/// The highest signal of Linux, SIGRTMAX.
const HIGHEST: i32 = 64;
/// SIGRTMIN as the C library counts it: the kernel's first two are its own.
const FIRST_REAL_TIME: i32 = 34;

/// The number of a signal: its name with or without SIG, in any case, `RTMIN+N`, `RTMAX-N`, or the number itself.
///
/// # Errors
/// When there is no such signal.
pub fn parse_signal(text: &str) -> Result<i32, EngineError> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = if let Ok(number) = name.parse::<i32>() {
        Some(number)
    } else if let Some(above) = name.strip_prefix("RTMIN") {
        offset(above, '+').map(|above| FIRST_REAL_TIME + above)
    } else if let Some(below) = name.strip_prefix("RTMAX") {
        offset(below, '-').map(|below| HIGHEST - below)
    } else {
        Signal::from_str(&format!("SIG{name}")).ok().map(|signal| signal as i32)
    };
    let known = |number: &i32| (1..=31).contains(number) || (FIRST_REAL_TIME..=HIGHEST).contains(number);
    number.filter(known).ok_or_else(|| EngineError::Invalid { what: "signal", reason: format!("there is no signal `{text}`") })
}

fn offset(text: &str, sign: char) -> Option<i32> {
    if text.is_empty() { Some(0) } else { text.strip_prefix(sign)?.parse().ok().filter(|offset| (0..=HIGHEST).contains(offset)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_known_by_name_and_number() {
        for (text, number) in [("TERM", 15), ("SIGTERM", 15), ("sigint", 2), ("9", 9), ("RTMIN", 34), ("SIGRTMIN+3", 37), ("RTMAX-1", 63)] {
            assert_eq!(parse_signal(text).unwrap(), number, "{text}");
        }
        for text in ["", "0", "-1", "65", "32", "SIGNOPE", "RTMIN+99", "SIG"] {
            assert!(parse_signal(text).is_err(), "{text}");
        }
    }
}
