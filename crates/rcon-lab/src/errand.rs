//! A command on a host, run to its end within a deadline, with everything it printed.

use std::io::Read;
use std::process::{ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::LabError;
use crate::lab::Lab;
use crate::limits;
use crate::wait;

/// What became of a command.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The command, as a person would type it on that host.
    pub line: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Lab {
    /// Runs the words as a command on the host and waits for its end, at most [`limits::ERRAND_DEADLINE`].
    pub fn run(&self, host: &str, words: &[&str]) -> Result<Finished, LabError> {
        self.run_within(host, words, limits::ERRAND_DEADLINE)
    }

    /// The same with another deadline, after which the command is killed.
    pub fn run_within(&self, host: &str, words: &[&str], deadline: Duration) -> Result<Finished, LabError> {
        let line = words.join(" ");
        let [program, arguments @ ..] = words else { return Err(LabError::Invalid("an empty command".into())) };
        let mut command = self.command(host, program)?;
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|source| LabError::Spawn { command: line.clone(), source })?;
        let readers = [child.stdout.take().map(read_all), child.stderr.take().map(read_all)];
        let ended = wait::until(&format!("`{line}` ends on `{host}`"), deadline, || {
            child.try_wait().map_err(|source| LabError::Spawn { command: line.clone(), source })
        });
        if ended.is_err() {
            // It may have ended in the meantime; in each case it is gone after this.
            let _ = child.kill();
            let _ = child.wait();
        }
        let [stdout, stderr] = readers.map(|reader| reader.and_then(|reader| reader.join().ok()).unwrap_or_default());
        Ok(Finished { line, status: ended?, stdout, stderr })
    }
}

impl Finished {
    /// What it printed, without white space around it, if it succeeded.
    pub fn success(self) -> Result<String, LabError> {
        if self.status.success() {
            return Ok(self.stdout.trim().to_owned());
        }
        Err(LabError::Command { command: self.line, status: self.status.to_string(), output: self.stderr.trim().to_owned() })
    }
}

fn read_all(mut stream: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is still worth showing.
        let _ = stream.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
