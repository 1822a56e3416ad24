//! Histories that are possible and impossible: as a table, against the definition itself, and from a real register.

use proptest::prelude::*;

use super::super::example::history;
use super::*;

#[test]
fn possible_histories_are_accepted() {
    for text in [
        "",
        "r- 0-1",
        "w1 0-1, r1 2-3",
        // At the same time, in either order.
        "w1 0-3, r- 1-2",
        "w1 0-3, r1 1-2",
        "w1 0-9, w2 0-9, r1 1-2, r2 3-4",
        "w1 0-9, w2 0-9, r2 1-2, r1 3-4",
        // Touching is not apart.
        "w1 0-1, r- 1-2",
        // Unknown: now, later, or never.
        "w1? 0-1, r- 2-3, r1 4-5, r1 6-7",
        "w1? 0-1, w2 2-3, r2 4-5, r1 6-7",
        "w1? 0-1, w2 2-3, r2 4-5",
        "w1! 0-1, r- 2-3",
        "w1? 0-1, w2? 0-1, r2 2-3, r1 4-5, w3 6-7, r3 8-9",
        // A read that began before and one that began after.
        "w1 0-1, w2 2-9, r2 3-4, r2 5-6, w3 10-11, r3 12-13",
    ] {
        assert_eq!(check(&history(text)), Ok(()), "{text}");
    }
}

#[test]
fn impossible_histories_are_refused() {
    for text in [
        // A lost write, a stale read, a value from nowhere.
        "w1 0-1, r- 2-3",
        "w1 0-1, w2 2-3, r1 4-5",
        "r7 0-1",
        // A read before the write it reads, and one of a refused write.
        "r1 0-1, w1 2-3",
        "r1 0-1, w1? 2-3",
        "w1! 0-1, r1 2-3",
        // Back and forth.
        "w1 0-9, w2 0-9, r1 1-2, r2 3-4, r1 5-6",
        "w1 0-1, w2 2-9, r2 3-4, r1 5-6",
        // An unknown write takes effect once.
        "w1? 0-1, r1 2-3, w2 4-5, r1 6-7",
        "w1? 0-1, w2 2-3, r1 4-5, r2 6-7",
        "w1? 0-1, r1 2-3, r- 4-5",
        // The same value twice proves nothing.
        "w1 0-1, w1 2-3",
    ] {
        assert!(check(&history(text)).is_err(), "{text}");
    }
}

#[test]
fn registers_are_judged_apart() {
    let mut operations = history("w1 0-1, r- 2-3");
    operations[1].register = "y".into();
    assert_eq!(check(&operations), Ok(()));
}

#[test]
fn a_violation_shows_the_operation_and_what_was_possible() {
    let violation = check(&history("w1 0-1, w2 2-3, r1 4-5")).unwrap_err();
    let text = violation.to_string();
    assert!(text.contains("register x") && text.contains("read 1` has no explanation: before it the register held 2"), "{text}");
    assert_eq!(violation.around.len(), 3);
}

/// The definition: some order of all effects, in which what returned before another was called comes before it.
fn is_possible(operations: &[Operation]) -> bool {
    fn go_on(operations: &[Operation], left: Vec<usize>, value: Option<Value>) -> bool {
        let must = |index: &usize| !matches!(operations[*index].action, Action::Write { outcome: Outcome::Unknown | Outcome::Failed, .. });
        if !left.iter().any(must) {
            return true;
        }
        left.iter().any(|&next| {
            let ends_before = |other: &usize| must(other) && operations[*other].returned < operations[next].called;
            if left.iter().any(|other| *other != next && ends_before(other)) {
                return false;
            }
            let after = match operations[next].action {
                Action::Write { outcome: Outcome::Failed, .. } => return false,
                Action::Write { value, .. } => Some(value),
                Action::Read { value: read } if read == value => value,
                Action::Read { .. } => return false,
            };
            go_on(operations, left.iter().copied().filter(|other| *other != next).collect(), after)
        })
    }
    go_on(operations, (0..operations.len()).collect(), None)
}

