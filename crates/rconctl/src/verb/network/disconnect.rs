//! `rconctl network disconnect`

use std::process::ExitCode;

use clap::Args as ClapArgs;
use rcon_proto::v1;

use crate::{
    connect::{Agent, answer},
    report::Outcome,
};

/// Example: rconctl network disconnect backend web
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Name or id of the network
    network: String,
    /// Name or id of the container
    container: String,
    /// Disconnect also when no manager answers; the address is given back later
    #[arg(short, long)]
    force: bool,
}

/// Runs the verb.
pub async fn run(args: Args, agent: &Agent) -> Outcome {
    let asked = v1::NetworkDisconnectRequest { container: args.container, network: args.network, force: args.force };
    answer(agent.containers().network_disconnect(asked)).await?;
    Ok(ExitCode::SUCCESS)
}
