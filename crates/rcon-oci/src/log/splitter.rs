//! Cuts a stream of bytes into the texts of log records.

/// A longer line becomes several records, bytes; Docker's limit.
pub const MAX_LINE_BYTES: usize = 16 * 1024;

/// Holds the line that has not ended yet, at most [`MAX_LINE_BYTES`] of it.
#[derive(Debug, Default)]
pub struct LineSplitter {
    pending: Vec<u8>,
}

impl LineSplitter {
    /// An empty splitter.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Hands each whole line (with its newline), and each full part of a longer one, to `emit`.
    pub fn push(&mut self, mut bytes: &[u8], mut emit: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            let room = MAX_LINE_BYTES - self.pending.len();
            let newline = bytes.iter().take(room).position(|byte| *byte == b'\n');
            let Some(end) = newline.map(|at| at + 1).or_else(|| (bytes.len() >= room).then_some(room)) else {
                self.pending.extend_from_slice(bytes);
                return;
            };
            let (mut line, rest) = bytes.split_at(end);
            bytes = rest;
            if !self.pending.is_empty() {
                self.pending.extend_from_slice(line);
                line = &self.pending;
            }
            let keep = if newline.is_some() { 0 } else { unfinished_character(line) };
            let (now, later) = line.split_at(line.len() - keep);
            let later = later.to_vec();
            emit(now);
            self.pending = later;
        }
    }

    /// Hands over what is left when the stream has ended.
    pub fn finish(&mut self, emit: impl FnOnce(&[u8])) {
        if !self.pending.is_empty() {
            emit(&std::mem::take(&mut self.pending));
        }
    }
}

/// How many bytes at the end begin a UTF-8 character without ending it; 0 where the text is no UTF-8 anyway.
fn unfinished_character(text: &[u8]) -> usize {
    let tail = &text[text.len().saturating_sub(4)..];
    match tail.iter().rposition(|byte| byte & 0xc0 != 0x80) {
        Some(lead) => match std::str::from_utf8(&tail[lead..]) {
            Err(error) if error.error_len().is_none() => tail.len() - lead,
            _ => 0,
        },
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &[u8], step: usize) -> Vec<Vec<u8>> {
        let mut splitter = LineSplitter::new();
        let mut lines = Vec::new();
        for piece in text.chunks(step) {
            splitter.push(piece, |line| lines.push(line.to_vec()));
        }
        splitter.finish(|line| lines.push(line.to_vec()));
        lines
    }

    #[test]
    fn lines_do_not_depend_on_how_the_stream_was_cut() {
        let text = b"one\n\ntwo\nwithout an end";
        for step in [1, 2, 7, 100] {
            let lines: Vec<String> = split(text, step).into_iter().map(|l| String::from_utf8(l).unwrap()).collect();
            assert_eq!(lines, ["one\n", "\n", "two\n", "without an end"], "step {step}");
        }
    }

    #[test]
    fn a_long_line_becomes_parts_that_never_split_a_character() {
        let mut text = "x".repeat(MAX_LINE_BYTES - 1).into_bytes();
        text.extend("€".repeat(MAX_LINE_BYTES / 2).bytes());
        text.push(b'\n');
        for step in [1, 4096, text.len()] {
            let lines = split(&text, step);
            assert!(lines.iter().all(|line| line.len() <= MAX_LINE_BYTES && std::str::from_utf8(line).is_ok()), "step {step}");
            assert_eq!(lines.concat(), text);
        }
    }

    #[test]
    fn bytes_that_are_no_text_pass_too() {
        let text = vec![0x80; 3 * MAX_LINE_BYTES + 5];
        assert_eq!(split(&text, 1000).concat(), text);
        let text = vec![0xe2; 2 * MAX_LINE_BYTES];
        assert_eq!(split(&text, 333).concat(), text);
    }
}
