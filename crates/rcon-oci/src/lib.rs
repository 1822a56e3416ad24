//! What a container is to the runtime, and how one talks to its shim: values and bytes, no I/O.
//!
//! In: a [`ContainerSpec`] (what the engine knows of a container) and [`HostFacts`] (what the host is able to do).
//! Out: an OCI runtime specification with Docker's defaults ([`runtime_spec`]), the shim's protocol ([`shim`]) and the
//! records of a container's log ([`log`]).
//! Nothing here opens a file or a socket, reads a clock, or knows the environment.

mod assemble;
mod capability;
mod error;
mod mount;
mod path;
mod resource;
mod spec;

pub mod log;
pub mod seccomp;
pub mod shim;
pub mod user;

pub use assemble::{DEFAULT_PATH, runtime_spec};
pub use capability::{DEFAULT_CAPABILITIES, EVERY_CAPABILITY};
pub use error::SpecError;
pub use mount::INIT_DESTINATION;
pub use path::{MASKED_PATHS, READ_ONLY_PATHS};
pub use spec::{
    Architecture, CapabilityChanges, CgroupVersion, ContainerSpec, EtcFiles, HostFacts, KernelVersion, Limit, LimitKind, MountKind,
    MountSpec, NetworkNamespace, ProcessUser, Resources, RootFileSystem, SeccompChoice,
};

/// The OCI types that [`runtime_spec`] returns, so that callers need no second copy of the crate.
pub use oci_spec::runtime;
