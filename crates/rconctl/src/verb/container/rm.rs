//! `rconctl rm`

use clap::Args as ClapArgs;
use rcon_proto::v1;

use crate::{
    connect::{Agent, answer},
    output::line,
    report::Outcome,
};

/// Example: rconctl rm -f web
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Names or ids
    #[arg(required = true)]
    containers: Vec<String>,
    /// Kill a running container first
    #[arg(short, long)]
    force: bool,
}

/// Runs the verb.
pub async fn run(args: Args, agent: &Agent) -> Outcome {
    let mut client = agent.containers();
    for container in args.containers {
        answer(client.remove(v1::RemoveContainerRequest { container: container.clone(), force: args.force })).await?;
        line(container)?;
    }
    Ok(std::process::ExitCode::SUCCESS)
}
