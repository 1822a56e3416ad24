//! What a stream is compressed with, told by its first bytes.

use std::io::{self, BufRead, Read};

use crate::limits::ZSTD_WINDOW_LOG;

/// How an archive is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// The media type of a layer packed so (OCI image specification, layer.md).
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::None => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }

    /// Tells by the first bytes (RFC 1952 §2.3.1, RFC 8878 §3.1). A compression that we have not got is named.
    fn detect(start: &[u8]) -> Result<Self, &'static str> {
        match start {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [b'B', b'Z', b'h', ..] => Err("bzip2"),
            [0xfd, b'7', b'z', b'X', b'Z', ..] => Err("xz"),
            _ => Ok(Self::None),
        }
    }
}

/// The plain stream of a packed one, and how it was packed.
///
/// # Errors
/// When nothing can be read, or it is packed in a way that is not supported.
pub(crate) fn decompress<'input>(mut input: impl BufRead + 'input) -> io::Result<(Compression, Box<dyn Read + 'input>)> {
    let compression = Compression::detect(input.fill_buf()?).map_err(|name| {
        io::Error::new(io::ErrorKind::Unsupported, format!("it is compressed with {name}; only gzip and zstd are supported"))
    })?;
    let plain: Box<dyn Read> = match compression {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
    };
    Ok((compression, plain))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn plain(packed: &[u8]) -> (Compression, Vec<u8>) {
        let (compression, mut reader) = decompress(packed).unwrap();
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        (compression, bytes)
    }

    #[test]
    fn gzip_zstd_and_plain_streams_are_told_apart() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"text").unwrap();
        assert_eq!(plain(&gzip.finish().unwrap()), (Compression::Gzip, b"text".to_vec()));
        assert_eq!(plain(&zstd::encode_all(&b"text"[..], 0).unwrap()), (Compression::Zstd, b"text".to_vec()));
        assert_eq!(plain(b"text"), (Compression::None, b"text".to_vec()));
        assert_eq!(plain(b""), (Compression::None, Vec::new()));
    }

    #[test]
    fn other_compressions_are_named() {
        let error = decompress(&b"\xfd7zXZ\0"[..]).err().unwrap();
        assert!(error.to_string().contains("xz"), "{error}");
    }
}
