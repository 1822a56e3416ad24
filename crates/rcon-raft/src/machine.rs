//! The state-machine driver: committed entries from openraft in, the published state and its changes out.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{Stream, StreamExt as _};
use openraft::{
    OptionalSend,
    storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot},
};
use rcon_proto::{Message, v1};
use rcon_state::{Dirty, State};
use rcon_types::Revision;

use crate::{
    RaftError, Timing,
    applied::Applied,
    digest::Digest,
    seal::Sealer,
    snapshot_file,
    types::{Entry, LogId, Payload, Proposal, Reply, SnapshotMeta, StoredMembership, TypeConfig},
};

/// How many entries are applied before the new state is published.
const BATCH: usize = 256;

/// A snapshot in memory: a clone of the state, which costs nothing.
#[derive(Debug, Clone)]
pub(crate) struct Image(pub(crate) State);

type CurrentSnapshot = Arc<Mutex<Option<(SnapshotMeta, Image)>>>;

/// Applies entries to the state.
pub(crate) struct StateMachine {
    state: State,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    applied: Arc<Applied>,
    digest_every: u64,
    files: Files,
}

/// Where snapshots are kept.
#[derive(Clone)]
struct Files {
    path: PathBuf,
    sealer: Sealer,
    current: CurrentSnapshot,
}

impl StateMachine {
    /// With the state of the last snapshot; openraft applies the log from there. Blocks.
    pub(crate) fn open(directory: &std::path::Path, sealer: Sealer, applied: Arc<Applied>, timing: Timing) -> Result<Self, RaftError> {
        let path = directory.join("snapshot");
        let found = snapshot_file::read(&path, &sealer)?;
        let (meta, state) = found.clone().unwrap_or_default();
        if state.revision() > applied.with(State::revision) {
            applied.publish(&state);
            applied.mailboxes.deliver_everything(state.revision());
        }
        let current = Arc::new(Mutex::new(found.map(|(meta, state)| (meta, Image(state)))));
        let files = Files { path, sealer, current };
        Ok(Self {
            state,
            last_applied: meta.last_log_id,
            membership: meta.last_membership,
            applied,
            digest_every: timing.digest_every.max(1),
            files,
        })
    }

    fn apply_one(&mut self, entry: &Entry) -> Result<(Reply, Dirty), RaftError> {
        let index = entry.log_id.index;
        let stop = |e: rcon_state::ApplyError| RaftError::Stopped { why: e.failure().to_string() };
        let applied = match &entry.payload {
            Payload::Blank => self.state.advance(index).map(|()| Default::default()).map_err(stop)?,
            Payload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                self.state.advance(index).map(|()| Default::default()).map_err(stop)?
            }
            Payload::Normal(Proposal(bytes)) => {
                let undecodable = |e| RaftError::Stopped { why: format!("entry {index} is no transaction: {e}") };
                let txn = v1::Txn::decode(bytes.clone()).map_err(undecodable)?;
                let outcome = self.state.apply(index, &txn).map_err(stop)?;
                (Reply(Some(outcome.result)), outcome.dirty)
            }
        };
        self.last_applied = Some(entry.log_id);
        if index.is_multiple_of(self.digest_every) {
            self.digest();
        }
        Ok(applied)
    }

    /// Takes the state's digest aside, where it holds nobody up.
    fn digest(&self) {
        let (state, applied) = (self.state.clone(), Arc::clone(&self.applied));
        tokio::task::spawn_blocking(move || {
            let digest = Digest { index: state.revision().0, sha256: state.digest() };
            applied.digests.lock().unwrap_or_else(PoisonError::into_inner).add(digest);
        });
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = Image;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut batches = entries.ready_chunks(BATCH);
        while let Some(batch) = batches.next().await {
            let mut replies = Vec::with_capacity(batch.len());
            let mut told: Vec<(u64, Dirty)> = Vec::with_capacity(batch.len());
            for item in batch {
                let (entry, responder) = item?;
                let (reply, dirty) = self.apply_one(&entry).map_err(|why| {
                    let text = why.to_string();
                    self.applied.halt(why);
                    io::Error::other(text)
                })?;
                told.push((entry.log_id.index, dirty));
                replies.extend(responder.map(|responder| (responder, reply)));
            }
            // Published first: whoever is answered, or told, sees at least what it is answered or told about.
            self.applied.publish(&self.state);
            for (index, dirty) in told {
                self.applied.mailboxes.deliver(Revision(index), &dirty);
            }
            for (responder, reply) in replies {
                responder.send(reply);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        let meta = SnapshotMeta { last_log_id: self.last_applied, last_membership: self.membership.clone() };
        SnapshotBuilder { meta, image: Image(self.state.clone()), files: self.files.clone() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Image) -> io::Result<()> {
        self.files.store(meta.clone(), snapshot.clone()).await?;
        self.state = snapshot.0;
        self.last_applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.applied.publish(&self.state);
        self.applied.mailboxes.deliver_everything(self.state.revision());
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<Snapshot<crate::types::LeaderId, u64, crate::types::ManagerNode, Image>>> {
        let current = self.files.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(current.map(|(meta, snapshot)| Snapshot { meta, snapshot }))
    }
}

impl Files {
    /// Writes the file on a thread of its own, then remembers the snapshot.
    async fn store(&self, meta: SnapshotMeta, image: Image) -> io::Result<()> {
        let files = self.clone();
        let written = tokio::task::spawn_blocking(move || {
            snapshot_file::write(&files.path, &files.sealer, &meta, &image.0).map_err(|error| match error {
                RaftError::Io { source, .. } => source,
                other => io::Error::other(other.to_string()),
            })?;
            *files.current.lock().unwrap_or_else(PoisonError::into_inner) = Some((meta, image));
            Ok(())
        });
        written.await.map_err(io::Error::other)?
    }
}

/// Makes one snapshot.
pub(crate) struct SnapshotBuilder {
    meta: SnapshotMeta,
    image: Image,
    files: Files,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = Image;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot<crate::types::LeaderId, u64, crate::types::ManagerNode, Image>> {
        self.files.store(self.meta.clone(), self.image.clone()).await?;
        Ok(Snapshot { meta: self.meta.clone(), snapshot: self.image.clone() })
    }
}
