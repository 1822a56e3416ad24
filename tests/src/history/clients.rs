//! Clients that write and read registers, each one thing at a time, as many operations as they are granted.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::prelude::*;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::recorder::Recorder;
use super::registers::{Connections, Sockets};

/// What all clients share.
#[derive(Debug)]
pub struct Field {
    /// What is written and read.
    pub registers: Vec<String>,
    /// Whom to ask.
    pub sockets: watch::Receiver<Sockets>,
    /// One permit an operation; the clients end when it is closed.
    pub granted: Semaphore,
    /// Operations that have ended.
    pub ended: AtomicUsize,
    /// Who notes them.
    pub recorder: Recorder,
}

impl Field {
    /// A field in which nothing is granted yet.
    pub fn new(registers: Vec<String>, sockets: watch::Receiver<Sockets>) -> Self {
        Self { registers, sockets, granted: Semaphore::new(0), ended: AtomicUsize::new(0), recorder: Recorder::default() }
    }
}

/// Starts that many clients, each with a seed of its own. Must be called inside a tokio runtime.
pub fn start(count: usize, seed: u64, field: &Arc<Field>) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for number in 0..count {
        let random = StdRng::seed_from_u64(seed.wrapping_add(number as u64 + 1));
        clients.spawn(run(number, random, Arc::clone(field)));
    }
    clients
}

async fn run(number: usize, mut random: StdRng, field: Arc<Field>) {
    let mut connections = Connections::default();
    let mut sockets = field.sockets.clone();
    while let Ok(permit) = field.granted.acquire().await {
        permit.forget();
        let (host, socket) = match sockets.wait_for(|sockets| !sockets.is_empty()).await {
            Ok(sockets) => choose(&sockets, &mut random),
            Err(_) => return,
        };
        let mut manager = connections.to(&host, &socket);
        let register = field.registers.choose(&mut random).expect("there are registers");
        if random.random_bool(0.5) {
            manager.write(number, register, &field.recorder).await;
        } else {
            // Nobody's answer is noted as that.
            let _ = manager.read(number, register, &field.recorder).await;
        }
        field.ended.fetch_add(1, Ordering::Release);
    }
}

fn choose(sockets: &Sockets, random: &mut StdRng) -> (String, PathBuf) {
    let (host, socket) = sockets.iter().choose(random).expect("some manager is on");
    (host.clone(), socket.clone())
}
