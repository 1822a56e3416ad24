//! `rconctl network ls`

use clap::Args as ClapArgs;
use rcon_proto::v1;
use rcon_types::id::NetworkKind;

use super::view;
use crate::{
    connect::{Agent, answer},
    output::{Column, ListFormat, list},
    reference::id_text,
    report::Outcome,
};

/// Example: rconctl network ls --format '{{.Name}}'
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    format: ListFormat,
}

/// Runs the verb: the host's own networks and, where this host is a manager, all of the cluster's.
pub async fn run(args: Args, agent: &Agent) -> Outcome {
    let no_trunc = args.format.no_trunc;
    let info = answer(agent.system().info(v1::InfoRequest {})).await?;
    let cluster = if info.role == i32::from(v1::Role::Manager) {
        answer(agent.control().list_networks(v1::ListNetworksRequest {})).await?.networks
    } else {
        Vec::new()
    };
    let host = answer(agent.host_networks().list(v1::ListHostNetworksRequest {})).await?.networks;
    let known: Vec<String> = cluster.iter().map(|network| id_text::<NetworkKind>(&network.id)).collect();
    let mut rows: Vec<_> = cluster.iter().map(|network| view::cluster_row(network, no_trunc)).collect();
    rows.extend(host.iter().filter(|network| !known.contains(&network.id)).map(|network| view::host_row(network, no_trunc)));
    rows.sort_by_key(|row| row["Name"].to_string());
    list(&args.format, &[Column("NETWORK ID", "ID"), Column("NAME", "Name"), Column("DRIVER", "Driver"), Column("SCOPE", "Scope")], &rows)
}
