//! `rconctl node inspect`

use clap::Args as ClapArgs;
use rcon_proto::v1;

use super::view;
use crate::{
    connect::{Agent, answer},
    output::{InspectFormat, inspect},
    report::Outcome,
};

/// Example: rconctl node inspect h2 --format '{{.Status.State}}'
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Ids or host names
    #[arg(required = true)]
    nodes: Vec<String>,
    #[command(flatten)]
    format: InspectFormat,
}

/// Runs the verb.
pub async fn run(args: Args, agent: &Agent) -> Outcome {
    let mut control = agent.control();
    let mut objects = Vec::new();
    for node in args.nodes {
        objects.push(view::object(&answer(control.inspect_node(v1::NodeReference { node })).await?));
    }
    inspect(&args.format, objects)
}
