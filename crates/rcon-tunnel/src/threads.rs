//! The threads of the datapath: started together, woken together, ended together. One that fails ends the tunnel.

use std::{
    os::fd::AsFd,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::{EfdFlags, EventFd},
};

use crate::TunnelError;

/// Told when the tunnel is over, and why.
#[derive(Debug)]
pub(crate) struct Outcome {
    event: EventFd,
    error: Mutex<Option<TunnelError>>,
}

impl Outcome {
    pub(crate) fn new() -> Result<Arc<Self>, TunnelError> {
        Ok(Arc::new(Self { event: event()?, error: Mutex::new(None) }))
    }

    /// The tunnel is over; the first reason counts.
    pub(crate) fn end(&self, error: Option<TunnelError>) {
        if let Some(error) = error {
            self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
        signal(&self.event);
    }

    /// Readable once the tunnel is over.
    pub(crate) fn event(&self) -> &EventFd {
        &self.event
    }

    /// Why it is over, if not by request.
    pub(crate) fn take_error(&self) -> Option<TunnelError> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Some running threads, each with an event that wakes it.
#[derive(Debug, Default)]
pub(crate) struct Threads(Vec<(JoinHandle<()>, Arc<EventFd>)>);

impl Threads {
    /// Whether none was started.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Starts one that runs `body` with its event. When the body fails or panics, the tunnel is over.
    pub(crate) fn start<F>(&mut self, name: &str, outcome: &Arc<Outcome>, body: F) -> Result<(), TunnelError>
    where
        F: FnOnce(Arc<EventFd>) -> Result<(), TunnelError> + Send + 'static,
    {
        let wake = Arc::new(event()?);
        let (outcome, thread_wake, thread_name) = (Arc::clone(outcome), Arc::clone(&wake), name.to_owned());
        let run = move || match catch_unwind(AssertUnwindSafe(|| body(thread_wake))) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => outcome.end(Some(error)),
            Err(_) => outcome.end(Some(TunnelError::ThreadFailed { thread: thread_name })),
        };
        let failed = |source| TunnelError::Thread { operation: "start a thread", source };
        let handle = thread::Builder::new().name(name.to_owned()).spawn(run).map_err(failed)?;
        self.0.push((handle, wake));
        Ok(())
    }

    /// Wakes all.
    pub(crate) fn wake(&self) {
        self.0.iter().for_each(|(_, wake)| signal(wake));
    }

    /// Wakes all and waits for their end; whoever calls has told them to.
    pub(crate) fn join(&mut self) {
        self.wake();
        for (handle, _) in self.0.drain(..) {
            // A panic was caught inside and has become the outcome.
            let _ = handle.join();
        }
    }
}

/// An event that nobody has signalled.
pub(crate) fn event() -> Result<EventFd, TunnelError> {
    EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
        .map_err(|errno| TunnelError::Thread { operation: "make an event", source: errno.into() })
}

/// Makes the event readable.
pub(crate) fn signal(event: &EventFd) {
    // Fails only when it has been signalled 2^64 - 2 times without being read.
    let _ = event.write(1);
}

/// Waits until one of them is readable, or for `timeout`; gives which are.
pub(crate) fn wait_readable<const N: usize>(descriptors: [&dyn AsFd; N], timeout: Duration) -> [bool; N] {
    let mut polled = descriptors.map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN));
    let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
    match poll(&mut polled, timeout) {
        Ok(ready) if ready > 0 => polled.map(|fd| fd.any().unwrap_or(false)),
        _ => [false; N],
    }
}
