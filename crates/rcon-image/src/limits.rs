//! Every limit of this crate, in one place.

use serde::{Deserialize, Serialize};

/// Longest path in an archive, in bytes: the kernel's `PATH_MAX` (include/uapi/linux/limits.h).
pub const PATH_BYTES: usize = 4096;
/// Longest name of one file, in bytes: `NAME_MAX` (include/uapi/linux/limits.h).
pub const NAME_BYTES: usize = 255;
/// Deepest directory below the root of a layer. Real trees stay below 100; a deeper one exhausts whoever walks it.
pub const DEPTH: u32 = 256;
/// Most bytes of one PAX header, or of one GNU long name, held in memory.
pub const EXTENSION_BYTES: u64 = 1024 * 1024;
/// Longest value of one extended attribute: `XATTR_SIZE_MAX` (include/uapi/linux/limits.h).
pub const XATTR_BYTES: usize = 64 * 1024;
/// Largest window a zstd frame may ask for, as a power of two: what `zstd --long=27` makes, and Docker accepts.
pub const ZSTD_WINDOW_LOG: u32 = 27;
/// Bytes moved at a time.
pub const COPY_BYTES: usize = 128 * 1024;
/// Most bytes that a child that unpacks may say about its outcome.
pub const REPORT_BYTES: u64 = 64 * 1024;
/// Largest image configuration, manifest or index, in bytes (the OCI distribution specification's advice for manifests).
pub const DOCUMENT_BYTES: u64 = 4 * 1024 * 1024;
/// Most bytes of a `NAME:TAG`.
pub const REFERENCE_BYTES: usize = 255;
/// Most instructions of one import.
pub const CHANGES: usize = 256;

/// How much one archive may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnpackLimits {
    /// Most entries of the archive.
    pub entries: u64,
    /// Most bytes of the archive after decompression.
    pub unpacked_bytes: u64,
    /// Most bytes after decompression for each byte before, once `ratio_free_bytes` have been unpacked.
    pub ratio: u64,
    /// Bytes that may be unpacked whatever the ratio.
    pub ratio_free_bytes: u64,
}

impl Default for UnpackLimits {
    fn default() -> Self {
        Self { entries: 4_000_000, unpacked_bytes: 256 << 30, ratio: 200, ratio_free_bytes: 1 << 30 }
    }
}
