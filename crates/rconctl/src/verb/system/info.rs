//! `rconctl info`

use clap::Args as ClapArgs;
use rcon_proto::{convert, v1};
use rcon_types::id::{ClusterKind, NodeKind};
use serde_json::json;

use crate::{
    connect::{Agent, answer},
    output::{InspectFormat, inspect, line},
    reference::id_text,
    report::Outcome,
};

/// Example: rconctl info --format '{{.Swarm.NodeID}}'
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    format: InspectFormat,
}

/// Runs the verb.
pub async fn run(args: Args, agent: &Agent) -> Outcome {
    let info = answer(agent.system().info(v1::InfoRequest {})).await?;
    let role = convert::role(info.role);
    let object = json!({
        "Name": info.hostname,
        "ServerVersion": info.version,
        "DataDir": info.data_dir,
        "Pid": info.pid,
        "Containers": info.containers,
        "ContainersRunning": info.containers_running,
        "Images": info.images,
        "Driver": info.storage_driver,
        "CgroupVersion": info.cgroup_version,
        "KernelVersion": info.kernel,
        "Warnings": info.warnings,
        "Swarm": {
            "LocalNodeState": if info.node_id.is_empty() { "inactive" } else { "active" },
            "NodeID": id_text::<NodeKind>(&info.node_id),
            "ClusterID": id_text::<ClusterKind>(&info.cluster_id),
            "Role": role.map(|role| role.to_string()),
            "ControlAvailable": role == Some(rcon_types::Role::Manager),
            "NodeAddr": info.control_address,
            "RemoteManagers": info.manager_addresses,
            "Connected": info.connected,
            "Revision": info.revision,
            "AppliedRevision": info.applied_revision,
        },
    });
    if args.format.format.is_some() {
        return match args.format.format.as_deref() {
            Some("json") => line(object),
            _ => inspect(&args.format, vec![object]),
        };
    }
    line(serde_json::to_string_pretty(&object).unwrap_or_default())
}
