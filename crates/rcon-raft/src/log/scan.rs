//! Looks through a log before it is opened, and says whether it is what was written.
//!
//! raft-log alone would cut a damaged record off wherever it looks like an incomplete one, and forget what was acknowledged. So
//! every record is read first: an incomplete last one behind the synced mark is a torn tail, which raft-log may cut; everything
//! else that cannot be read is damage, and nothing is changed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use raft_log::{RaftLogAction, RaftLogRecord, WALRecord, codeq::Decode as _};

use super::{
    mark::Synced,
    record::{LogTypes, RecordId},
};
use crate::{RaftError, seal::Sealer};

/// What a log holds that may be opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// End of its last complete record.
    pub(crate) end: u64,
    /// Its last entry, as of the last record that names one.
    pub(crate) last: Option<RecordId>,
    /// Whether an incomplete record follows, which will be cut.
    pub(crate) torn: bool,
}

/// Reads every record of a log that is not open.
pub(crate) fn scan(directory: &Path, sealer: &Sealer, synced: Synced) -> Result<Scanned, RaftError> {
    let mut scanned = Scanned::default();
    let chunks = complete_chunks(directory, &mut scanned)?;
    for (position, (start, path)) in chunks.iter().enumerate() {
        if position > 0 && *start != scanned.end {
            let why = format!("it starts at byte {start} of the log, the one before ends at {}", scanned.end);
            return Err(RaftError::Damaged { path: path.clone(), offset: 0, why });
        }
        scanned.end = *start;
        let bytes = fs::read(path).map_err(|source| RaftError::Io { what: "read", path: path.clone(), source })?;
        let is_last = position + 1 == chunks.len();
        scan_chunk(&Chunk { path, start: *start, bytes: &bytes, is_last }, sealer, &mut scanned)?;
    }
    if scanned.end < synced.offset {
        return Err(RaftError::LogTooShort { path: directory.to_owned(), found: scanned.end, synced: synced.offset, index: synced.index });
    }
    Ok(scanned)
}

struct Chunk<'a> {
    path: &'a Path,
    start: u64,
    bytes: &'a [u8],
    is_last: bool,
}

fn scan_chunk(chunk: &Chunk<'_>, sealer: &Sealer, scanned: &mut Scanned) -> Result<(), RaftError> {
    let mut rest = chunk.bytes;
    while !rest.is_empty() {
        let before = rest;
        let offset = (chunk.bytes.len() - before.len()) as u64;
        match RaftLogRecord::<LogTypes>::decode(&mut rest).and_then(|record| check(&record, sealer, scanned)) {
            Ok(()) => scanned.end = chunk.start + (chunk.bytes.len() - rest.len()) as u64,
            // A file may have been made longer before its bytes were there (ext4 and xfs do that): zeros to the end are no record.
            Err(error) if chunk.is_last && (error.kind() == io::ErrorKind::UnexpectedEof || before.iter().all(|byte| *byte == 0)) => {
                scanned.torn = true;
                return Ok(());
            }
            Err(error) => return Err(RaftError::Damaged { path: chunk.path.to_owned(), offset, why: error.to_string() }),
        }
    }
    Ok(())
}

/// Checks the seal of an entry, and follows which entry is the last.
fn check(record: &RaftLogRecord<LogTypes>, sealer: &Sealer, scanned: &mut Scanned) -> io::Result<()> {
    match record {
        WALRecord::Action(RaftLogAction::Append(id, payload)) => {
            payload.open(sealer, *id)?;
            scanned.last = Some(*id);
        }
        WALRecord::Action(RaftLogAction::TruncateAfter(id)) => scanned.last = *id,
        WALRecord::Action(RaftLogAction::PurgeUpto(id)) => scanned.last = scanned.last.max(Some(*id)),
        WALRecord::Action(RaftLogAction::SaveVote(_) | RaftLogAction::Commit(_)) => {}
        WALRecord::Checkpoint(state) => scanned.last = state.last().copied(),
    }
    Ok(())
}

/// The chunk files without those at the end that a rotation had only begun: raft-log syncs a file before it writes the first
/// record of the next, so such a file holds nothing.
fn complete_chunks(directory: &Path, scanned: &mut Scanned) -> Result<Vec<(u64, PathBuf)>, RaftError> {
    let mut chunks = chunks(directory)?;
    while let Some((_, path)) = chunks.last() {
        let bytes = fs::read(path).map_err(|source| RaftError::Io { what: "read", path: path.clone(), source })?;
        let first = RaftLogRecord::<LogTypes>::decode(&mut bytes.as_slice());
        let begun = first.is_err_and(|error| error.kind() == io::ErrorKind::UnexpectedEof || bytes.iter().all(|byte| *byte == 0));
        if !begun {
            break;
        }
        scanned.torn = true;
        chunks.pop();
    }
    Ok(chunks)
}

/// The chunk files with the positions of their first bytes, in order.
fn chunks(directory: &Path) -> Result<Vec<(u64, PathBuf)>, RaftError> {
    let failed = |source| RaftError::Io { what: "list", path: directory.to_owned(), source };
    let mut chunks = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if let Some(start) = name.to_str().and_then(|name| raft_log::chunked_wal::Config::parse_chunk_file_name(name).ok()) {
            chunks.push((start, entry.path()));
        }
    }
    chunks.sort();
    Ok(chunks)
}
