//! Histories of one register as lines of text, for tests.
//!
//! `w1 0-3, w2? 1-2, w3! 1-2, r2 4-5, r- 0-1`: written 1; 2 with unknown outcome; 3 refused; read 2; read nothing. With the moments of
//! call and return.

use std::time::Duration;

use super::operation::{Action, Operation, Outcome};

pub fn history(text: &str) -> Vec<Operation> {
    text.split(", ").filter(|one| !one.is_empty()).enumerate().map(|(client, one)| operation(client, one)).collect()
}

fn operation(client: usize, text: &str) -> Operation {
    let (what, when) = text.split_once(' ').expect("what and when");
    let (called, returned) = when.split_once('-').expect("call and return");
    let moment = |text: &str| Duration::from_millis(text.parse().expect("a moment"));
    let value = |text: &str| text.trim_end_matches(['?', '!']).parse().expect("a value");
    let action = match (&what[..1], &what[1..]) {
        ("r", "-") => Action::Read { value: None },
        ("r", text) => Action::Read { value: Some(value(text)) },
        (_, text) => {
            let outcome = match text.chars().last() {
                Some('?') => Outcome::Unknown,
                Some('!') => Outcome::Failed,
                _ => Outcome::Acknowledged,
            };
            Action::Write { value: value(text), outcome }
        }
    };
    Operation { client, manager: "h1".into(), register: "x".into(), called: moment(called), returned: moment(returned), action }
}
