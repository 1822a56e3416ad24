//! gRPC for rcon: generated stubs, authenticated channels and servers, deadlines, and how a failure crosses the wire.
//!
//! Three ways to be called, one set of handlers: mutual TLS on TCP ([`serve`], [`connect`]), the unix socket of this host
//! ([`serve_unix`], [`connect_unix`]), and memory, between two parts of one process ([`in_process`]). A handler asks
//! [`caller`] who is there. What a caller may do is not decided here.
//!
//! Only this crate depends on tonic; others use it as `rcon_rpc::tonic`.

pub mod address;
pub mod caller;
pub mod channel;
pub mod deadline;
mod dial;
mod in_process;
mod incoming;
pub mod limits;
mod local_server;
pub mod server;
mod service;
pub mod status;

/// The generated clients and servers.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/rcon.v1.rs"));
}

pub use address::Address;
pub use caller::{Caller, caller, remote_address, renewing_caller};
pub use channel::{Channel, connect, connect_joining, connect_unix};
pub use dial::ConnectError;
pub use in_process::in_process;
pub use local_server::{LocalSocket, serve_unix};
pub use server::{ServeError, serve};
pub use status::{failure_to_status, status_to_failure};
pub use tonic::{self, service::Routes};

/// The standard port of the cluster: all control, Raft, the authority and blobs.
pub const DEFAULT_PORT: u16 = 2377;
