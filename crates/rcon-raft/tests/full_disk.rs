//! A file system that fills up under a manager: it must not be the end of it.

mod support;

use std::{fs, process::Command, time::Instant};

use rcon_raft::{DiskLimits, ProposeError, Timing};
use support::{Cluster, DEADLINE};

/// Set in the copy of this test that runs inside a mount namespace of its own.
const INSIDE: &str = "RCON_RAFT_FULL_DISK";

#[test]
fn a_disk_that_fills_up_stops_writes_and_not_the_manager() {
    if std::env::var_os(INSIDE).is_some() {
        return;
    }
    let root = Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout == b"0\n");
    if !root {
        eprintln!("SKIPPED: mounting a small file system needs root");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let script = format!(
        "mount -t tmpfs -o size=24m rcon-test {0} && exec \"$0\" --exact inside_a_small_file_system --ignored --nocapture",
        directory.path().display()
    );
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env(INSIDE, directory.path())
        .status();
    assert!(status.unwrap().success());
}

#[test]
#[ignore = "runs inside the mount namespace that the other test makes"]
fn inside_a_small_file_system() {
    let Some(path) = std::env::var_os(INSIDE) else {
        eprintln!("SKIPPED: there is no small file system here");
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(fill_up(path.into()));
}

async fn fill_up(path: std::path::PathBuf) {
    let directory = tempfile::tempdir_in(&path).unwrap();
    // Nothing is refused beforehand, so that the log itself meets the full disk.
    let disk = DiskLimits { ballast_bytes: 128 << 10, refuse_below_bytes: 0 };
    let cluster = Cluster::found(directory, Timing::default(), disk).await;
    let consensus = cluster.hosts[0].consensus();
    consensus.propose(cluster.network("before")).await.unwrap();
    let filler = path.join("filler");
    fs::write(&filler, vec![1; 64 << 20]).unwrap_err();
    let mut written = 1;
    let error = loop {
        match consensus.propose(cluster.network(&format!("n{written}"))).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    eprintln!("after {written} writes: {}", error.failure());
    assert!(!matches!(error, ProposeError::Rejected(_)), "{error:?}");
    assert!(consensus.state().network_by_name("before").is_some(), "what is there can be read");
    fs::remove_file(&filler).unwrap();
    let (since, after) = (Instant::now(), cluster.network("after"));
    loop {
        match consensus.propose(after.clone()).await {
            Ok(_) => break,
            Err(error) => assert!(since.elapsed() < DEADLINE, "{error:?}"),
        }
    }
    let state = consensus.read().await.unwrap();
    assert!(state.network_by_name("before").is_some() && state.networks().count() > written);
}
