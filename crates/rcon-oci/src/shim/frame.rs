//! Frames on the shim's socket: a length, a kind, the bytes.

use thiserror::Error;

use super::{MAX_DATA_BYTES, MAX_MESSAGE_BYTES};

/// Length (u32, big endian, of the bytes that follow the header) and kind (u8).
const HEADER_BYTES: usize = 5;

/// What travels on the socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// JSON of a request or a response.
    Message(Vec<u8>),
    /// Bytes for the process.
    Stdin(Vec<u8>),
    /// No more bytes for the process; its output goes on.
    StdinClosed,
    /// Bytes from the process; a terminal's come here too.
    Stdout(Vec<u8>),
    /// Bytes from the process.
    Stderr(Vec<u8>),
}

/// A stream that is no sequence of frames; the connection is of no use any more.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    /// A kind that this version does not know.
    #[error("a frame has the unknown kind {kind}")]
    UnknownKind {
        /// The byte.
        kind: u8,
    },
    /// More than a peer may send at once.
    #[error("a frame of kind {kind} has {len} bytes, at most {max} are allowed")]
    TooLong {
        /// The byte.
        kind: u8,
        /// As announced.
        len: usize,
        /// The limit.
        max: usize,
    },
}

impl Frame {
    const MESSAGE: u8 = 0;
    const STDIN: u8 = 1;
    const STDIN_CLOSED: u8 = 2;
    const STDOUT: u8 = 3;
    const STDERR: u8 = 4;

    /// Appends the frame to what will be written.
    ///
    /// # Errors
    /// When it is longer than a peer accepts.
    pub fn encode_into(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        match self {
            Self::Message(bytes) => encode(Self::MESSAGE, bytes, out),
            Self::Stdin(bytes) => encode(Self::STDIN, bytes, out),
            Self::StdinClosed => encode(Self::STDIN_CLOSED, &[], out),
            Self::Stdout(bytes) => encode(Self::STDOUT, bytes, out),
            Self::Stderr(bytes) => encode(Self::STDERR, bytes, out),
        }
    }

    /// The frame's bytes.
    ///
    /// # Errors
    /// When it is longer than a peer accepts.
    pub fn to_bytes(&self) -> Result<Vec<u8>, FrameError> {
        let mut out = Vec::new();
        self.encode_into(&mut out)?;
        Ok(out)
    }

    /// Appends a [`Frame::Stdout`] or [`Frame::Stderr`] without making one first.
    ///
    /// # Errors
    /// When the data is longer than a peer accepts.
    pub fn encode_output(stderr: bool, data: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        encode(if stderr { Self::STDERR } else { Self::STDOUT }, data, out)
    }

    const fn limit(kind: u8) -> Option<usize> {
        match kind {
            Self::MESSAGE => Some(MAX_MESSAGE_BYTES),
            Self::STDIN | Self::STDOUT | Self::STDERR => Some(MAX_DATA_BYTES),
            Self::STDIN_CLOSED => Some(0),
            _ => None,
        }
    }
}

fn check(kind: u8, len: usize) -> Result<(), FrameError> {
    let max = Frame::limit(kind).ok_or(FrameError::UnknownKind { kind })?;
    if len > max { Err(FrameError::TooLong { kind, len, max }) } else { Ok(()) }
}

fn encode(kind: u8, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
    check(kind, bytes.len())?;
    let len = u32::try_from(bytes.len()).map_err(|_| FrameError::TooLong { kind, len: bytes.len(), max: MAX_MESSAGE_BYTES })?;
    out.reserve(HEADER_BYTES + bytes.len());
    out.extend_from_slice(&len.to_be_bytes());
    out.push(kind);
    out.extend_from_slice(bytes);
    Ok(())
}

/// Bytes as they come from a socket, cut into frames. Holds at most one frame more than was read at once.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    start: usize,
}

impl FrameBuffer {
    /// An empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 && self.start >= self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame, if there is one.
    ///
    /// # Errors
    /// When the peer broke the protocol; a length is refused before its bytes are waited for.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let pending = &self.bytes[self.start..];
        let Some((header, rest)) = pending.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let [a, b, c, d, kind] = *header;
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        check(kind, len)?;
        let Some(payload) = rest.get(..len) else { return Ok(None) };
        let payload = payload.to_vec();
        self.start += HEADER_BYTES + len;
        Ok(Some(match kind {
            Frame::MESSAGE => Frame::Message(payload),
            Frame::STDIN => Frame::Stdin(payload),
            Frame::STDOUT => Frame::Stdout(payload),
            Frame::STDERR => Frame::Stderr(payload),
            _ => Frame::StdinClosed,
        }))
    }

    /// Bytes that are no whole frame yet.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.bytes.len() - self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Frame> {
        vec![
            Frame::Message(b"{}".to_vec()),
            Frame::Stdin((0..=255).collect()),
            Frame::StdinClosed,
            Frame::Stdout(vec![7; MAX_DATA_BYTES]),
            Frame::Stderr(Vec::new()),
        ]
    }

    #[test]
    fn frames_survive_any_cutting_of_the_stream() {
        let mut wire = Vec::new();
        for frame in samples() {
            frame.encode_into(&mut wire).unwrap();
        }
        for step in [1, 2, 3, 5, 1000, wire.len()] {
            let mut buffer = FrameBuffer::new();
            let mut seen = Vec::new();
            for piece in wire.chunks(step) {
                buffer.push(piece);
                while let Some(frame) = buffer.next_frame().unwrap() {
                    seen.push(frame);
                }
            }
            assert_eq!(seen, samples(), "step {step}");
            assert_eq!(buffer.pending(), 0);
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_its_bytes_arrive() {
        for (header, expected) in [
            ([0xff, 0xff, 0xff, 0xff, 0], FrameError::TooLong { kind: 0, len: 0xffff_ffff, max: MAX_MESSAGE_BYTES }),
            ([0, 1, 0, 1, 3], FrameError::TooLong { kind: 3, len: 65_537, max: MAX_DATA_BYTES }),
            ([0, 0, 0, 1, 2], FrameError::TooLong { kind: 2, len: 1, max: 0 }),
            ([0, 0, 0, 0, 9], FrameError::UnknownKind { kind: 9 }),
        ] {
            let mut buffer = FrameBuffer::new();
            buffer.push(&header);
            assert_eq!(buffer.next_frame(), Err(expected));
        }
        assert!(Frame::Stdout(vec![0; MAX_DATA_BYTES + 1]).to_bytes().is_err());
    }
}
