//! `rconctl start`

use clap::Args as ClapArgs;
use rcon_proto::v1;

use crate::{
    connect::{Agent, answer},
    output::{line, warnings},
    report::Outcome,
};

/// Example: rconctl start web
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Names or ids
    #[arg(required = true)]
    containers: Vec<String>,
}

/// Runs the verb.
pub async fn run(args: Args, agent: &Agent) -> Outcome {
    let mut client = agent.containers();
    for container in args.containers {
        let started = answer(client.start(v1::ContainerReference { container: container.clone() })).await?;
        warnings(&started.warnings);
        line(container)?;
    }
    Ok(std::process::ExitCode::SUCCESS)
}
