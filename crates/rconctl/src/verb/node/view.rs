//! A node as it is printed.

use rcon_proto::{convert, v1};
use rcon_types::id::NodeKind;
use serde_json::{Value, json};

use crate::reference::{id_text, ip_text, map_json, shorten, time_text};

fn rank_text(rank: i32) -> &'static str {
    match v1::ManagerRank::try_from(rank) {
        Ok(v1::ManagerRank::Leader) => "Leader",
        Ok(v1::ManagerRank::Reachable) => "Reachable",
        Ok(v1::ManagerRank::Unreachable) => "Unreachable",
        Ok(v1::ManagerRank::Learner) => "Learner",
        _ => "",
    }
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// The row of a node in `node ls`, with Docker's field names.
pub fn row(view: &v1::NodeView, no_trunc: bool) -> Value {
    let node = view.node.clone().unwrap_or_default();
    let description = node.description.unwrap_or_default();
    let id = id_text::<NodeKind>(&node.id);
    json!({
        "ID": if no_trunc { id } else { shorten(id, false) },
        "Self": view.is_self,
        "Mark": if view.is_self { "*" } else { "" },
        "Hostname": description.hostname,
        "Status": capitalised(&convert::node_state(node.state).to_string()),
        "Availability": capitalised(&convert::availability(node.availability).to_string()),
        "ManagerStatus": rank_text(view.rank),
        "EngineVersion": description.engine_version,
        "Address": description.control_address,
    })
}

/// All of a node, for `node inspect`.
pub fn object(view: &v1::NodeView) -> Value {
    let node = view.node.clone().unwrap_or_default();
    let description = node.description.unwrap_or_default();
    let address = if node.control_address_override.is_empty() { &description.control_address } else { &node.control_address_override };
    json!({
        "ID": id_text::<NodeKind>(&node.id),
        "Version": {"Index": node.version},
        "CreatedAt": time_text(node.created_ms),
        "Spec": {
            "Role": convert::role(node.role).map(|role| role.to_string()),
            "Availability": convert::availability(node.availability).to_string(),
            "Labels": map_json(&node.labels),
        },
        "Description": {
            "Hostname": description.hostname,
            "Architecture": description.architecture,
            "Kernel": description.kernel,
            "EngineVersion": description.engine_version,
            "FeatureLevel": description.feature_level,
            "DataAddress": ip_text(&description.data_address),
            "UnderlayMTU": description.underlay_mtu,
            "WireGuardPublicKey": hex::encode(&description.wireguard_public_key),
        },
        "Status": {
            "State": convert::node_state(node.state).to_string(),
            "Message": node.state_message,
            "Addr": address,
            "AppliedRevision": view.applied_revision,
            "LastBeatMs": view.last_beat_ms,
        },
        "TunnelAddress": ip_text(&node.vtep_address),
        "ManagerStatus": node.manager.map(|manager| json!({
            "RaftID": manager.raft_id,
            "Addr": manager.address,
            "Leader": view.rank == i32::from(v1::ManagerRank::Leader),
            "Reachability": rank_text(view.rank).to_lowercase(),
        })),
    })
}
