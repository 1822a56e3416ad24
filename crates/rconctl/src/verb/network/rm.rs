//! `rconctl network rm`

use clap::Args as ClapArgs;
use rcon_proto::v1;

use crate::{
    connect::{Agent, answer},
    output::line,
    report::Outcome,
};

/// Example: rconctl network rm backend
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Names or ids
    #[arg(required = true)]
    networks: Vec<String>,
}

/// Runs the verb.
pub async fn run(args: Args, agent: &Agent) -> Outcome {
    let mut control = agent.control();
    for network in args.networks {
        answer(control.remove_network(v1::NetworkReference { network: network.clone() })).await?;
        line(network)?;
    }
    Ok(std::process::ExitCode::SUCCESS)
}
