//! `rconctl kill`

use clap::Args as ClapArgs;
use rcon_proto::v1;

use crate::{
    connect::{Agent, answer},
    output::line,
    report::Outcome,
};

/// Example: rconctl kill --signal HUP web
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Names or ids
    #[arg(required = true)]
    containers: Vec<String>,
    /// Name (with or without SIG) or number
    #[arg(short, long, default_value = "KILL")]
    signal: String,
}

/// Runs the verb.
pub async fn run(args: Args, agent: &Agent) -> Outcome {
    let mut client = agent.containers();
    for container in args.containers {
        answer(client.kill(v1::KillContainerRequest { container: container.clone(), signal: args.signal.clone() })).await?;
        line(container)?;
    }
    Ok(std::process::ExitCode::SUCCESS)
}
