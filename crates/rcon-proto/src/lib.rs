//! The messages of `proto/rcon/v1/`, and how they become the types of `rcon-types` and back.
//!
//! Bytes of foreign origin are parsed here once: `TryFrom` and the functions of [`convert`] refuse what cannot be an id,
//! an address or a prefix, so that later code never checks again. No gRPC here: the stubs are in `rcon-rpc`.

pub mod assignments;
pub mod convert;

/// The generated messages.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/rcon.v1.rs"));
}

pub use bytes::Bytes;
pub use prost::Message;
