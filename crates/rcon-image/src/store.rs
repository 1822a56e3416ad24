//! The image store: imports, names, finds, removes.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    io::{self, Read, Write},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{SystemTime, UNIX_EPOCH},
};

use oci_spec::image::{ImageConfiguration, ImageManifest};

use crate::{
    changes,
    content::{BlobWriter, ContentStore},
    digest::{Digest, ImageId, chain_id},
    error::ImageError,
    image::{Defaults, Image, configuration, created_ms, defaults, descriptor, manifest},
    index::{IndexEntry, IndexFile},
    layers::LayerStore,
    limits::{COPY_BYTES, UnpackLimits},
    reference::Reference,
    unpack::{UnpackReport, Unpacker},
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
    /// The new image.
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

/// What containers need of images; their owner says it.
pub struct Usage<'owner> {
    /// Names the containers that are made of an image.
    pub users: &'owner dyn Fn(&ImageId) -> Vec<String>,
    /// Chain ids of all layers that containers stand on, whether an image still has them or not.
    pub layers: &'owner [Digest],
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
    content: ContentStore,
    layers: LayerStore,
    index: IndexFile,
    /// By id. Held while the index is written, so that memory and disk agree.
    images: Mutex<BTreeMap<ImageId, Arc<Image>>>,
    /// Entries of the index whose documents cannot be read; kept until somebody removes them by name.
    damaged: Mutex<Vec<IndexEntry>>,
    /// Shared by imports from their first blob to their entry in the index, taken alone by what removes content.
    sweep: RwLock<()>,
}

impl ImageStore {
    /// Opens the store, makes its directories, and clears what an interrupted import left.
    ///
    /// An image whose documents are damaged is left out, with an error in the log; its entry stays.
    ///
    /// # Errors
    /// When the directories cannot be made, or the index is damaged.
    pub fn open(options: ImageStoreOptions) -> Result<Self, ImageError> {
        let ImageStoreOptions { data_dir, unpacker, limits } = options;
        let content = ContentStore::open(&data_dir.join("content"))?;
        let layers = LayerStore::open(data_dir.join("layers"), unpacker, limits)?;
        let index = IndexFile::new(data_dir.join("images.json"));
        let mut images = BTreeMap::new();
        let mut damaged = Vec::new();
        for entry in index.load()? {
            let manifest = entry.manifest;
            match load(&content, &layers, entry.clone()) {
                Ok(image) => {
                    images.insert(image.id, Arc::new(image));
                }
                Err(error) => {
                    tracing::error!(%manifest, names = ?entry.references, %error, "an image is damaged and left out; remove it and import it again");
                    damaged.push(entry);
                }
            }
        }
        Ok(Self { content, layers, index, images: Mutex::new(images), damaged: Mutex::new(damaged), sweep: RwLock::new(()) })
    }

    /// Makes an image of a root file system: a tar stream, plain or compressed with gzip or zstd.
    ///
    /// Nothing is visible of an import that fails. Blocks for as long as the stream takes.
    ///
    /// # Errors
    /// When the request or the archive is bad, or the disk is full.
    pub fn import(&self, request: &ImportRequest, input: &mut dyn Read) -> Result<Imported, ImageError> {
        let reference = request.reference.as_deref().map(str::parse::<Reference>).transpose()?;
        let mut defaults = Defaults::default();
        changes::apply(&mut defaults, &request.changes)?;

        let mut blob = self.content.writer()?;
        copy(input, &mut blob)?;
        let _sweep = self.sweep.read().unwrap_or_else(PoisonError::into_inner);
        let (digest, bytes) = blob.commit(None)?;
        let made = self.make_image(&digest, bytes, &defaults, &request.message);
        let imported = made.and_then(|(id, manifest)| self.publish(id, manifest, reference));
        if imported.is_err() && !self.is_referenced(&digest) {
            let _ = self.content.remove(&digest);
        }
        imported
    }

