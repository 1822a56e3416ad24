//! Endpoints as the API shows them: what the container holds, filled in from the assignments.

use std::net::IpAddr;

use rcon_proto::{convert, v1};
use rcon_types::{ContainerId, ContainerName};

use crate::attachments::Attached;

/// A container's place on one network. What the assignments do not say (yet) is empty.
#[must_use]
pub fn endpoint(set: &v1::Assignments, name: &ContainerName, container: &ContainerId, attached: &Attached) -> v1::EndpointView {
    let network_id = attached.network_id.to_bytes();
    let endpoint_id = attached.endpoint_id.to_bytes();
    let assignment = set.networks.iter().find(|a| a.network.as_ref().is_some_and(|n| n.id[..] == network_id[..]));
    let network = assignment.and_then(|a| a.network.clone()).unwrap_or_default();
    let endpoint = assignment.and_then(|a| a.endpoints.iter().find(|e| e.id[..] == endpoint_id[..])).cloned().unwrap_or_default();
    let subnet = |bytes: usize| {
        network.subnets.iter().find(|s| s.prefix.as_ref().is_some_and(|p| p.address.len() == bytes)).cloned().unwrap_or_default()
    };
    let (v4, v6) = (subnet(4), subnet(16));
    let mut names = vec![name.to_string(), container.short()];
    names.extend(attached.request.aliases.iter().cloned());
    names.dedup();
    v1::EndpointView {
        network: attached.network_name.clone(),
        network_id: network_id.to_vec().into(),
        endpoint_id: endpoint_id.to_vec().into(),
        ipv4_length: v4.prefix.map_or(0, |p| p.length),
        ipv4_gateway: if endpoint.ipv4.is_empty() { Default::default() } else { v4.gateway },
        ipv6_length: if endpoint.ipv6.is_empty() { 0 } else { v6.prefix.map_or(0, |p| p.length) },
        ipv6_gateway: if endpoint.ipv6.is_empty() { Default::default() } else { v6.gateway },
        ipv4: endpoint.ipv4,
        ipv6: endpoint.ipv6,
        mac: endpoint.mac,
        names,
        interface: attached.interface_name(),
    }
}

/// The addresses of a place.
pub fn addresses(endpoint: &v1::EndpointView) -> impl Iterator<Item = IpAddr> {
    [&endpoint.ipv4, &endpoint.ipv6].into_iter().filter_map(|bytes| convert::ip("address", bytes).ok().flatten())
}
