//! Who is who in a cluster: its certificate authority, join tokens, node certificates and the TLS configurations made of them.
//!
//! In flow keys, certificates and tokens, as files, PEM or text; out flow rustls configurations that follow a node's
//! certificate while it is renewed ([`Identity`]), and the verified identity of a peer ([`PeerIdentity`]). Whether a peer may
//! do something is not decided here: the certificate says who it was when it was issued, the replicated state says what it is now.
//!
//! No sockets and no gRPC here (`rcon-rpc` has both), and no private key ever leaves through a `Debug`.

mod atomic_file;
pub mod authority;
mod base36;
pub mod certificate;
pub mod error;
pub mod identity;
pub mod key;
pub mod renewal;
pub mod request;
pub mod store;
pub mod token;
mod verifier;

#[cfg(test)]
mod handshake_tests;

pub use authority::{CertificateAuthority, DEFAULT_CERTIFICATE_LIFE, MINIMUM_CERTIFICATE_LIFE, Subject};
pub use certificate::{CertificateChain, PeerIdentity, RootBundle};
pub use error::IdentityError;
pub use identity::{Identity, joining_config};
pub use key::{KeyDigest, NodeKey, WireGuardKey};
pub use renewal::renewal_time;
pub use request::RequestedKey;
/// For `rcon-rpc`, which carries the configurations made here: only this crate names the TLS library.
pub use rustls;
pub use store::{IdentityStore, Membership};
pub use token::{JoinSecret, JoinToken};
pub use verifier::{PeerRefused, peer_refused};

/// The application protocol of every connection (RFC 9113 §3.2): gRPC is HTTP/2.
pub const ALPN: &[u8] = b"h2";
