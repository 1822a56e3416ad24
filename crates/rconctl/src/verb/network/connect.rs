//! `rconctl network connect`

use std::process::ExitCode;

use clap::Args as ClapArgs;
use rcon_proto::v1;

use crate::{
    connect::{Agent, answer},
    output::warnings,
    reference::optional_ip,
    report::Outcome,
};

/// Example: rconctl network connect --alias db backend web
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Name or id of the network
    network: String,
    /// Name or id of the container
    container: String,
    /// One more name on that network (repeatable)
    #[arg(long)]
    alias: Vec<String>,
    /// IPv4 address
    #[arg(long)]
    ip: Option<std::net::Ipv4Addr>,
    /// IPv6 address
    #[arg(long)]
    ip6: Option<std::net::Ipv6Addr>,
}

/// Runs the verb.
pub async fn run(args: Args, agent: &Agent) -> Outcome {
    let attachment = v1::NetworkAttachment {
        network: args.network,
        aliases: args.alias,
        ipv4: optional_ip(args.ip.map(Into::into)),
        ipv6: optional_ip(args.ip6.map(Into::into)),
    };
    let asked = v1::NetworkConnectRequest { container: args.container, attachment: Some(attachment) };
    let connected = answer(agent.containers().network_connect(asked)).await?;
    warnings(&connected.warnings);
    Ok(ExitCode::SUCCESS)
}
