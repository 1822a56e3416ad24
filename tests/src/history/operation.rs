//! What clients did to registers, and what came of it: the history that is judged.

use std::fmt;
use std::time::Duration;

/// What was written to a register; no value is written twice in a history.
pub type Value = u64;

/// One request of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Which client; each does one thing at a time.
    pub client: usize,
    /// Through which manager.
    pub manager: String,
    /// Which register.
    pub register: String,
    /// When it was asked, since the history's begin.
    pub called: Duration,
    /// When the client knew what came of it, or gave up.
    pub returned: Duration,
    /// What it was, and what came of it.
    pub action: Action,
}

/// What was asked, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A register was to be written.
    Write {
        /// The new value.
        value: Value,
        /// What the client was told.
        outcome: Outcome,
    },
    /// A register was read; reads without an answer say nothing and are in no history.
    Read {
        /// What it had; nothing where it was never written.
        value: Option<Value>,
    },
}

/// What a client knows of its write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It took effect before the client was told.
    Acknowledged,
    /// It may have taken effect, may do so later, or never.
    Unknown,
    /// It took no effect and never will.
    Failed,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [called, returned] = [self.called, self.returned].map(|time| time.as_secs_f64());
        write!(f, "{called:10.4} to {returned:10.4} s, client {:2} on {}: ", self.client, self.manager)?;
        match self.action {
            Action::Write { value, outcome: Outcome::Acknowledged } => write!(f, "wrote {value}"),
            Action::Write { value, outcome: Outcome::Unknown } => write!(f, "wrote {value}, outcome unknown"),
            Action::Write { value, outcome: Outcome::Failed } => write!(f, "failed to write {value}"),
            Action::Read { value: Some(value) } => write!(f, "read {value}"),
            Action::Read { value: None } => write!(f, "read nothing"),
        }
    }
}
