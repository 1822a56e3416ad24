//! The containers of this host: create, start, stop, exec, attach, logs, remove.
//!
//! In: requests of the agent, and what shims say of the containers they hold. Out: records, streams and [`Event`]s.
//! A container lives below a shim that outlives this process; the engine's store says what ought to be, the shims say
//! what is, and [`Engine::open`] makes the two agree again after whatever happened.
//!
//! The engine never touches a network: the agent makes the namespace, hands over its path at the start, and removes it
//! after the end. It never decides to restart anything.

mod engine;
mod error;
mod event;
mod record;
mod request;
mod stream;

pub use engine::{Engine, EngineOptions};
pub use error::EngineError;
pub use event::{Event, EventKind};
pub use record::{ContainerRecord, ContainerState, Exit};
pub use request::{
    AttachRequest, CreateRequest, Created, ExecRequest, ListFilter, LogQuery, NetworkFiles, NetworkNamespace, StopRequest, WindowSize,
};
pub use stream::{InputFrame, IoSession, LogEntry, LogStream, OutputFrame, StreamKind};
