//! `rconctl wait`

use clap::Args as ClapArgs;
use rcon_proto::v1;
use rcon_rpc::tonic::Request;

use crate::{
    connect::{Agent, answer},
    output::line,
    report::Outcome,
};

/// Example: rconctl wait web
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Names or ids
    #[arg(required = true)]
    containers: Vec<String>,
}

/// Runs the verb. No deadline: it ends when the container does.
pub async fn run(args: Args, agent: &Agent) -> Outcome {
    let mut client = agent.containers();
    for container in args.containers {
        let ended = answer(client.wait(Request::new(v1::ContainerReference { container }))).await?;
        line(ended.exit_code)?;
    }
    Ok(std::process::ExitCode::SUCCESS)
}
