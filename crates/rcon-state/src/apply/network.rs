//! Operations on networks.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use rcon_proto::{convert, v1};
use rcon_types::{NetworkId, NetworkName};

use super::{Done, Transition, removed};
use crate::{
    ObjectKey,
    allocate::{self, AddressSpace},
    error::Refusal,
    limits::{IPV6_SUBNET_LENGTH, LONGEST_IPV4_SUBNET, LONGEST_IPV6_SUBNET, MAX_MTU, MIN_MTU, SHORTEST_IPV4_SUBNET, SHORTEST_IPV6_SUBNET},
    validate,
};

/// How many endpoints a refusal to remove a network names.
const NAMED_ENDPOINTS: usize = 8;

impl Transition {
    pub(super) fn create_network(&mut self, network: &v1::Network) -> Done {
        let cluster = self.cluster()?;
        let id: NetworkId = convert::id("network.id", &network.id)?;
        let spec = network.spec.as_ref().ok_or_else(|| Refusal::invalid("field `spec` is missing"))?;
        check_spec(spec)?;
        if self.state.networks.contains_key(&id) {
            return Err(Refusal::already_exists(format!("network {id} exists already")).into());
        }
        if let Some(other) = self.state.network_by_name(&spec.name) {
            return Err(Refusal::already_exists(format!("network `{}` exists already ({})", spec.name, other.short())).into());
        }
        if network.vni != 0 || !network.subnets.is_empty() {
            return Err(Refusal::invalid("a network's VNI and subnets are allocated; ask for subnets in its spec").into());
        }
        let subnets = self.subnets(&cluster, spec)?;
        let in_use = |vni: rcon_types::Vni| self.state.index.vnis.contains_key(&vni.get());
        let vni =
            allocate::vni(self.state.next_vni, in_use).ok_or_else(|| Refusal::exhausted("all VXLAN network identifiers are taken"))?;
        self.state.next_vni = allocate::following_vni(vni);
        let network = v1::Network { version: self.index, vni: vni.get(), subnets, ..network.clone() };
        self.state.index.insert_network(id, &network);
        self.state.networks.insert(id, Arc::new(network.clone()));
        self.dirty.keys.insert(ObjectKey::Network(id));
        Ok(v1::written::Object::Network(network))
    }

    pub(super) fn remove_network(&mut self, id: &[u8]) -> Done {
        let id: NetworkId = convert::id("network_id", id)?;
        let network = self.state.networks.get(&id).cloned().ok_or_else(|| Refusal::not_found(format!("there is no network {id}")))?;
        self.check_unused(id, &network)?;
        self.state.networks.remove(&id);
        self.state.index.remove_network(&network);
        self.state.cursors.remove(&id);
        self.dirty.keys.insert(ObjectKey::Network(id));
        Ok(removed(ObjectKey::Network(id)))
    }

    fn check_unused(&self, id: NetworkId, network: &v1::Network) -> Result<(), Refusal> {
        let mut named: Vec<String> = Vec::new();
        let mut count = 0_usize;
        for (_, endpoint) in self.state.endpoints_of_network(id) {
            count += 1;
            if named.len() < NAMED_ENDPOINTS {
                let node = convert::id("node_id", &endpoint.node_id).ok().and_then(|node| self.state.node(node));
                let hostname = node.and_then(|n| n.description.as_ref()).map_or("?", |d| d.hostname.as_str());
                named.push(format!("`{}` on {hostname}", endpoint.name));
            }
        }
        if count == 0 {
            return Ok(());
        }
        if count > named.len() {
            named.push(format!("{} more", count - named.len()));
        }
        let name = network.spec.as_ref().map_or("", |s| s.name.as_str());
        Err(Refusal::in_use(format!("network `{name}` is in use by {}", named.join(", ")))
            .hint("disconnect or remove these containers first"))
    }

    /// The subnets of a new network: those asked for, and allocated ones for the families that are missing.
    fn subnets(&self, cluster: &v1::Cluster, spec: &v1::NetworkSpec) -> Result<Vec<v1::Subnet>, Refusal> {
        let mut subnets: Vec<(IpNet, v1::Subnet)> = Vec::new();
        for wire in &spec.subnets {
            let (prefix, subnet) = check_subnet(wire)?;
            if subnets.iter().any(|(other, _)| other.addr().is_ipv4() == prefix.addr().is_ipv4()) {
                return Err(Refusal::invalid("a network has at most one IPv4 and one IPv6 subnet"));
            }
            if prefix.addr().is_ipv6() && !spec.ipv6 {
                return Err(Refusal::invalid(format!("{prefix} is IPv6, and the network is not")).hint("add --ipv6"));
            }
            self.check_free(cluster, prefix)?;
            subnets.push((prefix, subnet));
        }
        for ipv4 in [true, false] {
            if (ipv4 || spec.ipv6) && !subnets.iter().any(|(prefix, _)| prefix.addr().is_ipv4() == ipv4) {
                let prefix = self.allocate_subnet(cluster, ipv4)?;
                let wire = v1::Subnet { prefix: Some(convert::prefix_to_wire(prefix)), ..v1::Subnet::default() };
                subnets.push(check_subnet(&wire)?);
            }
        }
        subnets.sort_by_key(|(prefix, _)| *prefix);
        Ok(subnets.into_iter().map(|(_, subnet)| subnet).collect())
    }

