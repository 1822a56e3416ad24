//! An image as the rest of rcon sees it, and the OCI documents it is stored as.

use std::collections::{BTreeMap, HashMap};

use oci_spec::image::{Config, Descriptor, History, ImageConfiguration, ImageManifest, ImageManifestBuilder, MediaType, RootFs};
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    digest::{Digest, ImageId},
    reference::Reference,
};

/// What a container of this image does when its creator says nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Defaults {
    /// Put before the command.
    pub entrypoint: Vec<String>,
    /// The command, or the entrypoint's arguments.
    pub command: Vec<String>,
    /// `KEY=VALUE`.
    pub env: Vec<String>,
    /// Empty: `/`.
    pub workdir: String,
    /// `USER[:GROUP]`, names or numbers; empty: root.
    pub user: String,
    /// Free text by key.
    pub labels: BTreeMap<String, String>,
    /// `PORT/PROTOCOL`.
    pub exposed_ports: Vec<String>,
    /// Directories that get an anonymous volume.
    pub volumes: Vec<String>,
    /// Signal that asks the process to end; empty: `SIGTERM`.
    pub stop_signal: String,
}

/// An image of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The digest of its configuration.
    pub id: ImageId,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// Its names, in order.
    pub references: Vec<Reference>,
    /// What its containers do by default.
    pub defaults: Defaults,
    /// Chain ids of its layers, bottom first.
    pub layers: Vec<Digest>,
    /// Bytes of its unpacked layers together.
    pub size_bytes: u64,
    /// When it was made, in ms since 1970; 0 when it does not say.
    pub created_ms: u64,
}

/// The configuration of an image with one layer.
pub(crate) fn configuration(defaults: &Defaults, diff_id: &Digest, created_ms: u64, comment: &str) -> ImageConfiguration {
    let created =
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(created_ms) * 1_000_000).ok().and_then(|at| at.format(&Rfc3339).ok());
    let list = |items: &[String]| (!items.is_empty()).then(|| items.to_vec());
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let mut config = Config::default();
    config
        .set_entrypoint(list(&defaults.entrypoint))
        .set_cmd(list(&defaults.command))
        .set_env(list(&defaults.env))
        .set_working_dir(text(&defaults.workdir))
        .set_user(text(&defaults.user))
        .set_stop_signal(text(&defaults.stop_signal))
        .set_exposed_ports(list(&defaults.exposed_ports))
        .set_volumes(list(&defaults.volumes))
        .set_labels((!defaults.labels.is_empty()).then(|| defaults.labels.clone().into_iter().collect::<HashMap<_, _>>()));
    let mut rootfs = RootFs::default();
    rootfs.set_diff_ids(vec![diff_id.to_string()]);
    let mut history = History::default();
    history.set_created(created.clone()).set_comment(text(comment));
    let mut configuration = ImageConfiguration::default();
    configuration.set_created(created).set_config(Some(config)).set_rootfs(rootfs).set_history(Some(vec![history]));
    configuration
}

/// What a configuration says of its containers.
pub(crate) fn defaults(configuration: &ImageConfiguration) -> Defaults {
    let Some(config) = configuration.config() else { return Defaults::default() };
    Defaults {
        entrypoint: config.entrypoint().clone().unwrap_or_default(),
        command: config.cmd().clone().unwrap_or_default(),
        env: config.env().clone().unwrap_or_default(),
        workdir: config.working_dir().clone().unwrap_or_default(),
        user: config.user().clone().unwrap_or_default(),
        labels: config.labels().clone().unwrap_or_default().into_iter().collect(),
        exposed_ports: config.exposed_ports().clone().unwrap_or_default(),
        volumes: config.volumes().clone().unwrap_or_default(),
        stop_signal: config.stop_signal().clone().unwrap_or_default(),
    }
}

/// When a configuration says that its image was made, in ms since 1970; 0 when it does not.
pub(crate) fn created_ms(configuration: &ImageConfiguration) -> u64 {
    let parsed = configuration.created().as_ref().and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    parsed.and_then(|at| u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()).unwrap_or(0)
}

/// The manifest that joins a configuration and its layers.
pub(crate) fn manifest(configuration: Descriptor, layers: Vec<Descriptor>) -> Result<ImageManifest, oci_spec::OciSpecError> {
    let builder = ImageManifestBuilder::default().schema_version(2u32).media_type(MediaType::ImageManifest);
    builder.config(configuration).layers(layers).build()
}

/// Names a blob in a manifest.
pub(crate) fn descriptor(media_type: &str, digest: &Digest, bytes: u64) -> Result<Descriptor, oci_spec::OciSpecError> {
    let digest: oci_spec::image::Digest = digest.to_string().parse()?;
    Ok(Descriptor::new(MediaType::from(media_type), bytes, digest))
}
