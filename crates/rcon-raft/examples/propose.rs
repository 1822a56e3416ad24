//! Proposals of 512 bytes a second: 3 managers in one process, mutual TLS on the loopback, fsync.
//!
//! `cargo run --release -p rcon-raft --example propose [SECONDS]` prints one line for 1, 64 and 512 proposals in flight.

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use rcon_proto::v1;
use rcon_raft::Consensus;
use support::Cluster;

/// A transaction of about 512 bytes that changes one object.
fn transaction(number: u64, worker: u64) -> v1::Txn {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    id[8..].copy_from_slice(&worker.to_be_bytes());
    let set = v1::SetNodeState { node_id: Bytes::from_static(&[1; 16]), state: v1::NodeState::Ready.into(), message: "x".repeat(440) };
    v1::Txn {
        id: Bytes::copy_from_slice(&id),
        time_ms: 1,
        preconditions: Vec::new(),
        ops: vec![v1::Op { op: Some(v1::op::Op::SetNodeState(set)) }],
    }
}

async fn worker(consensus: Consensus, worker: u64, stop: Arc<AtomicBool>) -> Vec<Duration> {
    let mut latencies = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let since = Instant::now();
        consensus.propose(transaction(number, worker)).await.expect("a proposal is applied");
        latencies.push(since.elapsed());
    }
    latencies
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(5);
    let cluster = Cluster::new(3).await;
    let leader = cluster.hosts[cluster.leader().await].consensus().clone();
    for (run, in_flight) in [1_u64, 64, 512].into_iter().enumerate() {
        let stop = Arc::new(AtomicBool::new(false));
        let since = Instant::now();
        let base = (run as u64 + 1) << 32;
        let workers: Vec<_> = (0..in_flight).map(|n| tokio::spawn(worker(leader.clone(), base + n, Arc::clone(&stop)))).collect();
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        stop.store(true, Ordering::Relaxed);
        let mut latencies = Vec::new();
        for worker in workers {
            latencies.extend(worker.await.expect("a worker ends"));
        }
        let took = since.elapsed().as_secs_f64();
        latencies.sort();
        let at = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
        println!("{in_flight:>4} in flight: {:>8.0}/s  p50 {:.2} ms  p99 {:.2} ms", latencies.len() as f64 / took, at(0.5), at(0.99));
    }
}
