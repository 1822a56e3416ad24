//! What a record of the log holds, byte for byte. This format is final.
//!
//! A payload is framed as `length: u32 ‖ CRC-32 of the length: u32 ‖ nonce ‖ ciphertext ‖ tag`, big endian. raft-log takes an end of
//! file in a record for a torn tail; without the length's own checksum a flipped bit in it would look like one, in the middle of the log.

use std::{io, mem::size_of, sync::Arc};

use bytes::Bytes;
use raft_log::codeq::{Decode, Encode};

use super::group::FlushDone;
use crate::{
    seal::{Broken, Kind, OVERHEAD, Sealer},
    types::{self, LeaderId, Payload},
    wire,
};

/// The largest sealed payload: a transaction of 1 MiB, its envelope and the seal.
const MAX_SEALED: u32 = (1 << 20) + (64 << 10);

/// Names the types that raft-log works with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LogTypes;

impl raft_log::Types for LogTypes {
    type LogId = RecordId;
    type LogPayload = SealedPayload;
    type Vote = RecordVote;
    type Callback = FlushDone;
    type UserData = NoUserData;

    fn log_index(id: &RecordId) -> u64 {
        id.index
    }
    fn payload_size(payload: &SealedPayload) -> u64 {
        // The plain payload is kept beside the sealed one.
        2 * payload.sealed.len() as u64
    }
}

/// Term, leader and index of an entry; ordered as openraft orders them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RecordId {
    term: u64,
    leader: u64,
    index: u64,
}

impl RecordId {
    pub(crate) const fn index(self) -> u64 {
        self.index
    }
    fn kind(self) -> Kind {
        Kind::Entry { term: self.term, leader: self.leader, index: self.index }
    }
}

impl From<&types::LogId> for RecordId {
    fn from(id: &types::LogId) -> Self {
        Self { term: id.leader_id.term, leader: id.leader_id.node_id, index: id.index }
    }
}
impl From<RecordId> for types::LogId {
    fn from(id: RecordId) -> Self {
        Self { leader_id: LeaderId { term: id.term, node_id: id.leader }, index: id.index }
    }
}

impl Encode for RecordId {
    fn encode<W: io::Write>(&self, mut writer: W) -> Result<usize, io::Error> {
        put_numbers(&mut writer, [self.term, self.leader, self.index])
    }
}
impl Decode for RecordId {
    fn decode<R: io::Read>(mut reader: R) -> Result<Self, io::Error> {
        let [term, leader, index] = take_numbers(&mut reader)?;
        Ok(Self { term, leader, index })
    }
}

/// A vote, given or won.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordVote(types::Vote);

impl PartialOrd for RecordVote {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.0.partial_cmp(&other.0)
    }
}
impl From<types::Vote> for RecordVote {
    fn from(vote: types::Vote) -> Self {
        Self(vote)
    }
}
impl From<RecordVote> for types::Vote {
    fn from(vote: RecordVote) -> Self {
        vote.0
    }
}

impl Encode for RecordVote {
    fn encode<W: io::Write>(&self, mut writer: W) -> Result<usize, io::Error> {
        put_numbers(&mut writer, [self.0.leader_id.term, self.0.leader_id.node_id, u64::from(self.0.committed)])
    }
}
impl Decode for RecordVote {
    fn decode<R: io::Read>(mut reader: R) -> Result<Self, io::Error> {
        let [term, node_id, committed] = take_numbers(&mut reader)?;
        if committed > 1 {
            return Err(invalid("a vote is committed or not"));
        }
        Ok(Self(types::Vote { leader_id: LeaderId { term, node_id }, committed: committed == 1 }))
    }
}

/// raft-log's own field that we leave empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NoUserData;

impl Encode for NoUserData {
    fn encode<W: io::Write>(&self, _writer: W) -> Result<usize, io::Error> {
        Ok(0)
    }
}
impl Decode for NoUserData {
    fn decode<R: io::Read>(_reader: R) -> Result<Self, io::Error> {
        Ok(Self)
    }
}

/// The payload of an entry as it lies on disk; with the plain one beside it while that is in memory anyway.
#[derive(Clone)]
pub(crate) struct SealedPayload {
    sealed: Bytes,
    plain: Option<Arc<Payload>>,
}

impl std::fmt::Debug for SealedPayload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} sealed bytes", self.sealed.len())
    }
}

