//! `rconctl network inspect`

use clap::Args as ClapArgs;
use rcon_proto::v1;
use rcon_types::FailureKind;
use serde_json::json;

use super::view;
use crate::{
    connect::{Agent, answer},
    output::{InspectFormat, inspect},
    report::Outcome,
};

/// Example: rconctl network inspect backend
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Names or ids
    #[arg(required = true)]
    networks: Vec<String>,
    #[command(flatten)]
    format: InspectFormat,
}

/// Runs the verb: what the cluster knows, where this host is a manager, and under `Host` what the host has.
pub async fn run(args: Args, agent: &Agent) -> Outcome {
    let info = answer(agent.system().info(v1::InfoRequest {})).await?;
    let is_manager = info.role == i32::from(v1::Role::Manager);
    let mut objects = Vec::new();
    for network in args.networks {
        let asked = v1::InspectHostNetworkRequest { network: network.clone() };
        let host = answer(agent.host_networks().inspect(asked)).await;
        let cluster = if is_manager {
            match answer(agent.control().inspect_network(v1::NetworkReference { network })).await {
                Ok(view) => Some(view),
                // A network of this host alone.
                Err(report) if report.kind() == FailureKind::NotFound && host.is_ok() => None,
                Err(report) => return Err(report),
            }
        } else {
            None
        };
        objects.push(match (cluster, host) {
            (Some(cluster), host) => {
                let mut object = view::cluster_object(&cluster);
                object["Host"] = host.map_or(serde_json::Value::Null, |host| view::host_object(&host));
                object
            }
            (None, host) => {
                let host = host?;
                let named = host.network.clone().unwrap_or_default();
                json!({"Name": named.name, "Id": named.id, "Driver": named.driver, "Scope": named.scope, "Encrypted": named.encrypted, "Host": view::host_object(&host)})
            }
        });
    }
    inspect(&args.format, objects)
}
