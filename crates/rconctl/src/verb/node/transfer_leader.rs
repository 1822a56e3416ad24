//! `rconctl node transfer-leader`

use clap::Args as ClapArgs;
use rcon_proto::v1;

use crate::{
    connect::{Agent, answer},
    output::line,
    report::Outcome,
};

/// Example: rconctl node transfer-leader h2
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Id or host name of a manager
    node: String,
}

/// Runs the verb.
pub async fn run(args: Args, agent: &Agent) -> Outcome {
    answer(agent.control().transfer_leader(v1::NodeReference { node: args.node.clone() })).await?;
    line(format_args!("Node {} leads the swarm.", args.node))
}
