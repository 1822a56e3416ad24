//! How the story is printed: in full for people, or one line a step for scripts.

use rcon_lab::Lab;

/// Prints the story.
#[derive(Debug)]
pub struct Teller {
    check: bool,
}

impl Teller {
    /// One line a step when `check` is set.
    pub fn new(check: bool) -> Self {
        Self { check }
    }

    /// Before the first step.
    pub fn opening(&self, lab: &Lab) {
        if !self.check {
            println!("Three hosts are up on this machine, h1 to h3 at 10.99.0.11 to .13, each with its own rcond.");
            println!("Their logs and data are in {}; nothing of them is visible outside.", lab.directory().display());
        }
    }

    /// Before a step.
    pub fn begin(&self, number: usize, title: &str, about: &str) {
        if !self.check {
            println!("\n── {number}. {title}\n   {about}");
        }
    }

    /// A command that is about to run, as a person would type it there.
    pub fn command(&self, place: &str, line: &str) {
        if !self.check {
            println!("   {place}# {line}");
        }
    }

    /// What the command printed.
    pub fn output(&self, text: &str) {
        if !self.check {
            text.lines().for_each(|line| println!("     {line}"));
        }
    }

    /// Something beside the story.
    pub fn aside(&self, text: &str) {
        if !self.check {
            println!("\n{text}");
        }
    }

    /// After a step that held.
    pub fn held(&self, number: usize, title: &str, remark: &str) {
        if self.check {
            println!("ok {number} {title}");
        } else {
            println!("   ✓ {}", if remark.is_empty() { title } else { remark });
        }
    }

    /// After a step that did not.
    pub fn failed(&self, number: usize, title: &str, error: &anyhow::Error) {
        // One line for scripts, whatever the error brought along.
        let why = format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ");
        if self.check {
            println!("not ok {number} {title}: {why}");
        } else {
            println!("   ✗ {error:#}");
        }
    }
}
