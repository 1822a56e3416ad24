//! What a stream is compressed with, told by its first bytes.
