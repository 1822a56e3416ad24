//! The images of this host: content-addressed blobs, what they are called, and their layers unpacked on disk.
//!
//! In flows a root file system as a tar stream; out flow an [`Image`] with its defaults, and directories that the engine
//! stacks with overlayfs. Everything that comes from an archive is hostile until proven otherwise: it is parsed and
//! written in a child process that can touch nothing but the directory it fills (see [`unpack`]).
//!
//! This crate blocks (call it from a thread that may), never talks to a network, never mounts, and knows nothing of
//! containers: whether an image is in use is answered by a callback.

pub mod changes;
mod compression;
mod content;
mod digest;
mod disk;
mod error;
mod image;
mod index;
mod layers;
mod limits;
mod reference;
mod store;
pub mod unpack;

pub use content::{BlobWriter, ContentStore};
pub use digest::{Digest, DigestWriter, ImageId, ParseDigestError, chain_id};
pub use error::ImageError;
pub use image::{Defaults, Image};
pub use limits::UnpackLimits;
pub use reference::{Reference, ReferenceError};
pub use store::{Collected, ImageStore, ImageStoreOptions, ImportRequest, Imported, Removed, Usage};
pub use unpack::{UnpackReport, Unpacker, unpack_main};
