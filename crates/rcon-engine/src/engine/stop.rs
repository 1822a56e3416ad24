//! Stopping a container, and sending it signals.

use std::time::Duration;

use rcon_oci::shim::Request;
use rcon_types::ContainerId;
use tokio::time::timeout;

use crate::{
    engine::{Engine, Inner, container::Container},
    error::EngineError,
    limits::KILL_DEADLINE,
    record::ContainerState,
    request::StopRequest,
    shim::ShimConnection,
    signal::parse_signal,
};

/// The signal that nobody can ignore.
pub(super) const SIGKILL: i32 = nix::sys::signal::Signal::SIGKILL as i32;

impl Engine {
    /// Asks a container to end, and kills it when it does not. One that does not run is no error.
    ///
    /// # Errors
    /// When it is gone, the signal is none, or it outlives SIGKILL.
    pub async fn stop(&self, id: ContainerId, request: StopRequest) -> Result<(), EngineError> {
        let container = self.inner.container(id)?;
        let record = container.record();
        let signal = if request.signal.is_empty() { record.stop_signal } else { parse_signal(&request.signal)? };
        if !record.is_alive() {
            return Ok(());
        }
        let patience = Duration::from_secs(request.timeout_s.unwrap_or(record.stop_timeout_s).into());
        if let Err(error) = self.inner.signal(&container, signal).await {
            if !container.record().is_alive() {
                return Ok(());
            }
            tracing::warn!(container = %record.name, %error, "the stop signal could not be sent, the container is killed");
        } else if timeout(patience, container.stopped()).await.is_ok() {
            container.ended().await;
            return Ok(());
        }
        let killed = self.inner.signal(&container, SIGKILL).await;
        if container.record().is_alive() {
            killed?;
        }
        self.inner.await_death(&container).await?;
        container.ended().await;
        Ok(())
    }

    /// Sends a signal (name with or without SIG, or a number; empty: KILL) to a running container's first process.
    ///
    /// # Errors
    /// When it does not run, or the signal is none.
    pub async fn kill(&self, id: ContainerId, signal: &str) -> Result<(), EngineError> {
        let container = self.inner.container(id)?;
        let signal = if signal.is_empty() { SIGKILL } else { parse_signal(signal)? };
        self.inner.signal(&container, signal).await
    }
}

impl Inner {
    pub(super) async fn signal(&self, container: &Container, signal: i32) -> Result<(), EngineError> {
        let mut record = container.record();
        if record.state == ContainerState::Starting {
            // Until it runs there is nobody to signal.
            drop(container.work.lock().await);
            record = container.record();
        }
        if record.state != ContainerState::Running {
            return Err(record.refusal("send a signal to"));
        }
        let sent = ShimConnection::ask_once(&self.run_directory(container.id), &Request::Kill { signal }).await;
        sent.map(|_| ()).map_err(|error| error.of(&container.name()))
    }

    /// Waits for the effect of SIGKILL.
    pub(super) async fn await_death(&self, container: &Container) -> Result<(), EngineError> {
        timeout(KILL_DEADLINE, container.stopped()).await.map_err(|_| EngineError::Shim {
            container: container.name(),
            reason: format!("the container outlived SIGKILL by {} s", KILL_DEADLINE.as_secs()),
        })
    }
}
