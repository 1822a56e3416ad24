//! `rconctl node update`

use clap::Args as ClapArgs;
use rcon_proto::v1;
use rcon_types::{Availability, Role};

use crate::{
    connect::{Agent, answer},
    output::line,
    reference::parse_pairs,
    report::Outcome,
};

/// Example: rconctl node update --availability drain h3
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Id or host name
    node: String,
    /// worker or manager
    #[arg(long)]
    role: Option<Role>,
    /// active, pause or drain
    #[arg(long)]
    availability: Option<Availability>,
    /// KEY=VALUE (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    label_add: Vec<String>,
    /// KEY (repeatable)
    #[arg(long, value_name = "KEY")]
    label_rm: Vec<String>,
    /// Where the other nodes reach this one from now on
    #[arg(long, value_name = "HOST:PORT")]
    addr: Option<String>,
}

/// Runs the verb.
pub async fn run(args: Args, agent: &Agent) -> Outcome {
    let name = args.node.clone();
    let update = v1::UpdateNodeRequest {
        node: args.node,
        role: args.role.map(|role| v1::Role::from(role).into()),
        availability: args.availability.map(|availability| v1::Availability::from(availability).into()),
        labels_add: parse_pairs(&args.label_add),
        labels_remove: args.label_rm,
        control_address: args.addr,
    };
    answer(agent.control().update_node(update)).await?;
    line(name)
}
