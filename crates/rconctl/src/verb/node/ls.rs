//! `rconctl node ls`

use clap::Args as ClapArgs;
use rcon_proto::v1;

use super::view;
use crate::{
    connect::{Agent, answer},
    output::{Column, ListFormat, list},
    report::Outcome,
};

/// Example: rconctl node ls --format '{{.Hostname}} {{.Status}}'
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    format: ListFormat,
    /// Accept what this manager knows, without asking the others
    #[arg(long)]
    stale: bool,
}

/// Runs the verb.
pub async fn run(args: Args, agent: &Agent) -> Outcome {
    let answer = answer(agent.control().list_nodes(v1::ListNodesRequest { stale: args.stale })).await?;
    let rows: Vec<_> = answer.nodes.iter().map(|node| view::row(node, args.format.no_trunc || args.format.quiet)).collect();
    list(
        &args.format,
        &[
            Column("ID", "ID"),
            Column("", "Mark"),
            Column("HOSTNAME", "Hostname"),
            Column("STATUS", "Status"),
            Column("AVAILABILITY", "Availability"),
            Column("MANAGER STATUS", "ManagerStatus"),
            Column("ENGINE VERSION", "EngineVersion"),
        ],
        &rows,
    )
}
