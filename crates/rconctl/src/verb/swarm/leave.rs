//! `rconctl swarm leave`

use clap::Args as ClapArgs;
use rcon_proto::v1;

use crate::{
    connect::{Agent, answer},
    output::line,
    report::Outcome,
};

/// Example: rconctl swarm leave
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Leave also as a manager, or when no manager answers
    #[arg(short, long)]
    force: bool,
}

/// Runs the verb.
pub async fn run(args: Args, agent: &Agent) -> Outcome {
    answer(agent.swarm().leave(v1::SwarmLeaveRequest { force: args.force })).await?;
    line("Node left the swarm.")
}