    /// All images, newest first.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Image>> {
        let mut images: Vec<_> = self.images().values().cloned().collect();
        images.sort_by_key(|image| (Reverse(image.created_ms), image.id));
        images
    }

    /// The image of a name, an id (with or without `sha256:`) or the start of an id; names win.
    ///
    /// # Errors
    /// When there is none, or several.
    pub fn resolve(&self, text: &str) -> Result<Arc<Image>, ImageError> {
        find(&self.images(), text).map(|(image, _)| image)
    }

    /// The directories of an image's layers, bottom first; a layer that is missing is unpacked again from its blob.
    ///
    /// # Errors
    /// When a layer is missing and its blob is, too, or has changed.
    pub fn layer_dirs(&self, image: &Image) -> Result<Vec<PathBuf>, ImageError> {
        if image.layers.iter().any(|chain_id| self.layers.note(chain_id).is_none()) {
            self.unpack_missing(image)?;
        }
        Ok(self.dirs_of(&image.layers))
    }

    /// The directories of layers by chain id.
    #[must_use]
    pub fn dirs_of(&self, layers: &[Digest]) -> Vec<PathBuf> {
        layers.iter().map(|chain_id| self.layers.dir(chain_id)).collect()
    }

    /// Takes a name from an image; the image goes with its last name, or at once when it is named by id.
    /// With `force`, an image in use loses its names and stays.
    ///
    /// # Errors
    /// When there is no such image, it is in use, or (without `force`) an id is given of an image with several names.
    pub fn remove(&self, text: &str, force: bool, usage: &Usage<'_>) -> Result<Removed, ImageError> {
        let _sweep = self.sweep.write().unwrap_or_else(PoisonError::into_inner);
        let mut images = self.images();
        let (image, name) = match find(&images, text) {
            Err(error) => return self.remove_damaged(&images, text).unwrap_or(Err(error)),
            Ok(found) => found,
        };
        let users = (usage.users)(&image.id);
        let untagged = match name {
            Some(name) if image.references.len() > 1 => vec![name],
            None if image.references.len() > 1 && !force => {
                return Err(ImageError::SeveralNames {
                    image: image.id.short(),
                    names: image.references.iter().map(ToString::to_string).collect(),
                });
            }
            _ if !users.is_empty() && !force => return Err(ImageError::InUse { image: text.to_owned(), users }),
            _ => image.references.clone(),
        };
        let mut next = images.clone();
        let references: Vec<_> = image.references.iter().filter(|name| !untagged.contains(name)).cloned().collect();
        let goes = references.is_empty() && users.is_empty();
        if goes {
            next.remove(&image.id);
        } else {
            next.insert(image.id, Arc::new(Image { references, ..(*image).clone() }));
        }
        self.save(&next)?;
        *images = next;
        let mut removed = Removed { untagged, deleted: Vec::new() };
        if goes {
            let collected = self.collect(&images, usage.layers)?;
            removed.deleted.push(image.id);
            removed.deleted.extend(collected.layers);
        }
        Ok(removed)
    }

    /// Removes blobs and layers that no image refers to, but for the layers in `keep` (those that containers stand on).
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn collect_garbage(&self, keep: &[Digest]) -> Result<Collected, ImageError> {
        let _sweep = self.sweep.write().unwrap_or_else(PoisonError::into_inner);
        let images = self.images();
        self.collect(&images, keep)
    }

    fn images(&self) -> MutexGuard<'_, BTreeMap<ImageId, Arc<Image>>> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Unpacks a blob and writes the documents around it. Returns the ids of configuration and manifest.
    fn make_image(&self, blob: &Digest, bytes: u64, defaults: &Defaults, message: &str) -> Result<(ImageId, Digest), ImageError> {
        let unpacked = self.layers.unpack(self.content.open_blob(blob)?)?;
        let UnpackReport { diff_id, media_type, .. } = unpacked.report.clone();
        self.layers.commit(unpacked, &chain_id(&[diff_id])[0])?;

        let created_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let comment = if message.is_empty() { "imported from a root file system" } else { message };
        let configuration = document(&configuration(defaults, &diff_id, created_ms, comment))?;
        let id = self.content.put(&configuration)?;
        let described = |media_type: &str, digest: &Digest, bytes| descriptor(media_type, digest, bytes).map_err(spec_error);
        let config = described("application/vnd.oci.image.config.v1+json", &id, configuration.len() as u64)?;
        let layer = described(&media_type, blob, bytes)?;
        let manifest = self.content.put(&document(&manifest(config, vec![layer]).map_err(spec_error)?)?)?;
        Ok((id, manifest))
    }

    /// Enters an image into the index, and gives it a name that another one may lose.
    fn publish(&self, id: ImageId, manifest: Digest, reference: Option<Reference>) -> Result<Imported, ImageError> {
        let image = load(&self.content, &self.layers, IndexEntry { manifest, references: reference.iter().cloned().collect() })?;
        let mut images = self.images();
        let mut next = images.clone();
        let mut replaced = None;
        for other in images.values().filter(|other| reference.as_ref().is_some_and(|name| other.references.contains(name))) {
            let references = other.references.iter().filter(|name| Some(*name) != reference.as_ref()).cloned().collect();
            next.insert(other.id, Arc::new(Image { references, ..(**other).clone() }));
            replaced = Some(other.id);
        }
        next.insert(id, Arc::new(image));
        self.save(&next)?;
        *images = next;
        Ok(Imported { id, reference, replaced })
    }

    fn save(&self, images: &BTreeMap<ImageId, Arc<Image>>) -> Result<(), ImageError> {
        let whole = images.values().map(|image| IndexEntry { manifest: image.manifest, references: image.references.clone() });
        self.index.save(whole.chain(self.damaged().iter().cloned()).collect())
    }

    /// Takes a damaged image out of the index; none when none has that name.
    fn remove_damaged(&self, images: &BTreeMap<ImageId, Arc<Image>>, text: &str) -> Option<Result<Removed, ImageError>> {
        let name: Reference = text.parse().ok()?;
        let at = self.damaged().iter().position(|entry| entry.references.contains(&name))?;
        let entry = self.damaged().remove(at);
        Some(self.save(images).map(|()| Removed { untagged: entry.references, deleted: vec![entry.manifest] }))
    }

    fn damaged(&self) -> MutexGuard<'_, Vec<IndexEntry>> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_referenced(&self, blob: &Digest) -> bool {
        let images = self.images();
        images.values().any(|image| read_manifest(&self.content, &image.manifest).is_ok_and(|manifest| blobs(&manifest).contains(blob)))
    }

    fn unpack_missing(&self, image: &Image) -> Result<(), ImageError> {
        let _sweep = self.sweep.read().unwrap_or_else(PoisonError::into_inner);
        let manifest = read_manifest(&self.content, &image.manifest)?;
        for (layer, chain_id) in manifest.layers().iter().zip(&image.layers) {
            if self.layers.note(chain_id).is_some() {
                continue;
            }
            tracing::warn!(image = %image.id, layer = %chain_id, "a layer is missing, it is unpacked again");
            let blob = parse_digest(layer.digest())?;
            let unpacked = self.layers.unpack(self.content.open_blob(&blob)?)?;
            let expected = diff_ids(&read_configuration(&self.content, &image.id)?)?;
            if !expected.contains(&unpacked.report.diff_id) {
                return Err(ImageError::Digest { expected: blob, found: unpacked.report.diff_id });
            }
            self.layers.commit(unpacked, chain_id)?;
        }
        Ok(())
    }

    /// Removes what no image refers to. The caller holds `sweep` alone.
    fn collect(&self, images: &BTreeMap<ImageId, Arc<Image>>, keep: &[Digest]) -> Result<Collected, ImageError> {
        if !self.damaged().is_empty() {
            tracing::warn!("no garbage is collected while a damaged image is there: what it refers to is not known");
            return Ok(Collected::default());
        }
        let mut used_blobs = BTreeSet::new();
        let mut used_layers: BTreeSet<Digest> = keep.iter().copied().collect();
        for image in images.values() {
            used_blobs.extend([image.id, image.manifest]);
            used_blobs.extend(blobs(&read_manifest(&self.content, &image.manifest)?));
            used_layers.extend(&image.layers);
        }
        let mut collected = Collected::default();
        for blob in self.content.list()?.into_iter().filter(|blob| !used_blobs.contains(blob)) {
            self.content.remove(&blob)?;
            collected.blobs.push(blob);
        }
        for layer in self.layers.list()?.into_iter().filter(|layer| !used_layers.contains(layer)) {
            self.layers.remove(&layer)?;
            collected.layers.push(layer);
        }
        Ok(collected)
    }
}

