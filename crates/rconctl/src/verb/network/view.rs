//! A network as it is printed.

use std::collections::BTreeMap;

use rcon_proto::v1;
use rcon_types::id::{EndpointKind, NetworkKind, NodeKind};
use serde_json::{Value, json};

use crate::reference::{id_text, ip_text, mac_text, map_json, prefix_text, shorten, time_text};

/// The row of a cluster-wide network in `network ls`.
pub fn cluster_row(network: &v1::Network, no_trunc: bool) -> Value {
    let spec = network.spec.clone().unwrap_or_default();
    json!({
        "ID": shorten(id_text::<NetworkKind>(&network.id), no_trunc),
        "Name": spec.name,
        "Driver": spec.driver,
        "Scope": "swarm",
        "Encrypted": spec.encrypted,
    })
}

/// The row of one of this host's networks.
pub fn host_row(network: &v1::HostNetwork, no_trunc: bool) -> Value {
    json!({
        "ID": shorten(network.id.clone(), no_trunc),
        "Name": network.name,
        "Driver": network.driver,
        "Scope": network.scope,
        "Encrypted": network.encrypted,
    })
}

/// What the cluster knows of a network, with Docker's field names.
pub fn cluster_object(view: &v1::NetworkView) -> Value {
    let network = view.network.clone().unwrap_or_default();
    let spec = network.spec.unwrap_or_default();
    let hostnames: BTreeMap<&[u8], String> =
        view.nodes.iter().map(|node| (&node.id[..], node.description.as_ref().map(|d| d.hostname.clone()).unwrap_or_default())).collect();
    let length =
        |v6: bool| network.subnets.iter().filter_map(|s| s.prefix.as_ref()).find(|p| (p.address.len() == 16) == v6).map_or(0, |p| p.length);
    let with_length = |bytes: &[u8]| match bytes.len() {
        0 => String::new(),
        n => format!("{}/{}", ip_text(bytes), length(n == 16)),
    };
    let containers: serde_json::Map<String, Value> = view
        .endpoints
        .iter()
        .map(|endpoint| {
            let shown = json!({
                "Name": endpoint.name,
                "EndpointID": id_text::<EndpointKind>(&endpoint.id),
                "MacAddress": mac_text(&endpoint.mac),
                "IPv4Address": with_length(&endpoint.ipv4),
                "IPv6Address": with_length(&endpoint.ipv6),
                "Aliases": endpoint.aliases,
                "Node": hostnames.get(&endpoint.node_id[..]).cloned().unwrap_or_default(),
            });
            (endpoint.container_id.clone(), shown)
        })
        .collect();
    let nodes: Vec<Value> = view
        .nodes
        .iter()
        .zip(view.applied_revisions.iter().copied().chain(std::iter::repeat(0)))
        .map(|(node, revision)| json!({"ID": id_text::<NodeKind>(&node.id), "Hostname": hostnames.get(&node.id[..]), "AppliedRevision": revision}))
        .collect();
    let subnets: Vec<Value> = network
        .subnets
        .iter()
        .map(|subnet| json!({"Subnet": prefix_text(subnet.prefix.as_ref()), "Gateway": ip_text(&subnet.gateway)}))
        .collect();
    json!({
        "Name": spec.name,
        "Id": id_text::<NetworkKind>(&network.id),
        "Created": time_text(network.created_ms),
        "Scope": "swarm",
        "Driver": spec.driver,
        "EnableIPv6": spec.ipv6,
        "Internal": spec.internal,
        "Attachable": spec.attachable,
        "Encrypted": spec.encrypted,
        "VNI": network.vni,
        "MTU": view.mtu,
        "IPAM": {"Config": subnets},
        "Labels": map_json(&spec.labels),
        "Options": map_json(&spec.options),
        "Revision": view.revision,
        "Containers": containers,
        "Nodes": nodes,
    })
}

/// What this host's kernel has of a network.
pub fn host_object(view: &v1::HostNetworkView) -> Value {
    let peers: Vec<Value> = view
        .tunnel_peers
        .iter()
        .map(|peer| {
            json!({
                "Hostname": peer.hostname,
                "Endpoint": peer.endpoint,
                "LastHandshake": if peer.last_handshake_ms == 0 { Value::Null } else { time_text(peer.last_handshake_ms).into() },
                "RxBytes": peer.rx_bytes,
                "TxBytes": peer.tx_bytes,
                "Dropped": peer.dropped,
            })
        })
        .collect();
    json!({
        "Backend": view.backend,
        "MTU": view.mtu,
        "Revision": view.revision,
        "AppliedRevision": view.applied_revision,
        "Problems": view.problems,
        "TunnelPeers": peers,
    })
}
