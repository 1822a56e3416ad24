//! What stays the same while a manager's core may be started again: who it is, whom it knows, what it has applied.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError, atomic::AtomicBool, atomic::Ordering},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use rcon_proto::{Message, convert, v1};
use rcon_types::{Failure, FailureKind};

use crate::{RaftError, RaftOptions, applied::Applied, digest::Digest, disk::Disk, manager_file::ManagerIdentity, peers::Peers};

/// Shared by everything that belongs to one manager.
pub(crate) struct Context {
    pub(crate) me: ManagerIdentity,
    pub(crate) options: RaftOptions,
    pub(crate) applied: Arc<Applied>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) disk: Disk,
    /// Whether this manager leads, by its own belief: only for what goes with messages.
    pub(crate) believes_to_lead: AtomicBool,
    /// Who votes, as of the latest membership: only for comparing digests.
    pub(crate) voters: ArcSwap<BTreeSet<u64>>,
}

impl Context {
    /// A message to another manager.
    pub(crate) fn envelope(&self, to: u64, payload: &impl Message) -> v1::RaftMessage {
        let leads = self.believes_to_lead.load(Ordering::Relaxed);
        let digest = self.applied.digests.lock().unwrap_or_else(PoisonError::into_inner).to_send(leads);
        v1::RaftMessage {
            to,
            from: self.me.raft_id,
            cluster_id: convert::id_bytes(self.me.cluster_id),
            epoch: self.me.epoch,
            payload: Bytes::from(payload.encode_to_vec()),
            digest: digest.map(|(digest, agreed)| v1::StateDigest {
                index: digest.index,
                sha256: Bytes::copy_from_slice(&digest.sha256),
                agreed,
            }),
        }
    }

    /// Whether a message is for this manager, in this cluster and epoch.
    pub(crate) fn check_envelope(&self, message: &v1::RaftMessage) -> Result<(), Failure> {
        if message.cluster_id[..] != self.me.cluster_id.to_bytes() {
            return Err(Failure::new(FailureKind::PermissionDenied, "the message is of another cluster"));
        }
        if message.epoch != self.me.epoch {
            let failure = Failure::new(
                FailureKind::PermissionDenied,
                format!("the message is of epoch {}, this is {}", message.epoch, self.me.epoch),
            );
            return Err(failure.hint("the cluster was recovered without that manager: it has to leave and join again"));
        }
        if message.to != self.me.raft_id {
            return Err(Failure::new(
                FailureKind::FailedPrecondition,
                format!("the message is for manager {}, this is {}", message.to, self.me.raft_id),
            ));
        }
        Ok(())
    }

    /// Compares the digest that came with a message; stops this manager when it is the one that is wrong.
    pub(crate) fn check_digest(&self, message: &v1::RaftMessage) {
        let Some(wire) = &message.digest else { return };
        let Ok(sha256) = <[u8; 32]>::try_from(&wire.sha256[..]) else { return };
        let digest = Digest { index: wire.index, sha256 };
        let mut digests = self.applied.digests.lock().unwrap_or_else(PoisonError::into_inner);
        let wrong = if wire.agreed {
            digests.contradicts(digest)
        } else {
            self.believes_to_lead.load(Ordering::Relaxed) && digests.hear(message.from, digest, self.me.raft_id, &self.voters.load())
        };
        drop(digests);
        if wrong {
            self.applied.halt(RaftError::Diverged { index: digest.index });
        }
    }
}
