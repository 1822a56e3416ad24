//! `rconctl inspect`

use clap::Args as ClapArgs;
use rcon_proto::v1;

use super::view;
use crate::{
    connect::{Agent, answer},
    output::{InspectFormat, inspect},
    report::Outcome,
};

/// Example: rconctl inspect --format '{{.State.Status}}' web
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Names or ids
    #[arg(required = true)]
    containers: Vec<String>,
    #[command(flatten)]
    format: InspectFormat,
}

/// Runs the verb.
pub async fn run(args: Args, agent: &Agent) -> Outcome {
    let mut client = agent.containers();
    let mut objects = Vec::new();
    for container in args.containers {
        objects.push(view::object(&answer(client.inspect(v1::ContainerReference { container })).await?));
    }
    inspect(&args.format, objects)
}