/// An image by name, id, or start of an id; the name too, when it was that.
fn find(images: &BTreeMap<ImageId, Arc<Image>>, text: &str) -> Result<(Arc<Image>, Option<Reference>), ImageError> {
    if let Ok(name) = text.parse::<Reference>()
        && let Some(image) = images.values().find(|image| image.references.contains(&name))
    {
        return Ok((image.clone(), Some(name)));
    }
    let prefix = text.strip_prefix("sha256:").unwrap_or(text);
    if prefix.is_empty() || !prefix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(ImageError::Unknown(text.to_owned()));
    }
    let mut fitting = images.values().filter(|image| image.id.hex().starts_with(prefix));
    match (fitting.next(), fitting.count()) {
        (None, _) => Err(ImageError::Unknown(text.to_owned())),
        (Some(image), 0) => Ok((image.clone(), None)),
        (Some(_), more) => Err(ImageError::Ambiguous { prefix: text.to_owned(), count: more + 1 }),
    }
}

fn load(content: &ContentStore, layers: &LayerStore, entry: IndexEntry) -> Result<Image, ImageError> {
    let manifest = read_manifest(content, &entry.manifest)?;
    let id = parse_digest(manifest.config().digest())?;
    let configuration = read_configuration(content, &id)?;
    let chain = chain_id(&diff_ids(&configuration)?);
    let size_bytes = chain.iter().filter_map(|chain_id| layers.note(chain_id)).map(|note| note.size_bytes).sum();
    Ok(Image {
        id,
        manifest: entry.manifest,
        references: entry.references,
        defaults: defaults(&configuration),
        layers: chain,
        size_bytes,
        created_ms: created_ms(&configuration),
    })
}

