//! A trial: a cluster, clients, faults, and the history that comes of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rand::prelude::*;
use rcon_lab::Lab;
use rcon_proto::v1;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::clients::{self, Field};
use super::durable::lost_writes;
use super::faults::{Fault, Kind, draw};
use super::linearizable::check;
use super::nemesis::Nemesis;
use super::operation::{Outcome, Value};
use super::registers::{Connections, Manager};
use super::summary::Summary;
use crate::condition::{eventually, eventually_within};

/// Clients at work at a time.
const CLIENTS: usize = 10;
/// Registers a node.
const REGISTERS: [&str; 2] = ["a", "b"];
/// The register that only the trial itself writes, to see whether managers accept writes.
const PROBE: &str = "h1/probe";
/// The client that the trial itself is.
const OWN: usize = CLIENTS;
/// A fault lasts about this long, in milliseconds: from hardly noticed to long after an election.
const FAULT_MS: std::ops::Range<u64> = 500..3_000;
/// Portions in which operations are granted during a fault.
const PORTIONS: u32 = 10;
/// How long the operations of a phase may take.
const PHASE_DEADLINE: Duration = Duration::from_secs(30);
/// How long managers may take until all accept writes again.
const RECOVERY_DEADLINE: Duration = Duration::from_secs(40);

/// A cluster under test.
#[derive(Debug)]
pub struct Trial<'a> {
    seed: u64,
    random: StdRng,
    hosts: Vec<String>,
    nemesis: Nemesis<'a>,
    runtime: Runtime,
    connections: Connections,
    field: Arc<Field>,
    clients: JoinSet<()>,
    granted: usize,
    faults: BTreeMap<Kind, usize>,
    slowest: Option<(Duration, Fault)>,
}

impl<'a> Trial<'a> {
    /// A trial of a cluster whose hosts are all on and all managers.
    ///
    /// # Errors
    /// When the lab or the runtime fails.
    pub fn begin(lab: &'a Lab, seed: u64) -> anyhow::Result<Self> {
        let hosts: Vec<String> = lab.status()?.hosts.into_iter().map(|host| host.name).collect();
        let nemesis = Nemesis::new(lab)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let registers = hosts.iter().flat_map(|host| REGISTERS.map(|name| format!("{host}/{name}"))).collect();
        let field = Arc::new(Field::new(registers, nemesis.sockets()));
        let clients = {
            let _inside = runtime.enter();
            clients::start(CLIENTS, seed, &field)
        };
        let random = StdRng::seed_from_u64(seed);
        let connections = Connections::default();
        let (granted, faults, slowest) = (0, BTreeMap::new(), None);
        Ok(Self { seed, random, hosts, nemesis, runtime, connections, field, clients, granted, faults, slowest })
    }

    /// That many operations, spread over that many faults: a third before each of them, a third during it, a third after.
    ///
    /// # Errors
    /// When the lab fails.
    pub fn run(&mut self, operations: usize, faults: usize) -> anyhow::Result<()> {
        for (position, fault) in draw(faults, &mut self.random).into_iter().enumerate() {
            let share = operations * (position + 1) / faults - operations * position / faults;
            self.operations(share / 3);
            self.suffer(fault, share / 3)?;
            self.operations(share - share / 3 * 2);
        }
        Ok(())
    }

    /// Lets clients do that many operations and waits for them.
    pub fn operations(&mut self, count: usize) {
        self.grant(count);
        self.wait_for_clients();
    }

    /// One fault with that many operations during it, mended at the end; waits until every manager accepts writes again.
    ///
    /// # Errors
    /// When the lab fails.
    pub fn suffer(&mut self, fault: Fault, operations: usize) -> anyhow::Result<()> {
        let leader = self.leader();
        let victims = fault.victims.choose(&self.hosts, &leader, &mut self.random);
        let lasts = Duration::from_millis(self.random.random_range(FAULT_MS));
        println!("{:8.2} s: {fault}: {} for {} ms", self.field.recorder.now().as_secs_f64(), victims.join(", "), lasts.as_millis());
        self.nemesis.inflict(fault.kind, &victims).with_context(|| format!("during {fault}"))?;
        self.grant_over(operations, lasts);
        self.nemesis.mend(fault.kind, &victims).with_context(|| format!("after {fault}"))?;
        let mended = Instant::now();
        self.wait_until_all_write(&fault.to_string());
        let recovery = mended.elapsed();
        *self.faults.entry(fault.kind).or_default() += 1;
        if self.slowest.is_none_or(|(slowest, _)| slowest < recovery) {
            self.slowest = Some((recovery, fault));
        }
        self.wait_for_clients();
        Ok(())
    }

