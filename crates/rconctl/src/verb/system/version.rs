//! `rconctl version`

use clap::Args as ClapArgs;
use rcon_proto::v1;
use serde_json::json;

use crate::{
    connect::{Agent, answer},
    output::{InspectFormat, inspect, line},
    report::Outcome,
};

/// Example: rconctl version --format '{{.Server.Version}}'
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    format: InspectFormat,
}

/// Runs the verb.
pub async fn run(args: Args, agent: &Agent) -> Outcome {
    let client = env!("CARGO_PKG_VERSION");
    let server = answer(agent.system().info(v1::InfoRequest {})).await;
    if args.format.format.is_some() {
        let server = server.map(|info| json!({"Version": info.version, "KernelVersion": info.kernel})).ok();
        return inspect(&args.format, vec![json!({"Client": {"Version": client}, "Server": server})]);
    }
    line(format_args!("Client: rconctl {client}"))?;
    line(format_args!("Server: rcond {}", server?.version))
}
