//! Up to where the log was synced, kept beside it: a log that ends before its mark has lost something.
//!
//! Two slots of one sector each, written in turn after every fsync of the log and never synced themselves: a mark that a
//! power-off takes back only guards less, and a torn one leaves the other slot.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Mutex,
};

use crate::{RaftError, disk::sync_directory};

/// Distance of the slots: the largest sector in use, so that one torn write hits one slot.
const SLOT: u64 = 4_096;
/// Bytes of a slot in use: offset, index, CRC-32 of both.
const LENGTH: usize = 20;

/// A position in the log, counted from the first byte ever written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Synced {
    /// End of the last synced record.
    pub(crate) offset: u64,
    /// Index of the last entry at that moment.
    pub(crate) index: u64,
}

/// The open file of the mark.
#[derive(Debug)]
pub(crate) struct Mark {
    file: File,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    synced: Synced,
    next_slot: u64,
}

impl Mark {
    /// Creates the mark of an empty log.
    pub(crate) fn create(path: &Path) -> Result<(), RaftError> {
        let failed = |what| move |source| RaftError::Io { what, path: path.to_owned(), source };
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed("create"))?;
        let slot = encode(Synced::default());
        file.write_all_at(&slot, 0)
            .and_then(|()| file.write_all_at(&slot, SLOT))
            .and_then(|()| file.sync_all())
            .map_err(failed("write"))?;
        sync_directory(path)
    }

    /// Opens the mark of a log.
    pub(crate) fn open(path: &Path) -> Result<Self, RaftError> {
        let failed = |what| move |source| RaftError::Io { what, path: path.to_owned(), source };
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(failed("open"))?;
        let slots = [0, SLOT].map(|offset| {
            let mut bytes = [0; LENGTH];
            file.read_exact_at(&mut bytes, offset).ok().and_then(|()| decode(bytes))
        });
        let synced = slots.into_iter().flatten().max();
        let synced =
            synced.ok_or_else(|| RaftError::Damaged { path: PathBuf::from(path), offset: 0, why: "neither slot is whole".to_owned() })?;
        // Never overwrite the better slot first.
        let next_slot = if slots[0] == Some(synced) { SLOT } else { 0 };
        Ok(Self { file, state: Mutex::new(State { synced, next_slot }) })
    }

    /// The furthest position known to be synced.
    pub(crate) fn synced(&self) -> Synced {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner).synced
    }

    /// Notes that the log is synced up to here.
    pub(crate) fn advance(&self, synced: Synced) -> std::io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if synced.offset <= state.synced.offset {
            return Ok(());
        }
        self.file.write_all_at(&encode(synced), state.next_slot)?;
        *state = State { synced, next_slot: SLOT - state.next_slot };
        Ok(())
    }
}

fn encode(synced: Synced) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[..8].copy_from_slice(&synced.offset.to_be_bytes());
    bytes[8..16].copy_from_slice(&synced.index.to_be_bytes());
    let crc = crc32fast::hash(&bytes[..16]);
    bytes[16..].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn decode(bytes: [u8; LENGTH]) -> Option<Synced> {
    let (numbers, crc) = bytes.split_last_chunk::<4>()?;
    let (offset, index) = (numbers.first_chunk::<8>()?, numbers.last_chunk::<8>()?);
    (crc32fast::hash(numbers) == u32::from_be_bytes(*crc))
        .then(|| Synced { offset: u64::from_be_bytes(*offset), index: u64::from_be_bytes(*index) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_mark_leaves_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("synced");
        Mark::create(&path).unwrap();
        let mark = Mark::open(&path).unwrap();
        for n in 1..=5 {
            mark.advance(Synced { offset: n * 100, index: n }).unwrap();
        }
        mark.advance(Synced { offset: 50, index: 9 }).unwrap();
        assert_eq!(Mark::open(&path).unwrap().synced(), Synced { offset: 500, index: 5 });
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[0xff; 7], 0).unwrap();
        let left = Mark::open(&path).unwrap().synced();
        assert!(left.index == 4 || left.index == 5);
        file.write_all_at(&[0xff; 7], SLOT).unwrap();
        assert!(matches!(Mark::open(&path), Err(RaftError::Damaged { .. })));
    }
}