    /// Ends the clients and has every register read through every manager.
    ///
    /// # Errors
    /// What the history proves to be wrong.
    pub fn end(mut self) -> anyhow::Result<Summary> {
        self.wait_until_all_write("everything");
        self.field.granted.close();
        let Self { runtime, clients, .. } = &mut self;
        runtime.block_on(async { while clients.join_next().await.is_some() {} });
        let held = self.read_everywhere();
        let history = self.field.recorder.history();
        let about = || format!("seed {} (RCON_SEED), {} operations", self.seed, history.len());
        check(&history).with_context(about)?;
        let lost: Vec<String> = lost_writes(&history, &held).iter().map(ToString::to_string).collect();
        ensure!(lost.is_empty(), "{}: acknowledged writes are lost:\n{}", about(), lost.join("\n"));
        self.wait_until_states_agree();
        let mut summary = Summary::of(self.seed, &history, self.field.recorder.unanswered());
        (summary.faults, summary.slowest_recovery) = (self.faults, self.slowest);
        Ok(summary)
    }

    fn grant(&mut self, count: usize) {
        self.granted += count;
        self.field.granted.add_permits(count);
    }

    /// Grants operations little by little, so that some come at each stage of a fault.
    fn grant_over(&mut self, count: usize, time: Duration) {
        for portion in 0..PORTIONS as usize {
            self.grant(count * (portion + 1) / PORTIONS as usize - count * portion / PORTIONS as usize);
            // Not a wait for something: how long a fault lasts is part of it.
            self.runtime.block_on(async { tokio::time::sleep(time / PORTIONS).await });
        }
    }

    fn wait_for_clients(&self) {
        eventually_within(PHASE_DEADLINE, "clients end their operations", || {
            let ended = self.field.ended.load(Ordering::Acquire);
            ensure!(ended >= self.granted, "{ended} of {} have ended", self.granted);
            Ok(())
        });
    }

    fn wait_until_all_write(&mut self, fault: &str) {
        for host in self.hosts.clone() {
            eventually_within(RECOVERY_DEADLINE, &format!("{host} accepts a write after {fault}"), || {
                let mut manager = self.manager(&host)?;
                let outcome = self.runtime.block_on(manager.write(OWN, PROBE, &self.field.recorder));
                ensure!(outcome == Outcome::Acknowledged, "{outcome:?}");
                Ok(())
            });
        }
    }

    fn leader(&mut self) -> String {
        let host = self.hosts[0].clone();
        eventually("there is one leader", || {
            let mut manager = self.manager(&host)?;
            let nodes = self.runtime.block_on(manager.nodes())?;
            let leaders: Vec<v1::NodeView> = nodes.into_iter().filter(|node| node.rank() == v1::ManagerRank::Leader).collect();
            let [leader] = &leaders[..] else { anyhow::bail!("{} lead", leaders.len()) };
            let description = leader.node.as_ref().and_then(|node| node.description.as_ref());
            Ok(description.context("the leader has no name")?.hostname.clone())
        })
    }

    /// What each register holds; every manager says the same, which the history notes.
    fn read_everywhere(&mut self) -> BTreeMap<String, Value> {
        let mut held = BTreeMap::new();
        for register in self.field.registers.iter().cloned().chain([PROBE.to_owned()]).collect::<Vec<String>>() {
            for host in self.hosts.clone() {
                let value = eventually(&format!("{host} reads {register}"), || {
                    let mut manager = self.manager(&host)?;
                    Ok(self.runtime.block_on(manager.read(OWN, &register, &self.field.recorder))?)
                });
                held.extend(value.map(|value| (register.clone(), value)));
            }
        }
        held
    }

    /// Waits until all managers have the same nodes in their own state, each with the same version: what none was asked to agree on.
    fn wait_until_states_agree(&mut self) {
        eventually("all managers have the same state", || {
            let mut states = Vec::new();
            for host in self.hosts.clone() {
                let mut manager = self.manager(&host)?;
                let nodes = self.runtime.block_on(manager.nodes())?;
                states.push(nodes.into_iter().map(|view| view.node).collect::<Vec<Option<v1::Node>>>());
            }
            ensure!(states.windows(2).all(|pair| pair[0] == pair[1]), "they differ: {states:?}");
            Ok(())
        });
    }

    fn manager(&mut self, host: &str) -> anyhow::Result<Manager> {
        let sockets = self.nemesis.sockets();
        let socket = sockets.borrow().get(host).cloned().with_context(|| format!("{host} is off"))?;
        let _inside = self.runtime.enter();
        Ok(self.connections.to(host, &socket))
    }
}
