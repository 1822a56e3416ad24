//! The image store: imports, names, finds, removes.

use std::{io::Read, path::PathBuf, sync::Arc};

use crate::{
    digest::{Digest, ImageId},
    error::ImageError,
    image::Image,
    limits::UnpackLimits,
    reference::Reference,
    unpack::Unpacker,
};

/// Where a store is and how it unpacks.
#[derive(Debug, Clone)]
pub struct ImageStoreOptions {
    /// The daemon's data directory; `content/`, `layers/` and `images.json` are kept there.
    pub data_dir: PathBuf,
    /// Who unpacks archives.
    pub unpacker: Unpacker,
    /// How much an archive may become.
    pub limits: UnpackLimits,
}

/// What to make of an archive.
#[derive(Debug, Clone, Default)]
pub struct ImportRequest {
    /// The name to give; none: the image has only an id.
    pub reference: Option<String>,
    /// Dockerfile instructions: CMD, ENTRYPOINT, ENV, WORKDIR, USER, LABEL, EXPOSE, STOPSIGNAL, VOLUME.
    pub changes: Vec<String>,
    /// A remark for the image's history.
    pub message: String,
}

/// The outcome of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The new image, or the one that was there with the same content.
    pub id: ImageId,
    /// Its name, if one was asked for.
    pub reference: Option<Reference>,
    /// The image that lost the name, if any.
    pub replaced: Option<ImageId>,
}

/// The outcome of a removal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names that are gone.
    pub untagged: Vec<Reference>,
    /// Images and layers that are gone.
    pub deleted: Vec<Digest>,
}

/// What a collection of garbage removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs that no image refers to.
    pub blobs: Vec<Digest>,
    /// Chain ids of layers that no image has.
    pub layers: Vec<Digest>,
}

/// The images of this host. Share it in an [`Arc`]; each operation locks what it must.
#[derive(Debug)]
pub struct ImageStore {
    _options: ImageStoreOptions,
}

impl ImageStore {
    /// Opens the store, makes its directories, and clears what an interrupted import left.
    ///
    /// # Errors
    /// When the directories cannot be made, or the index is damaged.
    pub fn open(options: ImageStoreOptions) -> Result<Self, ImageError> {
        Ok(Self { _options: options })
    }

    /// Makes an image of a root file system: a tar stream, plain or compressed with gzip or zstd.
    ///
    /// Nothing is visible of an import that fails.
    ///
    /// # Errors
    /// When the request or the archive is bad, or the disk is full.
    pub fn import(&self, request: &ImportRequest, input: &mut dyn Read) -> Result<Imported, ImageError> {
        let _ = (request, input);
        Err(ImageError::Unknown("not written yet".into()))
    }

    /// All images, newest first.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Image>> {
        Vec::new()
    }

    /// The image of a name, an id (with or without `sha256:`) or the start of an id; names win.
    ///
    /// # Errors
    /// When there is none, or several.
    pub fn resolve(&self, text: &str) -> Result<Arc<Image>, ImageError> {
        Err(ImageError::Unknown(text.to_owned()))
    }

    /// Takes a name from an image; the image goes with its last name, or at once when it is named by id.
    /// `users` names the containers made of an image.
    ///
    /// # Errors
    /// When there is no such image, it is in use, or (without `force`) an id is given of an image with several names.
    pub fn remove(&self, text: &str, force: bool, users: &dyn Fn(&ImageId) -> Vec<String>) -> Result<Removed, ImageError> {
        let _ = (force, users);
        Err(ImageError::Unknown(text.to_owned()))
    }

    /// The directories of an image's layers, bottom first.
    #[must_use]
    pub fn layer_dirs(&self, image: &Image) -> Vec<PathBuf> {
        let _ = image;
        Vec::new()
    }

    /// Removes blobs and layers that no image refers to.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn collect_garbage(&self) -> Result<Collected, ImageError> {
        Ok(Collected::default())
    }
}
