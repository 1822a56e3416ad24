//! `rconctl node rm`

use clap::Args as ClapArgs;
use rcon_proto::v1;

use crate::{
    connect::{Agent, answer},
    output::line,
    report::Outcome,
};

/// Example: rconctl node rm h3
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Ids or host names
    #[arg(required = true)]
    nodes: Vec<String>,
    /// Remove a node also when it is not down
    #[arg(short, long)]
    force: bool,
}

/// Runs the verb.
pub async fn run(args: Args, agent: &Agent) -> Outcome {
    let mut control = agent.control();
    for node in args.nodes {
        answer(control.remove_node(v1::RemoveNodeRequest { node: node.clone(), force: args.force })).await?;
        line(node)?;
    }
    Ok(std::process::ExitCode::SUCCESS)
}
