//! A container in memory: its record, who waits for it, and who works on it.

use std::sync::{Arc, Mutex, PoisonError};

use rcon_types::ContainerId;
use tokio::sync::watch;

use crate::{
    error::EngineError,
    limits::PENDING_ATTACHMENTS,
    record::{ContainerRecord, ContainerState, Exit},
    request::AttachRequest,
    shim::{ShimInput, ShimOutput},
};

/// What watchers see.
#[derive(Debug, Clone)]
struct Life {
    record: Arc<ContainerRecord>,
    /// What follows an end (the shim's leave, the removal where that is automatic) is done.
    settled: bool,
    /// It is not in the table any more.
    gone: bool,
}

/// Somebody who attached before the start.
pub(super) struct PendingAttachment {
    pub(super) request: AttachRequest,
    pub(super) input: ShimInput,
    pub(super) output: ShimOutput,
}

/// A container of this host.
pub(super) struct Container {
    pub(super) id: ContainerId,
    life: watch::Sender<Life>,
    /// Held by whoever starts it, clears up after it, or removes it.
    pub(super) work: tokio::sync::Mutex<()>,
    /// Held while notes are written.
    pub(super) noting: tokio::sync::Mutex<()>,
    pending: Mutex<Vec<PendingAttachment>>,
}

impl Container {
    pub(super) fn new(record: ContainerRecord) -> Self {
        let life = Life { record: Arc::new(record), settled: true, gone: false };
        Self {
            id: life.record.id,
            life: watch::Sender::new(life),
            work: tokio::sync::Mutex::new(()),
            noting: tokio::sync::Mutex::new(()),
            pending: Mutex::new(Vec::new()),
        }
    }

    pub(super) fn record(&self) -> Arc<ContainerRecord> {
        self.life.borrow().record.clone()
    }

    pub(super) fn name(&self) -> String {
        self.record().name.to_string()
    }

    /// Takes a step of its life; nothing changes when it is refused.
    pub(super) fn change(
        &self,
        step: impl FnOnce(&ContainerRecord) -> Result<ContainerRecord, EngineError>,
    ) -> Result<Arc<ContainerRecord>, EngineError> {
        let mut outcome = Err(EngineError::ShuttingDown);
        self.life.send_if_modified(|life| match step(&life.record) {
            Ok(next) => {
                // An end is not settled before what follows it is done.
                life.settled &= !next.is_alive();
                life.record = Arc::new(next);
                outcome = Ok(life.record.clone());
                true
            }
            Err(error) => {
                outcome = Err(error);
                false
            }
        });
        outcome
    }

    /// What follows an end is done.
    pub(super) fn settle(&self) {
        self.life.send_modify(|life| life.settled = true);
    }

    /// It has left the table.
    pub(super) fn vanish(&self) {
        self.life.send_modify(|life| life.gone = true);
        self.pending().clear();
    }

    /// Waits for the end of its run, and for what follows it. None when it goes without having run.
    pub(super) async fn ended(&self) -> Option<Exit> {
        let mut life = self.life.subscribe();
        let is_over = |life: &Life| life.gone || (life.settled && life.record.exit.is_some() && !life.record.is_alive());
        // The sender is ours.
        let life = life.wait_for(is_over).await.ok()?;
        life.record.exit.clone()
    }

    /// Waits until its process does not run any more.
    pub(super) async fn stopped(&self) {
        let mut life = self.life.subscribe();
        let _ = life.wait_for(|life| life.gone || !life.record.is_alive()).await;
    }

    /// Waits until its process has run and ended: then its log is complete.
    pub(super) async fn log_complete(&self) {
        let mut life = self.life.subscribe();
        let is_over = |life: &Life| life.gone || (life.record.exit.is_some() && !life.record.is_alive());
        let _ = life.wait_for(is_over).await;
    }

    /// Keeps an attachment for the start. False when it is too late for that, or there are too many.
    pub(super) fn keep_for_start(&self, attachment: PendingAttachment) -> Result<(), EngineError> {
        let mut pending = self.pending();
        let record = self.record();
        if record.state != ContainerState::Created && record.state != ContainerState::Exited {
            return Err(record.refusal("attach to"));
        }
        pending.retain(|kept| !kept.output.is_closed());
        if pending.len() >= PENDING_ATTACHMENTS {
            return Err(EngineError::TooMany { what: "attachments before a start", limit: PENDING_ATTACHMENTS });
        }
        pending.push(attachment);
        Ok(())
    }

    /// Those who attached before the start.
    pub(super) fn take_pending(&self) -> Vec<PendingAttachment> {
        std::mem::take(&mut *self.pending())
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, Vec<PendingAttachment>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