/// Up to seven operations at random moments, reads with random values: about half of them are possible.
fn any_small_history() -> impl Strategy<Value = Vec<Operation>> {
    let operation = (0..3u8, 0..16u64, 1..6u64, 0..7u64, prop_oneof![6 => Just("") , 2 => Just("?"), 1 => Just("!")]);
    prop::collection::vec(operation, 0..7).prop_map(|drawn| {
        let lines = drawn.into_iter().enumerate().map(|(position, (kind, called, length, value, outcome))| {
            let when = format!("{called}-{}", called + length);
            match (kind, value) {
                (0, _) => format!("w{}{outcome} {when}", position + 1),
                (_, 0) => format!("r- {when}"),
                (_, value) => format!("r{value} {when}"),
            }
        });
        history(&lines.collect::<Vec<_>>().join(", "))
    })
}

/// What a real register gives when clients ask it at the same time: each operation takes effect at one moment of its own, the unknown ones
/// at any later moment or never.
fn any_real_history() -> impl Strategy<Value = Vec<Operation>> {
    let operation = (any::<bool>(), 0..6u64, 0..6u64, 0..6u64, prop_oneof![8 => Just(0u8), 1 => Just(1), 1 => Just(2)], 0..200u64);
    prop::collection::vec(operation, 2..120).prop_map(|drawn| {
        let mut operations = Vec::new();
        for (position, (is_write, gap, before, after, fate, late)) in drawn.into_iter().enumerate() {
            // Effects of those that were answered are in order; calls and returns reach over each other.
            let effect = 10 + position as u64 * 3 + gap % 3;
            let outcome = if fate == 0 { "" } else { "?" };
            let what = if is_write { format!("w{}{outcome}", position + 1) } else { "r-".to_owned() };
            let one = history(&format!("{what} {}-{}", effect - before, effect + after)).remove(0);
            let effect = match (is_write, fate) {
                (true, 1) => Some(effect + late),
                (true, 2) => None,
                _ => Some(effect),
            };
            operations.push((effect, position, one));
        }
        let mut in_order: Vec<usize> = (0..operations.len()).filter(|index| operations[*index].0.is_some()).collect();
        in_order.sort_by_key(|index| (operations[*index].0, operations[*index].1));
        let mut held = None;
        for index in in_order {
            match &mut operations[index].2.action {
                Action::Write { value, .. } => held = Some(*value),
                Action::Read { value } => *value = held,
            }
        }
        operations.into_iter().map(|(_, _, operation)| operation).collect()
    })
}

/// Makes one read stale: it gives a value that another acknowledged write had replaced before the read was called.
fn with_a_stale_read(mut operations: Vec<Operation>) -> Option<Vec<Operation>> {
    let acknowledged = |one: &Operation| match one.action {
        Action::Write { value, outcome: Outcome::Acknowledged } => Some(value),
        _ => None,
    };
    let (read, stale) = operations.iter().enumerate().rev().find_map(|(index, read)| {
        let replaced = |old: &&Operation| {
            let newer = |new: &Operation| acknowledged(new).is_some() && old.returned < new.called && new.returned < read.called;
            acknowledged(old).is_some() && operations.iter().any(newer)
        };
        let Action::Read { .. } = read.action else { return None };
        operations.iter().rev().find(replaced).map(|old| (index, acknowledged(old)))
    })?;
    operations[read].action = Action::Read { value: stale };
    Some(operations)
}

proptest! {
    #[test]
    fn the_verdict_is_that_of_the_definition(operations in any_small_history()) {
        prop_assert_eq!(check(&operations).is_ok(), is_possible(&operations));
    }

    #[test]
    fn what_a_real_register_gives_is_accepted_and_with_a_stale_read_refused(operations in any_real_history()) {
        prop_assert_eq!(check(&operations), Ok(()));
        if let Some(stale) = with_a_stale_read(operations) {
            prop_assert!(check(&stale).is_err());
        }
    }
}

#[test]
fn a_long_history_with_much_at_once_is_judged() {
    // Twelve clients that write and read without end, each operation as long as twelve others.
    let lines: Vec<String> = (1..1_000_u64)
        .map(|position| {
            let when = format!("{}-{}", position * 10, position * 10 + 120);
            if position % 2 == 0 { format!("w{position} {when}") } else { format!("r{} {when}", position / 2 * 2) }
        })
        .filter(|line| !line.starts_with("r0 "))
        .collect();
    assert_eq!(check(&history(&lines.join(", "))), Ok(()));
}
