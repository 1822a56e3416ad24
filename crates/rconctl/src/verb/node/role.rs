//! `rconctl node promote` and `rconctl node demote`

use clap::Args as ClapArgs;
use rcon_proto::v1;
use rcon_types::Role;

use crate::{
    connect::{Agent, answer},
    output::line,
    report::Outcome,
};

/// Example: rconctl node promote h2
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Ids or host names
    #[arg(required = true)]
    nodes: Vec<String>,
}

/// Runs the verb; `role` is the one the nodes get.
pub async fn run(args: Args, role: Role, agent: &Agent) -> Outcome {
    let mut control = agent.control();
    for node in args.nodes {
        let update = v1::UpdateNodeRequest { node: node.clone(), role: Some(v1::Role::from(role).into()), ..Default::default() };
        answer(control.update_node(update)).await?;
        match role {
            Role::Manager => line(format_args!("Node {node} promoted to a manager in the swarm."))?,
            Role::Worker => line(format_args!("Manager {node} demoted in the swarm."))?,
        };
    }
    Ok(std::process::ExitCode::SUCCESS)
}
