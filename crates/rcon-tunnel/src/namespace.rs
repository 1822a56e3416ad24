//! Doing something in another network namespace without moving there oneself.

use std::{fs::File, io, path::Path, thread};

use nix::sched::{CloneFlags, setns};

use crate::TunnelError;

/// Runs `act` on a thread of its own inside the namespace; what it opens belongs there, also afterwards.
pub(crate) fn inside<T: Send>(path: &Path, act: impl FnOnce() -> Result<T, TunnelError> + Send) -> Result<T, TunnelError> {
    let failed = |source: io::Error| TunnelError::Namespace { path: path.to_owned(), source };
    let namespace = File::open(path).map_err(failed)?;
    let run = || {
        setns(namespace, CloneFlags::CLONE_NEWNET).map_err(|errno| failed(errno.into()))?;
        act()
    };
    thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|_| Err(TunnelError::ThreadFailed { thread: "namespace".to_owned() }))
}