impl SealedPayload {
    /// Seals the payload of an entry in its place.
    pub(crate) fn seal(sealer: &Sealer, id: RecordId, payload: Payload) -> Self {
        let sealed = Bytes::from(sealer.seal(id.kind(), &wire::payload(&payload)));
        Self { sealed, plain: Some(Arc::new(payload)) }
    }

    /// How many bytes it has, sealed.
    pub(crate) fn len(&self) -> usize {
        self.sealed.len()
    }

    /// The payload again.
    pub(crate) fn open(&self, sealer: &Sealer, id: RecordId) -> Result<Payload, io::Error> {
        match &self.plain {
            Some(plain) => Ok(Payload::clone(plain)),
            None => {
                let text = sealer.open_sealed(id.kind(), &self.sealed).map_err(|Broken| invalid("the seal of an entry is broken"))?;
                wire::to_payload(text.into()).map_err(|e| invalid(&e.to_string()))
            }
        }
    }
}

impl Encode for SealedPayload {
    fn encode<W: io::Write>(&self, mut writer: W) -> Result<usize, io::Error> {
        let length = u32::try_from(self.sealed.len()).ok().filter(|length| *length <= MAX_SEALED);
        let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "an entry is too large for the log"))?.to_be_bytes();
        writer.write_all(&length)?;
        writer.write_all(&crc32fast::hash(&length).to_be_bytes())?;
        writer.write_all(&self.sealed)?;
        Ok(2 * size_of::<u32>() + self.sealed.len())
    }
}

impl Decode for SealedPayload {
    fn decode<R: io::Read>(mut reader: R) -> Result<Self, io::Error> {
        let mut header = [0; 8];
        reader.read_exact(&mut header)?;
        let [a, b, c, d, crc @ ..] = header;
        let length = u32::from_be_bytes([a, b, c, d]);
        if u32::from_be_bytes(crc) != crc32fast::hash(&[a, b, c, d]) || length > MAX_SEALED || (length as usize) < OVERHEAD {
            return Err(invalid("the length of an entry is damaged"));
        }
        let mut sealed = vec![0; length as usize];
        reader.read_exact(&mut sealed)?;
        Ok(Self { sealed: sealed.into(), plain: None })
    }
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

fn put_numbers<const N: usize>(writer: &mut impl io::Write, numbers: [u64; N]) -> Result<usize, io::Error> {
    for number in numbers {
        writer.write_all(&number.to_be_bytes())?;
    }
    Ok(N * size_of::<u64>())
}

fn take_numbers<const N: usize>(reader: &mut impl io::Read) -> Result<[u64; N], io::Error> {
    let mut numbers = [0; N];
    for number in &mut numbers {
        let mut bytes = [0; 8];
        reader.read_exact(&mut bytes)?;
        *number = u64::from_be_bytes(bytes);
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Proposal;
    use rcon_types::NodeId;

    /// Written once and never changed: a log of today must open for ever.
    #[test]
    fn the_format_of_a_record_is_final() {
        let id = RecordId { term: 1, leader: 2, index: 3 };
        let mut bytes = Vec::new();
        id.encode(&mut bytes).unwrap();
        SealedPayload { sealed: Bytes::from(vec![0xaa; OVERHEAD]), plain: None }.encode(&mut bytes).unwrap();
        let mut expected = vec![0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3];
        expected.extend([0, 0, 0, 40]);
        expected.extend(crc32fast::hash(&[0, 0, 0, 40]).to_be_bytes());
        expected.extend([0xaa; OVERHEAD]);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_payload_opens_only_in_its_place_and_a_flipped_length_is_damage() {
        let directory = tempfile::tempdir().unwrap();
        let sealer = Sealer::open(&directory.path().join("seal.key"), NodeId::from_bytes([1; 16]), true).unwrap();
        let id = RecordId { term: 1, leader: 2, index: 3 };
        let mut bytes = Vec::new();
        SealedPayload::seal(&sealer, id, Payload::Normal(Proposal(Bytes::from_static(b"txn")))).encode(&mut bytes).unwrap();
        let read = SealedPayload::decode(bytes.as_slice()).unwrap();
        assert!(matches!(read.open(&sealer, id), Ok(Payload::Normal(Proposal(txn))) if txn == b"txn"[..]));
        assert!(read.open(&sealer, RecordId { index: 4, ..id }).is_err());
        for bit in 0..64 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SealedPayload::decode(flipped.as_slice()).unwrap_err().kind(), io::ErrorKind::InvalidData, "bit {bit}");
        }
    }
}
