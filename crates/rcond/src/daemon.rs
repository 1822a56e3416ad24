//! The agent's process: directories, wiring, the local socket, signals, and an orderly end.

use std::{fs, os::unix::fs::DirBuilderExt, path::Path, sync::Arc};

use anyhow::{Context, bail};
use rcon_agent::{Agent, AgentOptions};
use rcon_engine::{Engine, EngineOptions};
use rcon_identity::IdentityStore;
use rcon_image::Unpacker;
use rcon_net::HostNet;
use rcon_rpc::{LocalSocket, v1::control_server::ControlServer};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{config::Config, control::LocalControl, node::Node};

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start; what it needs is in the error.
pub fn run(config: Config) -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("rcond must run as root: it makes namespaces, mounts and network devices");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("could not start the runtime")?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> anyhow::Result<()> {
    for directory in [&config.data_dir, &config.run_dir] {
        make_directory(directory)?;
    }
    let engine = Engine::open(engine_options(&config)?).await?;
    let store = Arc::new(IdentityStore::open(&config.data_dir)?);
    let capabilities = tokio::task::spawn_blocking(rcon_net::probe).await?;
    for missing in &capabilities.missing {
        warn!(what = missing.what, failure = %missing.failure, "this host lacks something; networks that need it will say so");
    }
    let net = HostNet::open(rcon_net::Options {
        run_dir: config.run_dir.clone(),
        private_key_file: config.data_dir.join("identity/wireguard.key"),
    })?;
    let node = Arc::new(Node::new(config.clone(), store.clone()));
    let agent = Agent::start(AgentOptions {
        data_dir: config.data_dir.clone(),
        run_dir: config.run_dir.clone(),
        engine: engine.clone(),
        net,
        capabilities,
        side: node.clone(),
        store,
        cgroup_version: cgroup_version().to_owned(),
    })
    .await?;
    let control = LocalControl { manager: node.clone(), others: agent.known_managers() };
    let routes = agent.routes().add_service(ControlServer::new(control));
    let stop = CancellationToken::new();
    let socket = LocalSocket { path: config.run_dir.join("rcond.sock"), group: config.socket_group.as_deref().map(group_id).transpose()? };
    let local = tokio::spawn(rcon_rpc::serve_unix(socket, routes, stop.clone().cancelled_owned()));
    info!(version = env!("CARGO_PKG_VERSION"), data_dir = %config.data_dir.display(), "rcond is up");
    wait_for_signal().await?;
    info!("stopping; containers, networks and names go on");
    stop.cancel();
    agent.shut_down().await;
    engine.close().await;
    local.await?.context("the local socket failed")
}

fn group_id(name: &str) -> anyhow::Result<u32> {
    match nix::unistd::Group::from_name(name)? {
        Some(group) => Ok(group.gid.as_raw()),
        None => bail!("there is no group `{name}` on this host (socket_group)"),
    }
}

fn make_directory(path: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o711).create(path).with_context(|| format!("could not make directory `{}`", path.display()))
}

fn engine_options(config: &Config) -> anyhow::Result<EngineOptions> {
    let own = std::env::current_exe().context("could not find rcond's own file")?;
    let shim_binary = own.with_file_name("rcon-shim");
    if !shim_binary.is_file() {
        bail!("`{}` is not there: install rcon-shim beside rcond", shim_binary.display());
    }
    Ok(EngineOptions {
        data_dir: config.data_dir.clone(),
        run_dir: config.run_dir.clone(),
        shim_binary,
        runtime: config.runtime.clone(),
        cgroup_parent: config.cgroup_parent.clone(),
        unpacker: Unpacker::Process { program: "/proc/self/exe".into(), args: vec!["unpack".into()] },
    })
}

/// Which control groups this host has: `2`, or `1` where version 2 is absent or has no controllers.
fn cgroup_version() -> &'static str {
    let unified = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").is_ok_and(|controllers| controllers.contains("memory"));
    if unified { "2" } else { "1" }
}

async fn wait_for_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("could not watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("could not watch for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
