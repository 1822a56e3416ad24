//! What `rcond` is, by its first argument.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::Parser;

use crate::{
    config::{Config, Flags},
    daemon, logging,
};

/// `rcond tunnel`: started by the agent, outlives it.
#[derive(Debug, Parser)]
#[command(name = "rcond tunnel", version, about = "The encrypted datapath of an rcon node; started by the agent")]
struct TunnelFlags {
    /// The socket to serve
    #[arg(long)]
    socket: PathBuf,
    /// The file that keeps the tables in force
    #[arg(long)]
    state: PathBuf,
    /// The network namespace of the overlays
    #[arg(long)]
    namespace: PathBuf,
}

fn parse<T: Parser>(role: &str, arguments: Vec<OsString>) -> Result<T, ExitCode> {
    T::try_parse_from(std::iter::once(OsString::from(format!("rcond {role}"))).chain(arguments)).map_err(|error| {
        // clap writes help to standard output, anything else to standard error.
        let _ = error.print();
        ExitCode::from(u8::from(error.use_stderr()) * 2)
    })
}

/// The encrypted datapath.
pub fn tunnel(arguments: Vec<OsString>) -> ExitCode {
    let flags: TunnelFlags = match parse("tunnel", arguments) {
        Ok(flags) => flags,
        Err(code) => return code,
    };
    logging::start(logging::LogFormat::Text);
    let options = rcon_tunnel::Options {
        control_socket: flags.socket,
        state_file: flags.state,
        tap_namespace: flags.namespace,
        // Where `wg show` looks (wg(8)).
        wg_socket: Some(PathBuf::from("/var/run/wireguard").join(format!("{}.sock", rcon_netplan::names::WIREGUARD))),
    };
    finish(rcon_tunnel::run(options).map_err(anyhow::Error::new))
}

/// `rcond dns`: started by the agent, outlives it.
#[derive(Debug, Parser)]
#[command(name = "rcond dns", version, about = "The name server of an rcon node's containers; started by the agent")]
struct DnsFlags {
    /// The file with the names
    #[arg(long)]
    snapshot: PathBuf,
    /// The socket to serve
    #[arg(long)]
    socket: PathBuf,
}

/// The containers' name server.
pub fn dns(arguments: Vec<OsString>) -> ExitCode {
    let flags: DnsFlags = match parse("dns", arguments) {
        Ok(flags) => flags,
        Err(code) => return code,
    };
    logging::start(logging::LogFormat::Text);
    let run = || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let options = rcon_dns::Options { snapshot: flags.snapshot, socket: flags.socket };
        runtime.block_on(async {
            let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            rcon_dns::run(options, async move { terminate.recv().await.unwrap_or(()) }).await.map_err(anyhow::Error::new)
        })
    };
    finish(run())
}

/// An image's layer, written to disk in a sandbox.
pub fn unpack(arguments: Vec<OsString>) -> ExitCode {
    let code = rcon_image::unpack_main(&arguments);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// The agent.
pub fn agent() -> ExitCode {
    let flags = Flags::parse();
    logging::start(flags.log_format);
    finish(Config::load(&flags).and_then(daemon::run))
}

fn finish(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", format!("{error:#}").replace('\n', "; "));
            ExitCode::FAILURE
        }
    }
}