    fn check_free(&self, cluster: &v1::Cluster, prefix: IpNet) -> Result<(), Refusal> {
        if let Some((other, network)) = self.state.index.overlapping(prefix) {
            let name = self.state.network(network).and_then(|n| n.spec.as_ref()).map_or("", |s| s.name.as_str());
            let refusal = Refusal::already_exists(format!("subnet {prefix} overlaps with {other} of network `{name}`"));
            return Err(refusal.hint("choose another subnet, or none to have one allocated"));
        }
        let vteps = validate::prefix("vtep_pool", cluster.vtep_pool.as_ref())?;
        if validate::overlap(prefix, vteps) {
            return Err(
                Refusal::invalid(format!("subnet {prefix} overlaps with the cluster's VTEP pool {vteps}")).hint("choose another subnet")
            );
        }
        Ok(())
    }

    fn allocate_subnet(&self, cluster: &v1::Cluster, ipv4: bool) -> Result<IpNet, Refusal> {
        let find =
            |pool: IpNet, length| allocate::subnet(pool, length, |candidate| self.state.index.overlapping(candidate).map(|(net, _)| net));
        let refusal = || {
            Refusal::exhausted("no subnet is left in the cluster's address pools").hint("name one with --subnet, or remove unused networks")
        };
        if !ipv4 {
            let pool = validate::prefix("ipv6_pool", cluster.ipv6_pool.as_ref())?;
            return find(pool, IPV6_SUBNET_LENGTH).ok_or_else(refusal);
        }
        let length = u8::try_from(cluster.subnet_length).unwrap_or(u8::MAX);
        for wire in &cluster.default_address_pools {
            if let Some(found) = find(validate::prefix("default_address_pools", Some(wire))?, length) {
                return Ok(found);
            }
        }
        Err(refusal())
    }
}

fn check_spec(spec: &v1::NetworkSpec) -> Result<(), Refusal> {
    spec.name.parse::<NetworkName>().map_err(|e| Refusal::invalid(e.to_string()))?;
    if ["host", "none", "bridge", "default"].contains(&spec.name.as_str()) {
        return Err(Refusal::already_exists(format!("`{}` is the name of a network that every host has", spec.name)));
    }
    if spec.driver != "overlay" {
        return Err(Refusal::invalid(format!("networks of driver `{}` are not cluster-wide", spec.driver)).hint("use --driver overlay"));
    }
    validate::labels("labels", &spec.labels)?;
    validate::labels("options", &spec.options)?;
    if spec.mtu != 0 && !(MIN_MTU..=MAX_MTU).contains(&spec.mtu) {
        return Err(Refusal::invalid(format!("an MTU of {} is not from {MIN_MTU} to {MAX_MTU}", spec.mtu)));
    }
    Ok(())
}

/// A subnet with its gateway filled in.
fn check_subnet(wire: &v1::Subnet) -> Result<(IpNet, v1::Subnet), Refusal> {
    let prefix = validate::prefix("subnet", wire.prefix.as_ref())?;
    let lengths = match prefix {
        IpNet::V4(_) => SHORTEST_IPV4_SUBNET..=LONGEST_IPV4_SUBNET,
        IpNet::V6(_) => SHORTEST_IPV6_SUBNET..=LONGEST_IPV6_SUBNET,
    };
    if !lengths.contains(&prefix.prefix_len()) || !validate::is_for_hosts(prefix) {
        let why = format!("lengths from {} to {} of private address space are possible", lengths.start(), lengths.end());
        return Err(Refusal::invalid(format!("{prefix} cannot be an overlay's subnet")).hint(why));
    }
    let range = match &wire.range {
        Some(range) => validate::prefix("range", Some(range))?,
        None => prefix,
    };
    if !prefix.contains(&range) {
        return Err(Refusal::invalid(format!("range {range} is not in subnet {prefix}")));
    }
    let asked: Option<IpAddr> = convert::ip("gateway", &wire.gateway)?;
    let gateway =
        asked.or_else(|| allocate::first_host(prefix)).ok_or_else(|| Refusal::invalid(format!("{prefix} has no room for a gateway")))?;
    validate::within("gateway", gateway, prefix)?;
    if !(AddressSpace { prefix, range, gateway: None }).is_usable(gateway) {
        return Err(Refusal::invalid(format!("{gateway} is the network or broadcast address of {prefix} and cannot be its gateway")));
    }
    Ok((prefix, v1::Subnet { gateway: convert::ip_bytes(gateway), ..wire.clone() }))
}
