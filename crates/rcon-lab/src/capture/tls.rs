//! One direction of a TCP connection, put together again and checked to be TLS records from its first byte on. Pure.

use std::collections::BTreeMap;

/// Content types (RFC 8446, section 5.1): change_cipher_spec, alert, handshake, application_data.
const CONTENT_TYPES: std::ops::RangeInclusive<u8> = 20..=23;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
/// 2^14 bytes and what TLS 1.2 may add to them (RFC 5246, section 6.2.3).
const LONGEST_RECORD: usize = (1 << 14) + 2048;
const HEADER: usize = 5;
/// Bytes that may wait for a gap before them to be filled.
const MOST_PENDING: usize = 16 << 20;

/// The bytes that one side of a connection has sent, from its SYN on.
#[derive(Debug)]
pub struct TlsStream {
    /// Sequence number of the first byte of payload.
    first: u32,
    /// How many bytes have been checked.
    checked: u64,
    /// What came early, by its position.
    pending: BTreeMap<u64, Vec<u8>>,
    pending_bytes: usize,
    records: Records,
}

/// Where in a record the stream is.
#[derive(Debug, Default)]
struct Records {
    seen_one: bool,
    header: Vec<u8>,
    /// Bytes of the record's body that are still to come.
    left: usize,
}

impl TlsStream {
    /// Begins with the sequence number of the SYN.
    pub fn new(syn: u32) -> Self {
        Self { first: syn.wrapping_add(1), checked: 0, pending: BTreeMap::new(), pending_bytes: 0, records: Records::default() }
    }

    /// Whether a SYN with this number is that of this stream, sent again.
    pub fn began_with(&self, syn: u32) -> bool {
        self.first == syn.wrapping_add(1)
    }

    /// Takes a segment; says what is wrong as soon as bytes are no TLS.
    pub fn take(&mut self, sequence: u32, payload: &[u8]) -> Result<(), String> {
        let expected = self.first.wrapping_add(self.checked as u32);
        let ahead = i64::from(sequence.wrapping_sub(expected) as i32);
        if ahead > 0 {
            return self.keep(self.checked + ahead as u64, payload);
        }
        let known = (-ahead) as usize;
        if known < payload.len() {
            self.check(&payload[known..])?;
            self.take_pending()?;
        }
        Ok(())
    }

    /// Bytes that were never checked, because something before them was not seen.
    pub fn unchecked(&self) -> usize {
        self.pending_bytes
    }

    fn keep(&mut self, position: u64, payload: &[u8]) -> Result<(), String> {
        let before = self.pending.get(&position).map_or(0, Vec::len);
        if payload.len() > before {
            self.pending_bytes += payload.len() - before;
            self.pending.insert(position, payload.to_vec());
        }
        if self.pending_bytes > MOST_PENDING { Err("too much of it is out of order".into()) } else { Ok(()) }
    }

    fn take_pending(&mut self) -> Result<(), String> {
        while let Some(entry) = self.pending.first_entry()
            && *entry.key() <= self.checked
        {
            let (position, payload) = entry.remove_entry();
            self.pending_bytes -= payload.len();
            let known = (self.checked - position) as usize;
            if known < payload.len() {
                self.check(&payload[known..])?;
            }
        }
        Ok(())
    }

    fn check(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.checked += bytes.len() as u64;
        self.records.take(bytes)
    }
}

impl Records {
    fn take(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len());
                self.left -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let wanted = (HEADER - self.header.len()).min(bytes.len());
            self.header.extend_from_slice(&bytes[..wanted]);
            bytes = &bytes[wanted..];
            if self.header.len() == HEADER {
                self.left = self.body_length()?;
                self.header.clear();
                self.seen_one = true;
            }
        }
        Ok(())
    }

    fn body_length(&self) -> Result<usize, String> {
        let [kind, major, minor, ..] = self.header[..] else { return Err("no record header".into()) };
        let length = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
        let begins_well = self.seen_one || kind == HANDSHAKE || kind == ALERT;
        if !CONTENT_TYPES.contains(&kind)
            || major != 3
            || !(1..=3).contains(&minor)
            || !begins_well
            || length == 0
            || length > LONGEST_RECORD
        {
            return Err(format!("no TLS record begins with {:02x?}", self.header));
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, length: usize) -> Vec<u8> {
        let mut record = vec![kind, 3, 3, (length >> 8) as u8, length as u8];
        record.resize(HEADER + length, 0x5a);
        record
    }

    fn handshake_and_data() -> Vec<u8> {
        [record(HANDSHAKE, 300), record(20, 1), record(23, 5000), record(23, 17)].concat()
    }

    #[test]
    fn records_are_recognised_however_the_stream_is_cut() {
        let bytes = handshake_and_data();
        for size in [1, 2, 3, 5, 7, 306, 1448, bytes.len()] {
            let mut stream = TlsStream::new(u32::MAX - 100);
            for (index, part) in bytes.chunks(size).enumerate() {
                let sequence = (u32::MAX - 99).wrapping_add((index * size) as u32);
                stream.take(sequence, part).unwrap();
            }
            assert_eq!((stream.checked, stream.unchecked()), (bytes.len() as u64, 0));
        }
    }

    #[test]
    fn segments_that_come_late_twice_or_overlapping_change_nothing() {
        let bytes = handshake_and_data();
        let mut stream = TlsStream::new(9);
        let mut take = |from: usize, to: usize| stream.take(10 + from as u32, &bytes[from..to]);
        take(2000, 3000).unwrap();
        take(1000, 2500).unwrap();
        take(0, 600).unwrap();
        take(0, 1200).unwrap();
        take(2900, bytes.len()).unwrap();
        assert_eq!((stream.checked, stream.unchecked()), (bytes.len() as u64, 0));
    }

    #[test]
    fn plain_text_is_found_at_its_first_bytes_and_after_records() {
        assert!(TlsStream::new(0).take(1, b"PRI * HTTP/2.0\r\n").is_err());
        let mut stream = TlsStream::new(0);
        stream.take(1, &record(HANDSHAKE, 10)).unwrap();
        assert!(stream.take(16, b"GET / HTTP/1.1").is_err());
    }

    #[test]
    fn a_stream_that_begins_with_data_is_no_tls() {
        assert!(TlsStream::new(0).take(1, &record(23, 100)).is_err());
    }

    #[test]
    fn what_follows_a_gap_is_counted_as_unchecked() {
        let mut stream = TlsStream::new(0);
        stream.take(50, b"anything").unwrap();
        assert_eq!(stream.unchecked(), 8);
    }
}
