//! The bytes of a file as its host sees them, and which of them the medium does not have.

use std::collections::BTreeMap;
use std::ops::Range;

use nix::errno::Errno;

/// Bytes a file may have at most: what is written is held in memory.
const MOST_BYTES: u64 = 1 << 30;

/// A file's bytes.
#[derive(Debug, Default)]
pub(super) struct Content {
    bytes: Vec<u8>,
    /// What was changed since the last fsync: begin to end, apart from each other.
    changed: BTreeMap<usize, usize>,
}

impl Content {
    /// What the medium has.
    pub fn synced(bytes: Vec<u8>) -> Self {
        Self { bytes, changed: BTreeMap::new() }
    }

    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// At most `size` bytes from there on; fewer at the end.
    pub fn read(&self, offset: u64, size: u32) -> &[u8] {
        let begin = self.bytes.len().min(usize::try_from(offset).unwrap_or(usize::MAX));
        let end = self.bytes.len().min(begin.saturating_add(size as usize));
        &self.bytes[begin..end]
    }

    pub fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), Errno> {
        let range = range(offset, data.len() as u64)?;
        if self.bytes.len() < range.end {
            self.bytes.resize(range.end, 0);
        }
        self.bytes[range.clone()].copy_from_slice(data);
        self.change(range);
        Ok(())
    }

    /// Cuts the file, or makes it longer with zeros.
    pub fn resize(&mut self, size: u64) -> Result<(), Errno> {
        let size = range(0, size)?.end;
        // What is cut off and comes back later comes back as zeros.
        self.change(size..self.bytes.len());
        self.bytes.resize(size, 0);
        Ok(())
    }

    /// Overwrites with zeros what of the range is inside of the file.
    pub fn zero(&mut self, offset: u64, length: u64) -> Result<(), Errno> {
        let range = range(offset, length)?;
        let range = range.start.min(self.bytes.len())..range.end.min(self.bytes.len());
        self.bytes[range.clone()].fill(0);
        self.change(range);
        Ok(())
    }

    /// What the medium is to be told, and that it was.
    pub fn take_changed(&mut self) -> Vec<(u64, &[u8])> {
        let end = self.bytes.len();
        let ranges = std::mem::take(&mut self.changed).into_iter().map(move |(from, to)| from.min(end)..to.min(end));
        ranges.filter(|range| !range.is_empty()).map(|range| (range.start as u64, &self.bytes[range])).collect()
    }

    fn change(&mut self, mut range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        // Those that overlap or touch become one.
        while let Some((&from, &to)) = self.changed.range(..=range.end).next_back()
            && to >= range.start
        {
            self.changed.remove(&from);
            range = range.start.min(from)..range.end.max(to);
        }
        self.changed.insert(range.start, range.end);
    }
}

fn range(offset: u64, length: u64) -> Result<Range<usize>, Errno> {
    match offset.checked_add(length) {
        Some(end) if end <= MOST_BYTES => Ok(offset as usize..end as usize),
        _ => Err(Errno::EFBIG),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(content: &mut Content) -> Vec<(u64, usize)> {
        content.take_changed().into_iter().map(|(offset, bytes)| (offset, bytes.len())).collect()
    }

    #[test]
    fn changes_that_touch_become_one_and_are_told_once() {
        let mut content = Content::synced(vec![1; 100]);
        for (offset, length) in [(10, 5), (30, 5), (15, 5), (50, 10), (45, 20), (33, 1)] {
            content.write(offset, &vec![2; length]).unwrap();
        }
        assert_eq!(ranges(&mut content), [(10, 10), (30, 5), (45, 20)]);
        assert_eq!(ranges(&mut content), []);
    }

    #[test]
    fn what_was_cut_off_and_comes_back_is_told_as_zeros() {
        let mut content = Content::synced(vec![1; 100]);
        content.resize(50).unwrap();
        content.resize(200).unwrap();
        assert_eq!(content.take_changed(), [(50, &[0; 50][..])]);
        assert_eq!((content.len(), content.read(49, 3)), (200, &[1, 0, 0][..]));
    }

    #[test]
    fn a_write_behind_the_end_leaves_zeros_between() {
        let mut content = Content::default();
        content.write(5, b"x").unwrap();
        assert_eq!(content.read(0, 10), b"\0\0\0\0\0x");
        assert_eq!(content.read(99, 10), b"");
        assert_eq!(content.write(MOST_BYTES, b"x"), Err(Errno::EFBIG));
    }
}
