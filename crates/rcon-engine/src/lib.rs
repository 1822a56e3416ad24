//! The containers of this host: create, start, stop, exec, attach, logs, remove.
//!
//! In: requests of the agent, and what shims say of the containers they hold. Out: records, streams and [`Event`]s.
//! A container lives below a shim that outlives this process; the engine's store says what ought to be, the shims say
//! what is, and [`Engine::open`] makes the two agree again after whatever happened.
//!
//! The engine never touches a network: the agent makes the namespace, hands over its path at the start, and removes it
//! after the end. It never decides to restart anything.

mod cgroup;
mod engine;
mod error;
mod event;
mod files;
mod host;
mod limits;
mod lock;
mod log;
mod names;
mod overlay;
mod paths;
mod plan;
mod record;
mod recovery;
mod request;
mod rootfs;
mod shim;
mod signal;
mod store;
mod stream;

pub use engine::{Engine, EngineOptions};
pub use error::EngineError;
pub use event::{Event, EventKind};
pub use record::{ContainerRecord, ContainerState, Exit};
pub use request::{
    AttachRequest, CreateRequest, Created, ExecRequest, ListFilter, LogQuery, NetworkFiles, NetworkNamespace, StopRequest, WindowSize,
};
pub use signal::parse_signal;
pub use stream::{InputFrame, IoSession, LogEntry, LogStream, OutputFrame, StreamKind};
