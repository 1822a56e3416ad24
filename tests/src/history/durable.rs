//! Whether what was acknowledged is still there at the end.
//!
//! Linearizability covers this too where the history ends with reads; asked on its own, it names the write that was lost.

use std::collections::BTreeMap;

use super::operation::{Action, Operation, Outcome, Value};

/// Acknowledged writes that are lost: those called after what the register holds at the end was certainly written. `held` is what each
/// register holds at the end; a register that is missing there holds nothing.
#[must_use]
pub fn lost_writes<'a>(history: &'a [Operation], held: &BTreeMap<String, Value>) -> Vec<&'a Operation> {
    let value_and_outcome = |operation: &Operation| match operation.action {
        Action::Write { value, outcome } => Some((value, outcome)),
        Action::Read { .. } => None,
    };
    let lost = |write: &&Operation| {
        let Some((_, Outcome::Acknowledged)) = value_and_outcome(write) else { return false };
        let Some(held) = held.get(&write.register) else { return true };
        let source = history.iter().find(|other| value_and_outcome(other).is_some_and(|(value, _)| value == *held));
        match source.map(|source| (source, value_and_outcome(source))) {
            // One of unknown outcome may have taken effect a moment ago.
            Some((_, Some((_, Outcome::Unknown)))) => false,
            Some((source, Some((_, Outcome::Acknowledged)))) => source.returned < write.called,
            _ => true,
        }
    };
    history.iter().filter(lost).collect()
}

#[cfg(test)]
mod tests {
    use super::super::example::history;
    use super::*;

    #[test]
    fn a_write_is_lost_when_an_older_one_is_there_at_the_end() {
        for (text, held, lost) in [
            ("w1 0-1, w2 2-3", Some(2), 0),
            ("w1 0-1, w2 2-3", Some(1), 1),
            ("w1 0-1, w2 2-3", None, 2),
            // At the same time: either may be the last one.
            ("w1 0-3, w2 2-5", Some(1), 0),
            // Unknown ones may come late, and may be missing.
            ("w1? 0-1, w2 2-3", Some(1), 0),
            ("w1 0-1, w2? 2-3", Some(1), 0),
            // What was never written, or refused, explains nothing.
            ("w1 0-1", Some(7), 1),
            ("w1! 0-1, w2 2-3", Some(1), 1),
        ] {
            let held = held.map(|value| ("x".to_owned(), value)).into_iter().collect();
            assert_eq!(lost_writes(&history(text), &held).len(), lost, "{text}, then {held:?}");
        }
    }
}