fn read_manifest(content: &ContentStore, digest: &Digest) -> Result<ImageManifest, ImageError> {
    serde_json::from_slice(&content.document(digest)?).map_err(|source| ImageError::Damaged { what: format!("manifest {digest}"), source })
}

fn read_configuration(content: &ContentStore, digest: &Digest) -> Result<ImageConfiguration, ImageError> {
    serde_json::from_slice(&content.document(digest)?)
        .map_err(|source| ImageError::Damaged { what: format!("configuration {digest}"), source })
}

fn diff_ids(configuration: &ImageConfiguration) -> Result<Vec<Digest>, ImageError> {
    configuration.rootfs().diff_ids().iter().map(parse_digest).collect()
}

fn blobs(manifest: &ImageManifest) -> Vec<Digest> {
    std::iter::once(manifest.config()).chain(manifest.layers()).filter_map(|blob| parse_digest(blob.digest()).ok()).collect()
}

fn parse_digest(text: &impl ToString) -> Result<Digest, ImageError> {
    let text = text.to_string();
    text.parse().map_err(|error| ImageError::Damaged { what: text, source: serde::de::Error::custom(error) })
}

fn document(value: &impl serde::Serialize) -> Result<Vec<u8>, ImageError> {
    serde_json::to_vec(value).map_err(|source| ImageError::Damaged { what: "a new document".into(), source })
}

fn spec_error(error: oci_spec::OciSpecError) -> ImageError {
    ImageError::Damaged { what: "a new manifest".into(), source: serde::ser::Error::custom(error) }
}

/// Copies a stream into a blob, and tells the caller's failure from ours.
fn copy(input: &mut dyn Read, blob: &mut BlobWriter<'_>) -> Result<(), ImageError> {
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let read = match input.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(ImageError::Input(error)),
        };
        blob.write_all(&buffer[..read]).map_err(ImageError::io("write", blob.path()))?;
    }
}
