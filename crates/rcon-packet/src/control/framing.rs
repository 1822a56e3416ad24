//! A message on the socket: four bytes of length, big endian, then that many bytes of JSON.

use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

/// Bytes in front of each message.
pub const HEADER_BYTES: usize = 4;

/// The largest message, without its header: room for about 200,000 stations.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// Why a message was refused.
#[derive(Debug, Error)]
pub enum FramingError {
    /// Longer than [`MAX_MESSAGE_BYTES`].
    #[error("a message of {len} bytes, where at most {MAX_MESSAGE_BYTES} are taken")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// Could not be written as JSON.
    #[error("could not encode a message")]
    Encode(#[source] serde_json::Error),
    /// Not the JSON that was expected here.
    #[error("could not decode a message")]
    Decode(#[source] serde_json::Error),
}

/// The message with its header, ready to be written.
///
/// # Errors
/// When it is too long or has no JSON.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FramingError> {
    let mut bytes = vec![0; HEADER_BYTES];
    serde_json::to_writer(&mut bytes, message).map_err(FramingError::Encode)?;
    let len = bytes.len() - HEADER_BYTES;
    let header = u32::try_from(len).ok().filter(|_| len <= MAX_MESSAGE_BYTES).ok_or(FramingError::TooLong { len })?;
    bytes[..HEADER_BYTES].copy_from_slice(&header.to_be_bytes());
    Ok(bytes)
}

/// How many bytes follow this header.
///
/// # Errors
/// When they are more than [`MAX_MESSAGE_BYTES`]; the connection is of no more use then.
pub fn body_length(header: [u8; HEADER_BYTES]) -> Result<usize, FramingError> {
    let len = u32::from_be_bytes(header) as usize;
    if len <= MAX_MESSAGE_BYTES { Ok(len) } else { Err(FramingError::TooLong { len }) }
}

/// The message in these bytes, which came after a header.
///
/// # Errors
/// When they are not the JSON of a `T`.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FramingError> {
    if body.len() > MAX_MESSAGE_BYTES {
        return Err(FramingError::TooLong { len: body.len() });
    }
    serde_json::from_slice(body).map_err(FramingError::Decode)
}
