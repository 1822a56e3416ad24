//! `rconctl ps`

use clap::Args as ClapArgs;
use rcon_proto::v1;

use super::view;
use crate::{
    connect::{Agent, answer},
    output::{Column, ListFormat, list},
    report::Outcome,
};

/// Example: rconctl ps -a --format '{{.Names}} {{.Status}}'
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Also containers that do not run
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    format: ListFormat,
}

/// Runs the verb.
pub async fn run(args: Args, agent: &Agent) -> Outcome {
    let listed = answer(agent.containers().list(v1::ListContainersRequest { all: args.all })).await?;
    let rows: Vec<_> = listed.containers.iter().map(|container| view::row(container, args.format.no_trunc)).collect();
    let columns = [
        Column("CONTAINER ID", "ID"),
        Column("IMAGE", "Image"),
        Column("COMMAND", "Command"),
        Column("CREATED", "RunningFor"),
        Column("STATUS", "Status"),
        Column("NETWORKS", "Networks"),
        Column("NAMES", "Names"),
    ];
    list(&args.format, &columns, &rows)
}
