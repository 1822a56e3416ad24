//! `rconctl create`

use clap::Args as ClapArgs;

use super::spec::ContainerFlags;
use crate::{
    connect::{Agent, answer},
    output::{line, warnings},
    report::{Outcome, Report},
};

/// Example: rconctl create --name web busybox httpd -f
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,
    #[command(flatten)]
    container: ContainerFlags,
}

/// Runs the verb.
pub async fn run(args: Args, agent: &Agent) -> Outcome {
    let asked = args.container.into_request(args.interactive).map_err(Report::of_run)?;
    let created = answer(agent.containers().create(asked)).await.map_err(Report::of_run)?;
    warnings(&created.warnings);
    line(created.id)
}
