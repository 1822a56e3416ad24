//! Operations on the cluster object.

use std::sync::Arc;

use ipnet::IpNet;
use rcon_proto::{convert, v1};
use rcon_types::{ClusterId, id};

use super::{Done, Halt, Transition};
use crate::{
    ApplyError, ObjectKey,
    error::Refusal,
    limits::{FEATURE_LEVEL, IPV6_POOL_LENGTH, LONGEST_IPV4_SUBNET, MAX_ROOT_CERTIFICATES, SHORTEST_IPV4_SUBNET},
    validate,
};

impl Transition {
    pub(super) fn init_cluster(&mut self, cluster: &v1::Cluster) -> Done {
        if self.state.cluster.is_some() || !self.state.nodes.is_empty() {
            return Err(Refusal::already_exists("the cluster is initialised already").into());
        }
        check(cluster)?;
        self.check_feature_level(cluster.feature_level)?;
        self.initialised = true;
        Ok(self.write_cluster(cluster))
    }

    pub(super) fn put_cluster(&mut self, cluster: &v1::Cluster) -> Done {
        let old = self.cluster()?;
        check(cluster)?;
        if cluster.id != old.id || cluster.created_ms != old.created_ms || cluster.ipv6_pool != old.ipv6_pool {
            return Err(Refusal::invalid("the cluster's id, creation time and IPv6 pool never change").into());
        }
        if cluster.epoch < old.epoch || cluster.feature_level < old.feature_level {
            return Err(Refusal::invalid("the cluster's epoch and feature level never go back").into());
        }
        let (pool, old_pool) =
            (validate::prefix("vtep_pool", cluster.vtep_pool.as_ref())?, validate::prefix("vtep_pool", old.vtep_pool.as_ref())?);
        if !pool.contains(&old_pool) {
            return Err(Refusal::invalid(format!("the VTEP pool {old_pool} can be extended, not replaced by {pool}")).into());
        }
        if let Some((subnet, _)) = self.state.index.overlapping(pool) {
            return Err(Refusal::in_use(format!("the VTEP pool {pool} overlaps with subnet {subnet}")).into());
        }
        self.check_feature_level(cluster.feature_level)?;
        Ok(self.write_cluster(cluster))
    }

    /// A level that a manager does not support is refused; one that they all claim but this binary does not have stops it.
    fn check_feature_level(&self, level: u32) -> Result<(), Halt> {
        let behind = self.state.managers().find(|(_, node)| node.description.as_ref().is_none_or(|d| d.feature_level < level));
        if let Some((_, node)) = behind {
            let hostname = node.description.as_ref().map_or("", |d| d.hostname.as_str());
            let refusal = Refusal::invalid(format!("manager `{hostname}` does not support feature level {level}"));
            return Err(refusal.hint("upgrade rcond on every manager first").into());
        }
        if level > FEATURE_LEVEL {
            return Err(Halt::Stop(ApplyError::FeatureLevel { index: self.index, level }));
        }
        Ok(())
    }

    fn write_cluster(&mut self, cluster: &v1::Cluster) -> v1::written::Object {
        let cluster = v1::Cluster { version: self.index, ..cluster.clone() };
        self.state.cluster = Some(Arc::new(cluster.clone()));
        self.dirty.keys.insert(ObjectKey::Cluster);
        self.dirty.everyone = true;
        v1::written::Object::Cluster(cluster)
    }
}

/// What must hold of every cluster object.
fn check(cluster: &v1::Cluster) -> Result<(), Refusal> {
    convert::id::<id::ClusterKind>("cluster.id", &cluster.id).map(|_: ClusterId| ())?;
    let pools = pools(cluster)?;
    let vtep_pool = validate::prefix("vtep_pool", cluster.vtep_pool.as_ref())?;
    if !matches!(vtep_pool, IpNet::V4(_)) || vtep_pool.prefix_len() > LONGEST_IPV4_SUBNET || !validate::is_for_hosts(vtep_pool) {
        return Err(Refusal::invalid(format!("{vtep_pool} cannot be the pool of VTEP addresses"))
            .hint("take a private IPv4 prefix of at most 30 bits"));
    }
    if let Some(pool) = pools.iter().find(|pool| validate::overlap(**pool, vtep_pool)) {
        return Err(Refusal::invalid(format!("address pool {pool} overlaps with the VTEP pool {vtep_pool}")));
    }
    let ipv6_pool = validate::prefix("ipv6_pool", cluster.ipv6_pool.as_ref())?;
    let is_ula = matches!(ipv6_pool, IpNet::V6(net) if net.network().segments()[0] & 0xfe00 == 0xfc00);
    if !is_ula || ipv6_pool.prefix_len() != IPV6_POOL_LENGTH {
        return Err(Refusal::invalid(format!("{ipv6_pool} is not a /{IPV6_POOL_LENGTH} of unique local addresses")));
    }
    let ports = [cluster.data_path_port, cluster.encrypted_port];
    if ports[0] == ports[1] || ports.iter().any(|port| u16::try_from(*port).unwrap_or(0) == 0) {
        return Err(Refusal::invalid("the two UDP ports of overlays are different and from 1 to 65535"));
    }
    if cluster.root_certificates_pem.len() > MAX_ROOT_CERTIFICATES || cluster.ca_key_pkcs8.len() > MAX_ROOT_CERTIFICATES {
        return Err(Refusal::invalid("the cluster's root certificates or key are too large"));
    }
    Ok(())
}

/// The pools of overlay subnets, checked.
fn pools(cluster: &v1::Cluster) -> Result<Vec<IpNet>, Refusal> {
    let mut pools: Vec<IpNet> = Vec::new();
    let length = u8::try_from(cluster.subnet_length).unwrap_or(u8::MAX);
    for wire in &cluster.default_address_pools {
        let pool = validate::prefix("default_address_pools", Some(wire))?;
        if !matches!(pool, IpNet::V4(_)) || !validate::is_for_hosts(pool) {
            return Err(Refusal::invalid(format!("{pool} cannot be a pool of overlay subnets")).hint("take a private IPv4 prefix"));
        }
        if length < pool.prefix_len() || !(SHORTEST_IPV4_SUBNET..=LONGEST_IPV4_SUBNET).contains(&length) {
            let why = format!("lengths from {SHORTEST_IPV4_SUBNET} to {LONGEST_IPV4_SUBNET} are possible");
            return Err(Refusal::invalid(format!("subnets of {} bits do not fit into pool {pool}", cluster.subnet_length)).hint(why));
        }
        if let Some(other) = pools.iter().find(|other| validate::overlap(**other, pool)) {
            return Err(Refusal::invalid(format!("address pools {other} and {pool} overlap")));
        }
        pools.push(pool);
    }
    if pools.is_empty() {
        return Err(Refusal::invalid("there is no pool of overlay subnets"));
    }
    Ok(pools)
}
