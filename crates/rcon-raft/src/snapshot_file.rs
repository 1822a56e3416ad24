//! The snapshot on disk: one file, sealed in parts, replaced as a whole.
//!
//! `RCONSNP1 ‖ index: u64 ‖ CRC-32: u32`, then parts of `length: u32 ‖ CRC-32 of it: u32 ‖ sealed`. The parts together are a
//! length-delimited `SnapshotHead` and the encoded `StateSnapshot`. Each part is sealed with the index, its number and whether it
//! is the last, so that parts can be neither left out, moved nor mixed.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

use rcon_proto::{Message, v1};
use rcon_state::State;

use crate::{
    RaftError,
    disk::replace_file,
    seal::{Kind, OVERHEAD, Sealer},
    types::SnapshotMeta,
    wire,
};

const MAGIC: &[u8; 8] = b"RCONSNP1";
/// Magic, index and checksum.
const HEADER: usize = 20;
/// The plaintext of a part.
const PART: usize = 1 << 20;
/// The largest snapshot that is read: far above what 100,000 endpoints need.
const MAX_BYTES: u64 = 4 << 30;

/// The plaintext of a snapshot, also what travels to a follower.
pub(crate) fn encode(meta: &SnapshotMeta, state: &State) -> Vec<u8> {
    let mut text = wire::snapshot_head(None, meta).encode_length_delimited_to_vec();
    text.extend(state.snapshot().encode_to_vec());
    text
}

/// Writes the snapshot file of a Raft directory. Blocks.
pub(crate) fn write(path: &Path, sealer: &Sealer, meta: &SnapshotMeta, state: &State) -> Result<(), RaftError> {
    let text = encode(meta, state);
    let index = meta.last_log_id.as_ref().map_or(0, |id| id.index);
    let parts = text.len().div_ceil(PART);
    replace_file(path, |file| {
        let mut out = io::BufWriter::new(file);
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(MAGIC);
        header[8..16].copy_from_slice(&index.to_be_bytes());
        let crc = crc32fast::hash(&header[..16]);
        header[16..].copy_from_slice(&crc.to_be_bytes());
        out.write_all(&header)?;
        for (part, bytes) in text.chunks(PART).enumerate() {
            let sealed = sealer.seal(Kind::Snapshot { index, part: part as u64, last: part + 1 == parts }, bytes);
            let length = u32::try_from(sealed.len()).map_err(io::Error::other)?.to_be_bytes();
            out.write_all(&length)?;
            out.write_all(&crc32fast::hash(&length).to_be_bytes())?;
            out.write_all(&sealed)?;
        }
        out.flush()
    })
}

/// Reads the snapshot file of a Raft directory, if there is one. Blocks.
pub(crate) fn read(path: &Path, sealer: &Sealer) -> Result<Option<(SnapshotMeta, State)>, RaftError> {
    let failed = |source| RaftError::Io { what: "read", path: path.to_owned(), source };
    let damaged = |offset: usize, why: String| RaftError::Damaged { path: path.to_owned(), offset: offset as u64, why };
    let bytes = match fs::metadata(path) {
        Ok(meta) if meta.len() > MAX_BYTES => return Err(damaged(0, "it is larger than any snapshot".to_owned())),
        Ok(_) => fs::read(path).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let text = open_parts(&bytes, sealer).map_err(|(offset, why)| damaged(offset, why.to_owned()))?;
    let mut rest = text.as_slice();
    let head = v1::SnapshotHead::decode_length_delimited(&mut rest).map_err(|e| damaged(HEADER, e.to_string()))?;
    let meta = wire::to_snapshot_meta(&head).map_err(|e| damaged(HEADER, e.to_string()))?;
    let snapshot = v1::StateSnapshot::decode(rest).map_err(|e| damaged(HEADER, e.to_string()))?;
    let state = State::from_snapshot(snapshot).map_err(|e| damaged(HEADER, e.to_string()))?;
    Ok(Some((meta, state)))
}

/// The plaintext of all parts; or where and why not.
fn open_parts(bytes: &[u8], sealer: &Sealer) -> Result<Vec<u8>, (usize, &'static str)> {
    let (header, mut rest) = bytes.split_first_chunk::<HEADER>().ok_or((0, "the header is incomplete"))?;
    let (start, crc) = header.split_last_chunk::<4>().ok_or((0, "the header is incomplete"))?;
    if !start.starts_with(MAGIC) || u32::from_be_bytes(*crc) != crc32fast::hash(start) {
        return Err((0, "the header is damaged"));
    }
    let index = start.last_chunk::<8>().map_or(0, |index| u64::from_be_bytes(*index));
    let mut text = Vec::with_capacity(bytes.len());
    for part in 0.. {
        let offset = bytes.len() - rest.len();
        let ([a, b, c, d, crc @ ..], after) = rest.split_first_chunk::<8>().ok_or((offset, "a part is missing"))?;
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        if u32::from_be_bytes(*crc) != crc32fast::hash(&[*a, *b, *c, *d]) || length < OVERHEAD {
            return Err((offset, "the length of a part is damaged"));
        }
        let (sealed, next) = after.split_at_checked(length).ok_or((offset, "a part is incomplete"))?;
        let opened = sealer.open_sealed(Kind::Snapshot { index, part, last: next.is_empty() }, sealed);
        text.extend(opened.map_err(|_| (offset, "the seal of a part is broken, or parts are missing"))?);
        if next.is_empty() {
            break;
        }
        rest = next;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{LeaderId, LogId};
    use rcon_types::NodeId;

    #[test]
    fn a_snapshot_is_read_whole_or_refused() {
        let directory = tempfile::tempdir().unwrap();
        let sealer = Sealer::open(&directory.path().join("seal.key"), NodeId::from_bytes([1; 16]), true).unwrap();
        let path = directory.path().join("snapshot");
        assert!(read(&path, &sealer).unwrap().is_none());
        let mut state = State::new();
        state.advance(7).unwrap();
        let id = LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index: 7 };
        let meta = SnapshotMeta { last_log_id: Some(id), ..SnapshotMeta::default() };
        write(&path, &sealer, &meta, &state).unwrap();
        let (read_meta, read_state) = read(&path, &sealer).unwrap().unwrap();
        assert_eq!((read_meta, read_state.digest()), (meta, state.digest()));
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            assert!(matches!(read(&path, &sealer), Err(RaftError::Damaged { .. })), "cut at {cut}");
        }
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &flipped).unwrap();
            assert!(matches!(read(&path, &sealer), Err(RaftError::Damaged { .. })), "bit {bit}");
        }
    }
}
