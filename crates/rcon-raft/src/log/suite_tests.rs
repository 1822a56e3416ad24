//! openraft's own tests of a store, run on the real one.

use std::fs;

use bytes::Bytes;
use openraft::{
    StorageError,
    storage::{IOFlushed, RaftLogReader as _, RaftLogStorage as _},
    testing::log::{StoreBuilder, Suite},
    type_config::TypeConfigExt as _,
};
use rcon_types::NodeId;
use tempfile::TempDir;

use super::LogStore;
use crate::{
    Timing,
    applied::Applied,
    machine::StateMachine,
    seal::Sealer,
    types::{Entry, LeaderId, LogId, Payload, Proposal, TypeConfig},
};

struct Fresh;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for Fresh {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let sealer = Sealer::open(&directory.path().join("seal.key"), NodeId::from_bytes([1; 16]), true).expect("a key");
        LogStore::create(directory.path()).expect("a log");
        let log = LogStore::open(directory.path(), sealer.clone(), false).expect("the log opens");
        let machine = StateMachine::open(directory.path(), sealer, Applied::new(), Timing::default()).expect("the state opens");
        Ok((directory, log, machine))
    }
}

#[tokio::test]
async fn the_store_passes_openrafts_suite() {
    Suite::test_all(Fresh).await.expect("the suite passes");
}

fn log_id(index: u64) -> LogId {
    LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index }
}

#[tokio::test]
async fn a_log_of_several_files_opens_whole_and_its_files_go_when_they_are_purged() {
    const ENTRIES: u64 = 150_000;
    let (directory, mut log, _) = Fresh.build().await.unwrap();
    let sealer = Sealer::open(&directory.path().join("seal.key"), NodeId::from_bytes([1; 16]), false).unwrap();
    for start in (0..ENTRIES).step_by(5_000) {
        let entries = (start..start + 5_000)
            .map(|index| Entry { log_id: log_id(index), payload: Payload::Normal(Proposal(Bytes::from_static(b"x"))) });
        let (done, synced) = TypeConfig::oneshot();
        log.append(entries, IOFlushed::signal(done)).await.unwrap();
        synced.await.unwrap().unwrap();
    }
    drop(log);
    let files = || fs::read_dir(directory.path().join("log")).unwrap().filter(|f| f.as_ref().unwrap().path().extension().is_some()).count();
    assert!(files() >= 3, "{} files", files());
    let mut log = LogStore::open(directory.path(), sealer.clone(), false).unwrap();
    assert_eq!(log.get_log_state().await.unwrap().last_log_id, Some(log_id(ENTRIES - 1)));
    assert_eq!(log.get_log_reader().await.try_get_log_entries(65_530..65_545).await.unwrap().len(), 15);
    log.purge(log_id(ENTRIES - 10)).await.unwrap();
    // What is synced after the purge waits for it.
    log.save_vote(&crate::types::Vote { leader_id: LeaderId { term: 2, node_id: 1 }, committed: false }).await.unwrap();
    drop(log);
    assert_eq!(files(), 1);
    let mut log = LogStore::open(directory.path(), sealer, false).unwrap();
    assert_eq!(log.get_log_state().await.unwrap().last_purged_log_id, Some(log_id(ENTRIES - 10)));
    assert_eq!(log.get_log_reader().await.try_get_log_entries(..).await.unwrap().len(), 9);
}
