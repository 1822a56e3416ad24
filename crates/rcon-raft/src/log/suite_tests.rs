//! openraft's own tests of a store, run on the real one.

use openraft::{
    StorageError,
    testing::log::{StoreBuilder, Suite},
};
use rcon_types::NodeId;
use tempfile::TempDir;

use super::LogStore;
use crate::{Timing, applied::Applied, machine::StateMachine, seal::Sealer, types::TypeConfig};

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
