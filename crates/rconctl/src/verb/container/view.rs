//! A container as it is printed.

use rcon_proto::v1;
use rcon_types::id::{EndpointKind, NetworkKind};
use serde_json::{Value, json};

use crate::reference::{age_text, id_text, ip_text, mac_text, map_json, shorten, time_text};

/// The word for a state, as Docker has it.
pub fn state_text(state: i32) -> &'static str {
    match v1::ContainerState::try_from(state) {
        Ok(v1::ContainerState::Created) => "created",
        Ok(v1::ContainerState::Running) => "running",
        Ok(v1::ContainerState::Exited) => "exited",
        Ok(v1::ContainerState::Removing) => "removing",
        Ok(v1::ContainerState::Dead) => "dead",
        _ => "unknown",
    }
}

fn status_text(container: &v1::ContainerView) -> String {
    match v1::ContainerState::try_from(container.state) {
        Ok(v1::ContainerState::Running) => format!("Up {}", age_text(container.started_ms).trim_end_matches(" ago")),
        Ok(v1::ContainerState::Exited) => format!("Exited ({}) {}", container.exit_code, age_text(container.finished_ms)),
        Ok(v1::ContainerState::Created) => "Created".to_owned(),
        _ => state_text(container.state).to_owned(),
    }
}

/// The row of a container in `ps`, with Docker's field names.
pub fn row(container: &v1::ContainerView, no_trunc: bool) -> Value {
    let command = container.command.join(" ");
    let command = if no_trunc || command.chars().count() <= 30 { command } else { command.chars().take(29).chain(['…']).collect() };
    json!({
        "ID": shorten(container.id.clone(), no_trunc),
        "Image": container.image,
        "Command": format!("\"{command}\""),
        "CreatedAt": time_text(container.created_ms),
        "RunningFor": age_text(container.created_ms),
        "State": state_text(container.state),
        "Status": status_text(container),
        "Networks": container.endpoints.iter().map(|e| e.network.as_str()).collect::<Vec<_>>().join(","),
        "Names": container.name,
    })
}

/// All of a container, for `inspect`, with Docker's field names.
pub fn object(container: &v1::ContainerView) -> Value {
    let networks: serde_json::Map<String, Value> =
        container.endpoints.iter().map(|endpoint| (endpoint.network.clone(), endpoint_object(endpoint))).collect();
    json!({
        "Id": container.id,
        "Name": container.name,
        "Created": time_text(container.created_ms),
        "State": {
            "Status": state_text(container.state),
            "Running": container.state == i32::from(v1::ContainerState::Running),
            "OOMKilled": container.oom_killed,
            "Pid": container.pid,
            "ExitCode": container.exit_code,
            "Error": container.error,
            "StartedAt": time_text(container.started_ms),
            "FinishedAt": time_text(container.finished_ms),
        },
        "Image": container.image_id,
        "LogPath": container.log_path,
        "HostConfig": {"AutoRemove": container.auto_remove},
        "Config": {
            "Image": container.image,
            "Cmd": container.command,
            "Env": container.env,
            "Hostname": container.hostname,
            "Tty": container.tty,
            "Labels": map_json(&container.labels),
        },
        "NetworkSettings": {"Networks": networks},
    })
}

fn endpoint_object(endpoint: &v1::EndpointView) -> Value {
    json!({
        "NetworkID": id_text::<NetworkKind>(&endpoint.network_id),
        "EndpointID": id_text::<EndpointKind>(&endpoint.endpoint_id),
        "IPAddress": ip_text(&endpoint.ipv4),
        "IPPrefixLen": endpoint.ipv4_length,
        "Gateway": ip_text(&endpoint.ipv4_gateway),
        "GlobalIPv6Address": ip_text(&endpoint.ipv6),
        "GlobalIPv6PrefixLen": endpoint.ipv6_length,
        "IPv6Gateway": ip_text(&endpoint.ipv6_gateway),
        "MacAddress": mac_text(&endpoint.mac),
        "DNSNames": endpoint.names,
        "Interface": endpoint.interface,
    })
}
