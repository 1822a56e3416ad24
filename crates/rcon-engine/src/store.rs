//! The records of containers on disk: one redb file, written by one thread.
//!
//! Each write is on disk when it returns; writes that wait together share one commit. Reading happens once, at the
//! opening; afterwards memory is the truth. After an I/O error (a full disk) the file is opened again before the next
//! write, and holds what it held before.

use std::{
    path::Path,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
};

use rcon_types::ContainerId;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::sync::oneshot;

use crate::{error::EngineError, limits::STORE_QUEUE, record::ContainerRecord};

/// Id in hexadecimal → record as JSON.
const CONTAINERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("containers");
/// `format` → the version of what is in the file.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const FORMAT: u64 = 1;
/// Most writes of one commit.
const BATCH: usize = 64;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// What is to be written.
#[derive(Debug, Clone)]
enum Change {
    Put { id: String, record: Vec<u8> },
    Remove { id: String },
}

struct Write {
    change: Change,
    done: oneshot::Sender<Result<(), String>>,
}

/// The store. Dropped, it finishes what waits and closes the file.
#[derive(Debug)]
pub(crate) struct Store {
    queue: Option<SyncSender<Write>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Store {
    /// Opens or makes the file, and returns all records. Blocks.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<ContainerRecord>), EngineError> {
        let failed = |source: AnyError| EngineError::Store { action: "open", source };
        let database = open_database(path).map_err(failed)?;
        let records = load(&database).map_err(failed)?;
        let (queue, writes) = sync_channel(STORE_QUEUE);
        let path = path.to_owned();
        let thread = std::thread::Builder::new().name("engine-store".into()).spawn(move || write_all(&path, database, &writes));
        let thread = thread.map_err(|error| failed(error.into()))?;
        Ok((Self { queue: Some(queue), thread: Some(thread) }, records))
    }

    /// Writes a record; on disk when this returns.
    pub(crate) async fn put(&self, record: &ContainerRecord) -> Result<(), EngineError> {
        let text = serde_json::to_vec(record).map_err(|error| EngineError::Store { action: "write to", source: error.into() })?;
        self.write(Change::Put { id: record.id.to_string(), record: text }).await
    }

    /// Removes a record; gone from the disk when this returns.
    pub(crate) async fn remove(&self, id: ContainerId) -> Result<(), EngineError> {
        self.write(Change::Remove { id: id.to_string() }).await
    }

    async fn write(&self, change: Change) -> Result<(), EngineError> {
        let (done, outcome) = oneshot::channel();
        let queue = self.queue.clone().ok_or(EngineError::ShuttingDown)?;
        let mut write = Write { change, done };
        // The queue is longer than what can wait but for a stalled disk; then this yields to the others.
        loop {
            match queue.try_send(write) {
                Ok(()) => break,
                Err(std::sync::mpsc::TrySendError::Full(back)) => write = back,
                Err(std::sync::mpsc::TrySendError::Disconnected(_)) => return Err(EngineError::ShuttingDown),
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        match outcome.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(EngineError::Store { action: "write to", source: reason.into() }),
            Err(_) => Err(EngineError::ShuttingDown),
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn open_database(path: &Path) -> Result<Database, AnyError> {
    let database = Database::create(path)?;
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        let found = meta.get("format")?.map(|format| format.value());
        match found {
            None => {
                meta.insert("format", FORMAT)?;
            }
            Some(FORMAT) => {}
            Some(other) => return Err(format!("its format is {other}, this rcond knows {FORMAT}").into()),
        }
        transaction.open_table(CONTAINERS)?;
    }
    transaction.commit()?;
    Ok(database)
}

fn load(database: &Database) -> Result<Vec<ContainerRecord>, AnyError> {
    let transaction = database.begin_read()?;
    let table = transaction.open_table(CONTAINERS)?;
    let mut records = Vec::new();
    for row in table.iter()? {
        let (id, record) = row?;
        let parsed = serde_json::from_slice(record.value());
        records.push(parsed.map_err(|error| format!("the record of container {} is damaged: {error}", id.value()))?);
    }
    Ok(records)
}

fn write_all(path: &Path, database: Database, writes: &Receiver<Write>) {
    let mut database = Some(database);
    while let Ok(first) = writes.recv() {
        let mut batch = vec![first];
        batch.extend(writes.try_iter().take(BATCH - 1));
        let outcome = reopened(path, &mut database).and_then(|open| commit(open, &batch));
        if outcome.is_err() {
            // redb refuses everything after an I/O error until the file is opened again.
            database = None;
        }
        let outcome = outcome.map_err(|error| chain(&*error));
        for write in batch {
            // Whoever asked may have gone.
            let _ = write.done.send(outcome.clone());
        }
    }
}

fn reopened<'open>(path: &Path, database: &'open mut Option<Database>) -> Result<&'open Database, AnyError> {
    match database {
        Some(open) => Ok(open),
        None => Ok(database.insert(open_database(path)?)),
    }
}

fn commit(database: &Database, batch: &[Write]) -> Result<(), AnyError> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(CONTAINERS)?;
        for write in batch {
            match &write.change {
                Change::Put { id, record } => {
                    table.insert(id.as_str(), record.as_slice())?;
                }
                Change::Remove { id } => {
                    table.remove(id.as_str())?;
                }
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

/// An error and its causes in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::record;

    #[tokio::test]
    async fn records_survive_and_removed_ones_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("engine.redb");
        let (kept, gone) = (record(1, "kept"), record(2, "gone"));
        let (store, records) = Store::open(&path).unwrap();
        assert!(records.is_empty());
        store.put(&kept).await.unwrap();
        store.put(&gone).await.unwrap();
        store.remove(gone.id).await.unwrap();
        drop(store);
        assert_eq!(Store::open(&path).unwrap().1, [kept]);
    }

    #[tokio::test]
    async fn many_writers_share_commits_and_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("engine.redb");
        let (store, _) = Store::open(&path).unwrap();
        let records: Vec<_> = (0..200).map(|number| record(number, &format!("c{number}"))).collect();
        futures::future::try_join_all(records.iter().map(|record| store.put(record))).await.unwrap();
        drop(store);
        assert_eq!(Store::open(&path).unwrap().1.len(), records.len());
    }

    #[tokio::test]
    async fn a_full_disk_is_said_and_leaves_the_old_state_whole() {
        // An own mount namespace: nothing to clean up, whatever happens.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        let outcome = std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?;
            let none = None::<&str>;
            nix::mount::mount(none, "/", none, nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE, none)?;
            nix::mount::mount(Some("tmpfs"), &path, Some("tmpfs"), nix::mount::MsFlags::empty(), Some("size=3m"))?;
            Ok::<_, nix::Error>(path.join("engine.redb")).map(|file| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let (store, _) = Store::open(&file).unwrap();
                runtime.block_on(async {
                    store.put(&record(1, "small")).await.unwrap();
                    let mut large = record(2, "large");
                    large.notes = "x".repeat(8 << 20);
                    let error = store.put(&large).await.unwrap_err();
                    assert_eq!(error.failure().kind, rcon_types::FailureKind::ResourceExhausted, "{error:?}");
                    store.put(&record(3, "after")).await.unwrap();
                });
                drop(store);
                let names: Vec<_> = Store::open(&file).unwrap().1.iter().map(|record| record.name.to_string()).collect();
                names
            })
        })
        .join()
        .unwrap();
        match outcome {
            Ok(names) => assert_eq!(names, ["small", "after"]),
            Err(error) => eprintln!("SKIPPED: a small disk needs a mount namespace ({error})"),
        }
    }
}
