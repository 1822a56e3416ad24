//! An image as the rest of rcon sees it, and the OCI documents it is stored as.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
