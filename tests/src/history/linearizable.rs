//! Whether a history could have come from registers that do one thing at a time, each between its call and its return.
//!
//! The search of Wing and Gong ("Testing and verifying concurrent objects", 1993), register by register, which is enough since
//! linearizability is local. It goes through calls and returns in order and keeps every state that the register may be in, together
//! with the pending operations that have taken effect in it. States that are the same are kept once (Lowe's memoisation), so that the
//! work is bounded by what is pending at one moment and not by the length of the history.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use super::operation::{Action, Operation, Outcome, Value};

/// Operations that may be pending on one register at a time.
const MOST_PENDING: usize = 64;
/// States that one register may be in at a time; the search gives up beyond them.
const MOST_STATES: usize = 1 << 18;
/// Operations before the impossible one that a violation shows.
const SHOWN: usize = 12;

/// Why a history is not linearizable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which register.
    pub register: String,
    /// What is impossible about it.
    pub why: String,
    /// The operation that no order of effects explains, and those around it, by their return.
    pub around: Vec<Operation>,
}

/// Judges every register; the first violation in the order of their names is told.
///
/// # Errors
/// The violation. Also when a value was written twice or the search gave up: then the history proves nothing.
pub fn check(history: &[Operation]) -> Result<(), Violation> {
    let mut registers = BTreeMap::<&str, Vec<&Operation>>::new();
    for operation in history {
        registers.entry(&operation.register).or_default().push(operation);
    }
    registers.values().try_for_each(|operations| check_register(operations))
}

fn check_register(operations: &[&Operation]) -> Result<(), Violation> {
    let relevant = relevant(operations)?;
    let mut search = Search::new(operations);
    for event in events(&relevant) {
        match event {
            Event::Call(index) => search.call(index, &relevant)?,
            Event::Return(index) => search.take_effect(index, &relevant)?,
        }
    }
    Ok(())
}

/// An operation that must have taken effect between two moments.
struct Interval<'a> {
    operation: &'a Operation,
    effect: Effect,
    end: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Write(Value),
    Read(Option<Value>),
}

/// Leaves out writes without effect, and gives those of unknown outcome an end: one that nobody ever read may as well have had no
/// effect, one that was read had it before the first read returned.
fn relevant<'a>(operations: &[&'a Operation]) -> Result<Vec<Interval<'a>>, Violation> {
    let mut writes = HashMap::<Value, &Operation>::new();
    let mut first_read = HashMap::<Value, &Operation>::new();
    for operation in operations {
        match operation.action {
            Action::Write { value, .. } => {
                if writes.insert(value, operation).is_some() {
                    return Err(violation(operations, operation, format!("{value} was written twice; the history cannot be judged")));
                }
            }
            Action::Read { value: Some(value) } => {
                let first = first_read.entry(value).or_insert(operation);
                *first = if operation.returned < first.returned { operation } else { *first };
            }
            Action::Read { value: None } => {}
        }
    }
    for (value, read) in &first_read {
        match writes.get(value).map(|write| write.action) {
            None => return Err(violation(operations, read, format!("{value} was read, but never written"))),
            Some(Action::Write { outcome: Outcome::Failed, .. }) => {
                return Err(violation(operations, read, format!("{value} was read, but its writer was told that the write failed")));
            }
            Some(_) => {}
        }
    }
    let interval = |operation: &&'a Operation| match operation.action {
        Action::Read { value } => Some(Interval { operation, effect: Effect::Read(value), end: operation.returned }),
        Action::Write { value, outcome } => {
            let end = match outcome {
                Outcome::Acknowledged => operation.returned,
                Outcome::Unknown => first_read.get(&value)?.returned.max(operation.called),
                Outcome::Failed => return None,
            };
            Some(Interval { operation, effect: Effect::Write(value), end })
        }
    };
    Ok(operations.iter().filter_map(interval).collect())
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Call(usize),
    Return(usize),
}

