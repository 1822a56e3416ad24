//! The unpacked stream: digested, counted and limited while it is read.

use std::{
    cell::Cell,
    io::{self, BufRead, BufReader, Read},
    rc::Rc,
};

use crate::{
    compression::{Compression, decompress},
    digest::{Digest, DigestWriter},
    limits::{COPY_BYTES, UnpackLimits},
    unpack::error::UnpackError,
};

/// A decompressed archive.
pub(super) struct Source<'input> {
    plain: BufReader<Box<dyn Read + 'input>>,
    compression: Compression,
    packed_bytes: Rc<Cell<u64>>,
    digest: DigestWriter<io::Sink>,
    offset: u64,
    limits: UnpackLimits,
}

impl<'input> Source<'input> {
    pub(super) fn new(input: impl Read + 'input, limits: UnpackLimits) -> Result<Self, UnpackError> {
        let packed_bytes = Rc::new(Cell::new(0));
        let counted = BufReader::with_capacity(COPY_BYTES, Counted { inner: input, bytes: packed_bytes.clone() });
        let (compression, plain) = decompress(counted).map_err(|error| UnpackError::Decompress(error.to_string()))?;
        Ok(Self {
            plain: BufReader::with_capacity(COPY_BYTES, plain),
            compression,
            packed_bytes,
            digest: DigestWriter::new(io::sink()),
            offset: 0,
            limits,
        })
    }

    /// Bytes read so far.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn compression(&self) -> Compression {
        self.compression
    }

    /// Reads up to `buffer` bytes; 0 at the end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, UnpackError> {
        let read = loop {
            match self.plain.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(|error| UnpackError::Decompress(error.to_string()))?,
            }
        };
        self.take(read, &buffer[..read])?;
        Ok(read)
    }

    /// Reads until `buffer` is full or the stream ends; how much there was.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, UnpackError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..])? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(filled)
    }

    /// Reads over what follows the archive's end, which belongs to its digest, and returns the digest.
    pub(super) fn finish(mut self) -> Result<Digest, UnpackError> {
        loop {
            let chunk = self.plain.fill_buf().map_err(|error| UnpackError::Decompress(error.to_string()))?.to_vec();
            if chunk.is_empty() {
                return Ok(self.digest.finish().1);
            }
            self.plain.consume(chunk.len());
            self.take(chunk.len(), &chunk)?;
        }
    }

    fn take(&mut self, read: usize, bytes: &[u8]) -> Result<(), UnpackError> {
        // A sink takes everything.
        let _ = io::Write::write_all(&mut self.digest, bytes);
        self.offset += read as u64;
        let limits = &self.limits;
        if self.offset > limits.unpacked_bytes {
            return Err(UnpackError::Limit { what: "bytes after decompression".into(), limit: limits.unpacked_bytes });
        }
        let by_ratio = self.packed_bytes.get().saturating_mul(limits.ratio).max(limits.ratio_free_bytes);
        if self.compression != Compression::None && self.offset > by_ratio {
            return Err(UnpackError::Limit { what: "times its packed size".into(), limit: limits.ratio });
        }
        Ok(())
    }
}

struct Counted<R> {
    inner: R,
    bytes: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes.set(self.bytes.get() + read as u64);
        Ok(read)
    }
}
