//! `rconctl swarm ca`

use clap::Args as ClapArgs;
use rcon_proto::v1;

use crate::{
    connect::{Agent, answer},
    output::line,
    report::Outcome,
};

/// Example: rconctl swarm ca > root.pem
#[derive(Debug, ClapArgs)]
pub struct Args {}

/// Runs the verb.
pub async fn run(Args {}: Args, agent: &Agent) -> Outcome {
    let roots = answer(agent.swarm().root_certificates(v1::RootCertificatesRequest {})).await?;
    line(String::from_utf8_lossy(&roots.pem).trim_end())
}
