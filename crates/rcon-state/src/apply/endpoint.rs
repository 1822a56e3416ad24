//! Operations on endpoints: the leases of containers' places on networks.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use ipnet::IpNet;
use rcon_proto::{convert, v1};
use rcon_types::{EndpointId, MacAddr, NetworkId};

use super::{Done, Transition, removed};
use crate::{ObjectKey, allocate::AddressSpace, error::Refusal, index::EndpointIds, validate};

impl Transition {
    pub(super) fn create_endpoint(&mut self, endpoint: &v1::Endpoint) -> Done {
        let ids = EndpointIds::of(endpoint)?;
        validate::endpoint_names(endpoint)?;
        let network = self.state.networks.get(&ids.network).cloned();
        let network = network.ok_or_else(|| Refusal::not_found(format!("there is no network {}", ids.network)))?;
        if !self.state.nodes.contains_key(&ids.node) {
            return Err(Refusal::not_found(format!("there is no node {}", ids.node)).into());
        }
        if self.state.endpoints.contains_key(&ids.endpoint) {
            return Err(Refusal::already_exists(format!("endpoint {} exists already", ids.endpoint)).into());
        }
        self.check_name(ids.network, &network, &endpoint.name)?;
        let ipv4: Option<IpAddr> = convert::ipv4("endpoint.ipv4", &endpoint.ipv4)?.map(Into::into);
        let ipv6: Option<IpAddr> = convert::ipv6("endpoint.ipv6", &endpoint.ipv6)?.map(Into::into);
        let ipv4 = self.address(ids.network, &network, Family::V4(ipv4))?;
        let ipv6 = self.address(ids.network, &network, Family::V6(ipv6))?;
        let mac = MacAddr::for_ip(ipv4.or(ipv6).ok_or_else(|| Refusal::exhausted("the network has no addresses"))?);
        if !endpoint.mac.is_empty() && convert::mac("endpoint.mac", &endpoint.mac)? != mac {
            let refusal = Refusal::invalid("a MAC address on an overlay is a function of the IP address");
            return Err(refusal.hint(format!("leave it out; here it is {mac}")).into());
        }
        let bytes = |address: Option<IpAddr>| address.map_or_else(Bytes::new, convert::ip_bytes);
        let endpoint = v1::Endpoint {
            version: self.index,
            ipv4: bytes(ipv4),
            ipv6: bytes(ipv6),
            mac: Bytes::copy_from_slice(&mac.0),
            ..endpoint.clone()
        };
        self.state.index.insert_endpoint(ids, &endpoint);
        self.state.endpoints.insert(ids.endpoint, Arc::new(endpoint.clone()));
        self.dirty.keys.insert(ObjectKey::Endpoint(ids.endpoint));
        self.interest_network(ids.network);
        Ok(v1::written::Object::Endpoint(endpoint))
    }

    pub(super) fn remove_endpoint(&mut self, id: &[u8]) -> Done {
        let id: EndpointId = convert::id("endpoint_id", id)?;
        let endpoint = self.state.endpoints.get(&id).cloned().ok_or_else(|| Refusal::not_found(format!("there is no endpoint {id}")))?;
        self.drop_endpoint(EndpointIds::of(&endpoint)?);
        Ok(removed(ObjectKey::Endpoint(id)))
    }

    fn check_name(&self, id: NetworkId, network: &v1::Network, name: &str) -> Result<(), Refusal> {
        let Some(other) = self.state.index.endpoint_names.get(&(id, name.to_ascii_lowercase())) else { return Ok(()) };
        let node = self.state.endpoint(*other).and_then(|e| convert::id("node_id", &e.node_id).ok()).and_then(|node| self.state.node(node));
        let hostname = node.and_then(|n| n.description.as_ref()).map_or("?", |d| d.hostname.as_str());
        let network = network.spec.as_ref().map_or("", |s| s.name.as_str());
        let refusal = Refusal::already_exists(format!("the name `{name}` is taken on network `{network}` by a container on {hostname}"));
        Err(refusal.hint("choose another name, or remove that container; aliases may repeat"))
    }

    /// The endpoint's address of one family: the one asked for, an allocated one, or none where the network has no such subnet.
    fn address(&mut self, id: NetworkId, network: &v1::Network, family: Family) -> Result<Option<IpAddr>, Refusal> {
        let name = network.spec.as_ref().map_or("", |s| s.name.as_str());
        let Some(space) = space(network, family)? else {
            return match family.asked() {
                Some(asked) => Err(Refusal::invalid(format!("network `{name}` has no subnet for {asked}"))),
                None => Ok(None),
            };
        };
        if let Some(asked) = family.asked() {
            validate::within("address", asked, space.prefix)?;
            if !space.is_usable(asked) {
                return Err(Refusal::invalid(format!("{asked} is the network, broadcast or gateway address of {}", space.prefix)));
            }
            if self.state.endpoint_by_address(id, asked).is_some() {
                return Err(
                    Refusal::already_exists(format!("address {asked} is taken on network `{name}`")).hint("choose another, or none")
                );
            }
            return Ok(Some(asked));
        }
        let mut cursor = self.state.cursors.get(&id).copied().unwrap_or_default();
        let last: Option<IpAddr> = match family {
            Family::V4(_) => cursor.ipv4.map(Into::into),
            Family::V6(_) => cursor.ipv6.map(Into::into),
        };
        let found = space.allocate(last, |address| self.state.endpoint_by_address(id, address).is_some());
        let found = found.ok_or_else(|| Refusal::exhausted(format!("all addresses of {} on network `{name}` are taken", space.range)))?;
        match found {
            IpAddr::V4(address) => cursor.ipv4 = Some(address),
            IpAddr::V6(address) => cursor.ipv6 = Some(address),
        }
        self.state.cursors.insert(id, cursor);
        Ok(Some(found))
    }
}

/// Which address, and the one asked for.
#[derive(Debug, Clone, Copy)]
enum Family {
    V4(Option<IpAddr>),
    V6(Option<IpAddr>),
}

impl Family {
    fn asked(self) -> Option<IpAddr> {
        let (Self::V4(asked) | Self::V6(asked)) = self;
        asked
    }
}

/// Where a network's addresses of a family come from.
fn space(network: &v1::Network, family: Family) -> Result<Option<AddressSpace>, Refusal> {
    for subnet in &network.subnets {
        let prefix: IpNet = validate::prefix("prefix", subnet.prefix.as_ref())?;
        if prefix.addr().is_ipv4() == matches!(family, Family::V4(_)) {
            let range = match &subnet.range {
                Some(range) => validate::prefix("range", Some(range))?,
                None => prefix,
            };
            return Ok(Some(AddressSpace { prefix, range, gateway: convert::ip("gateway", &subnet.gateway)? }));
        }
    }
    Ok(None)
}
