//! gRPC for rcon: generated stubs, authenticated channels and servers, and how a failure crosses the wire.

/// The generated clients and servers.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/rcon.v1.rs"));
}

pub use tonic;
