//! Which images there are and what they are called: one small file, replaced as a whole.

use std::{fs, io, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{digest::Digest, disk::replace_file, error::ImageError, reference::Reference};

/// The format; a file of a later one is refused.
const VERSION: u32 = 1;

/// An image by its manifest, and its names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IndexEntry {
    pub(crate) manifest: Digest,
    #[serde(default)]
    pub(crate) references: Vec<Reference>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    version: u32,
    images: Vec<IndexEntry>,
}

/// `images.json`.
#[derive(Debug)]
pub(crate) struct IndexFile(PathBuf);

impl IndexFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// What the file says; nothing when there is none.
    pub(crate) fn load(&self) -> Result<Vec<IndexEntry>, ImageError> {
        let bytes = match fs::read(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(ImageError::io("read", &self.0))?,
        };
        let damaged = |source| ImageError::Damaged { what: self.0.display().to_string(), source };
        let document: Document = serde_json::from_slice(&bytes).map_err(damaged)?;
        if document.version != VERSION {
            return Err(damaged(serde::de::Error::custom(format!("its version is {}, this rcond knows {VERSION}", document.version))));
        }
        Ok(document.images)
    }

    /// Replaces the file, durably.
    pub(crate) fn save(&self, images: Vec<IndexEntry>) -> Result<(), ImageError> {
        let document = Document { version: VERSION, images };
        let bytes =
            serde_json::to_vec_pretty(&document).map_err(|source| ImageError::Damaged { what: self.0.display().to_string(), source })?;
        replace_file(&self.0, &bytes).map_err(ImageError::io("write", &self.0))
    }
}
