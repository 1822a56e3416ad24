//! Blobs, named by their digest.
/// A store of blobs.
#[derive(Debug)]
pub struct ContentStore;
/// A blob being written.
#[derive(Debug)]
pub struct BlobWriter;