/// Calls and returns in the order of time; of one moment, calls are first: what is not apart may have been at once.
fn events(relevant: &[Interval<'_>]) -> Vec<Event> {
    let calls = relevant.iter().enumerate().map(|(index, interval)| (interval.operation.called, Event::Call(index)));
    let returns = relevant.iter().enumerate().map(|(index, interval)| (interval.end, Event::Return(index)));
    let mut events: Vec<(Duration, Event)> = calls.chain(returns).collect();
    events.sort_unstable();
    events.into_iter().map(|(_, event)| event).collect()
}

/// What the register may hold, and which of the pending operations (a bit each) have taken effect then.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    value: Option<Value>,
    taken: u64,
}

struct Search<'a> {
    operations: &'a [&'a Operation],
    states: HashSet<State>,
    /// The pending operation of each bit.
    pending: [Option<usize>; MOST_PENDING],
}

impl<'a> Search<'a> {
    fn new(operations: &'a [&'a Operation]) -> Self {
        Self { operations, states: HashSet::from([State { value: None, taken: 0 }]), pending: [None; MOST_PENDING] }
    }

    fn call(&mut self, index: usize, relevant: &[Interval<'_>]) -> Result<(), Violation> {
        let Some(bit) = self.pending.iter().position(Option::is_none) else {
            let why = format!("more than {MOST_PENDING} operations are pending; the history cannot be judged");
            return Err(violation(self.operations, relevant[index].operation, why));
        };
        self.pending[bit] = Some(index);
        Ok(())
    }

    /// Keeps the states in which the operation has taken effect, after whatever others may have done so before it.
    fn take_effect(&mut self, index: usize, relevant: &[Interval<'_>]) -> Result<(), Violation> {
        let bit = self.pending.iter().position(|pending| *pending == Some(index)).expect("what returns was called");
        let before: HashSet<Option<Value>> = self.states.iter().map(|state| state.value).collect();
        let mut seen = std::mem::take(&mut self.states);
        let mut left: Vec<State> = seen.iter().copied().collect();
        while let Some(state) = left.pop() {
            if state.taken & 1 << bit != 0 {
                self.states.insert(State { taken: state.taken & !(1 << bit), ..state });
                continue;
            }
            let next = self.successors(state, relevant);
            left.extend(next.into_iter().filter(|next| seen.insert(*next)));
            if seen.len() > MOST_STATES {
                let why = format!("more than {MOST_STATES} states are possible; the history cannot be judged");
                return Err(violation(self.operations, relevant[index].operation, why));
            }
        }
        self.pending[bit] = None;
        if self.states.is_empty() {
            let mut possible: Vec<String> =
                before.iter().map(|value| value.map_or_else(|| "nothing".to_owned(), |value| value.to_string())).collect();
            possible.sort();
            let why = format!("`{}` has no explanation: before it the register held {}", relevant[index].operation, possible.join(" or "));
            return Err(violation(self.operations, relevant[index].operation, why));
        }
        Ok(())
    }

    /// The states after one more operation has taken effect. A read that fits goes first and alone: it changes nothing, so nothing is
    /// gained by letting it wait.
    fn successors(&self, state: State, relevant: &[Interval<'_>]) -> Vec<State> {
        let mut next = Vec::new();
        for (bit, index) in self.pending.iter().enumerate() {
            let Some(index) = index.filter(|_| state.taken & 1 << bit == 0) else { continue };
            let taken = state.taken | 1 << bit;
            match relevant[index].effect {
                Effect::Read(value) if value == state.value => return vec![State { taken, ..state }],
                Effect::Read(_) => {}
                Effect::Write(value) => next.push(State { value: Some(value), taken }),
            }
        }
        next
    }
}

fn violation(operations: &[&Operation], impossible: &Operation, why: String) -> Violation {
    let mut by_return: Vec<&Operation> = operations.to_vec();
    by_return.sort_by_key(|operation| operation.returned);
    let position = by_return.iter().position(|operation| *operation == impossible).unwrap_or_default();
    let around = by_return[position.saturating_sub(SHOWN)..by_return.len().min(position + 3)].iter().map(|one| (*one).clone()).collect();
    Violation { register: impossible.register.clone(), why, around }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "register {} is not linearizable: {}", self.register, self.why)?;
        self.around.iter().try_for_each(|operation| write!(f, "\n  {operation}"))
    }
}

impl std::error::Error for Violation {}

#[cfg(test)]
#[path = "linearizable_tests.rs"]
mod tests;
