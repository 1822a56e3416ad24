//! `rconctl stop`

use clap::Args as ClapArgs;
use rcon_proto::v1;
use rcon_rpc::tonic::Request;

use crate::{
    connect::{Agent, answer},
    output::line,
    report::Outcome,
};

/// Example: rconctl stop -t 2 web
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Names or ids
    #[arg(required = true)]
    containers: Vec<String>,
    /// Seconds until SIGKILL; the container's own timeout, or 10, if not given
    #[arg(short, long = "timeout", alias = "time", value_name = "SECONDS")]
    timeout: Option<u32>,
    /// Another signal than the container's own
    #[arg(short, long, default_value = "")]
    signal: String,
}

/// Runs the verb. No deadline of its own: the container's timeout decides.
pub async fn run(args: Args, agent: &Agent) -> Outcome {
    let mut client = agent.containers();
    for container in args.containers {
        let asked = v1::StopContainerRequest { container: container.clone(), timeout_s: args.timeout, signal: args.signal.clone() };
        answer(client.stop(Request::new(asked))).await?;
        line(container)?;
    }
    Ok(std::process::ExitCode::SUCCESS)
}
