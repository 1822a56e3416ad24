//! Standard output and error of this command, written as the agent's pieces arrive.

use std::io::{self, Write};

use crate::report::{Report, local};

/// Writes pieces at once; a standard output whose reader has gone stays closed and is no failure, as with any filter.
#[derive(Default)]
pub struct Output {
    stdout_closed: bool,
    stderr_closed: bool,
}

impl Output {
    /// Writes a piece to standard output.
    pub fn stdout(&mut self, data: &[u8]) -> Result<(), Report> {
        put(&mut io::stdout().lock(), data, &mut self.stdout_closed)
    }

    /// Writes a piece to standard error.
    pub fn stderr(&mut self, data: &[u8]) -> Result<(), Report> {
        put(&mut io::stderr().lock(), data, &mut self.stderr_closed)
    }

    /// Whether nobody reads standard output any more.
    pub fn is_closed(&self) -> bool {
        self.stdout_closed
    }
}

fn put(target: &mut dyn Write, data: &[u8], closed: &mut bool) -> Result<(), Report> {
    if *closed {
        return Ok(());
    }
    match target.write_all(data).and_then(|()| target.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            *closed = true;
            Ok(())
        }
        Err(error) => Err(local("could not write the container's output", &error)),
    }
}
