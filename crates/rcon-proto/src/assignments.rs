//! What changed between two sets of a node's assignments, and how the node takes the change in.
//!
//! A manager keeps the set it last sent on a session and sends [`delta`] to the next one; the node applies it with
//! [`apply_delta`] to the set in its ledger. In flow two sets, or a set and a delta; out flows a delta, or the new set. Both sides
//! keep their sets in the order of [`sort`], so that equal sets are equal messages. Nothing here knows the replicated state.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use thiserror::Error;

use crate::v1;

/// Why a delta does not fit the set that the node has. The remedy is always the same: ask for a full set.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refused {
    /// The delta comes from another life of the cluster (`swarm recover` raises the epoch).
    #[error("the change is of cluster epoch {got}, the set of epoch {have}")]
    Epoch {
        /// The set's.
        have: u64,
        /// The delta's.
        got: u64,
    },
    /// The delta starts from a revision that the set does not have.
    #[error("the change starts from revision {from}, the set is of revision {have}")]
    Base {
        /// The set's.
        have: u64,
        /// Where the delta starts.
        from: u64,
    },
    /// The delta ends before the set.
    #[error("the change leads back to revision {got} from {have}")]
    Older {
        /// The set's.
        have: u64,
        /// Where the delta ends.
        got: u64,
    },
    /// An endpoint, or an MTU, of a network that the node would not have.
    #[error("the change names a network that is not assigned")]
    UnknownNetwork,
}

/// Brings a set into the one order: networks, their endpoints, peers and managers by id.
pub fn sort(set: &mut v1::Assignments) {
    set.networks.sort_by(|a, b| network_id(a).cmp(network_id(b)));
    for network in &mut set.networks {
        network.endpoints.sort_by(|a, b| a.id.cmp(&b.id));
    }
    set.peers.sort_by(|a, b| a.node_id.cmp(&b.node_id));
    set.managers.sort_by(|a, b| a.node_id.cmp(&b.node_id));
}

/// The change that leads from `old` to `new`, two sets of the same node and epoch.
///
/// A node never forgets the last manager or itself: where `new` has no managers, no node or no cluster, the delta leaves the old ones.
#[must_use]
pub fn delta(old: &v1::Assignments, new: &v1::Assignments) -> v1::AssignmentsDelta {
    let mut out = v1::AssignmentsDelta { epoch: new.epoch, revision: new.revision, from_revision: old.revision, ..Default::default() };
    if old.node != new.node {
        out.node = new.node.clone();
    }
    if old.cluster != new.cluster {
        out.cluster = new.cluster.clone();
    }
    if old.managers != new.managers {
        out.managers = new.managers.clone();
    }
    peers(old, new, &mut out);
    networks(old, new, &mut out);
    endpoints(old, new, &mut out);
    out
}

/// Whether the delta changes nothing but the revision.
#[must_use]
pub fn is_empty(delta: &v1::AssignmentsDelta) -> bool {
    let numbers =
        v1::AssignmentsDelta { epoch: delta.epoch, revision: delta.revision, from_revision: delta.from_revision, ..Default::default() };
    *delta == numbers
}

/// The set after the change.
///
/// # Errors
/// When the delta is of another epoch, does not start where the set is, leads backwards, or names a network that the set would not have.
pub fn apply_delta(mut set: v1::Assignments, delta: v1::AssignmentsDelta) -> Result<v1::Assignments, Refused> {
    check(&set, &delta)?;
    set.revision = delta.revision;
    set.node = delta.node.or(set.node);
    set.cluster = delta.cluster.or(set.cluster);
    if !delta.managers.is_empty() {
        set.managers = delta.managers;
    }

    let replaced: BTreeSet<Bytes> = delta.removed_peers.into_iter().chain(delta.peers.iter().map(|p| p.node_id.clone())).collect();
    set.peers.retain(|p| !replaced.contains(&p.node_id));
    set.peers.extend(delta.peers);

    let removed: BTreeSet<Bytes> = delta.removed_networks.into_iter().collect();
    let mut networks: BTreeMap<Bytes, v1::NetworkAssignment> =
        set.networks.into_iter().map(|n| (network_id(&n).clone(), n)).filter(|(id, _)| !removed.contains(id)).collect();
    for network in delta.networks {
        let slot = networks.entry(network.id.clone()).or_default();
        slot.network = Some(network);
    }
    let replaced: BTreeSet<Bytes> = delta.removed_endpoints.into_iter().chain(delta.endpoints.iter().map(|e| e.id.clone())).collect();
    if !replaced.is_empty() {
        for network in networks.values_mut() {
            network.endpoints.retain(|e| !replaced.contains(&e.id));
        }
    }
    for endpoint in delta.endpoints {
        networks.get_mut(&endpoint.network_id).ok_or(Refused::UnknownNetwork)?.endpoints.push(endpoint);
    }
    for mtu in delta.mtus {
        networks.get_mut(&mtu.network_id).ok_or(Refused::UnknownNetwork)?.mtu = mtu.mtu;
    }
    set.networks = networks.into_values().collect();
    sort(&mut set);
    Ok(set)
}

fn check(set: &v1::Assignments, delta: &v1::AssignmentsDelta) -> Result<(), Refused> {
    if set.epoch != delta.epoch {
        return Err(Refused::Epoch { have: set.epoch, got: delta.epoch });
    }
    if set.revision != delta.from_revision {
        return Err(Refused::Base { have: set.revision, from: delta.from_revision });
    }
    if delta.revision < set.revision {
        return Err(Refused::Older { have: set.revision, got: delta.revision });
    }
    Ok(())
}

fn peers(old: &v1::Assignments, new: &v1::Assignments, out: &mut v1::AssignmentsDelta) {
    let before: BTreeMap<&Bytes, &v1::Peer> = old.peers.iter().map(|p| (&p.node_id, p)).collect();
    let after: BTreeSet<&Bytes> = new.peers.iter().map(|p| &p.node_id).collect();
    out.peers = new.peers.iter().filter(|p| before.get(&p.node_id) != Some(p)).cloned().collect();
    out.removed_peers = before.keys().filter(|id| !after.contains(*id)).map(|id| (*id).clone()).collect();
}

fn networks(old: &v1::Assignments, new: &v1::Assignments, out: &mut v1::AssignmentsDelta) {
    let before: BTreeMap<&Bytes, &v1::NetworkAssignment> = old.networks.iter().map(|n| (network_id(n), n)).collect();
    let after: BTreeSet<&Bytes> = new.networks.iter().map(network_id).collect();
    for network in &new.networks {
        let known = before.get(network_id(network));
        if known.is_none_or(|k| k.network != network.network) {
            out.networks.extend(network.network.clone());
        }
        if known.map_or(0, |k| k.mtu) != network.mtu {
            out.mtus.push(v1::NetworkMtu { network_id: network_id(network).clone(), mtu: network.mtu });
        }
    }
    out.removed_networks = before.keys().filter(|id| !after.contains(*id)).map(|id| (*id).clone()).collect();
}

/// Endpoints of a network that goes as a whole are not named one by one.
fn endpoints(old: &v1::Assignments, new: &v1::Assignments, out: &mut v1::AssignmentsDelta) {
    let before: BTreeMap<&Bytes, &v1::Endpoint> = old.networks.iter().flat_map(|n| &n.endpoints).map(|e| (&e.id, e)).collect();
    let after: BTreeSet<&Bytes> = new.networks.iter().flat_map(|n| &n.endpoints).map(|e| &e.id).collect();
    out.endpoints = new.networks.iter().flat_map(|n| &n.endpoints).filter(|e| before.get(&e.id) != Some(e)).cloned().collect();
    let gone: BTreeSet<&Bytes> = out.removed_networks.iter().collect();
    out.removed_endpoints =
        before.values().filter(|e| !after.contains(&e.id) && !gone.contains(&e.network_id)).map(|e| e.id.clone()).collect();
}

/// The id under which a network is assigned; empty where the message lacks its network.
fn network_id(assignment: &v1::NetworkAssignment) -> &Bytes {
    static NONE: Bytes = Bytes::new();
    assignment.network.as_ref().map_or(&NONE, |n| &n.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::btree_map, prelude::*};

    fn id(number: u8) -> Bytes {
        Bytes::copy_from_slice(&[number; 16])
    }

    fn endpoint(number: u8, network: u8, version: u8) -> v1::Endpoint {
        v1::Endpoint { id: id(number), network_id: id(network), version: version.into(), ..Default::default() }
    }

    fn peer(number: u8, version: u8) -> v1::Peer {
        v1::Peer { node_id: id(number), hostname: format!("h{version}"), ..Default::default() }
    }

    prop_compose! {
        /// Few ids and few versions, so that two sets share some objects, and some of those differ.
        fn any_set()(
            revision in 10_u64..20,
            networks in btree_map(0_u8..6, (0_u8..3, 0_u32..3), 0..5),
            endpoints in btree_map(0_u8..12, (0_u8..6, 0_u8..3), 0..12),
            peers in btree_map(0_u8..6, 0_u8..3, 0..6),
            managers in btree_map(0_u8..4, 0_u8..3, 1..4),
            own in 0_u64..3,
        ) -> v1::Assignments {
            let mut set = v1::Assignments {
                epoch: 1,
                revision,
                node: Some(v1::Node { version: own, ..Default::default() }),
                cluster: Some(v1::ClusterView { certificate_life_s: own, ..Default::default() }),
                networks: networks.iter().map(|(network, (version, mtu))| v1::NetworkAssignment {
                    network: Some(v1::Network { id: id(*network), version: u64::from(*version), ..Default::default() }),
                    endpoints: endpoints.iter().filter(|(_, (of, _))| of == network).map(|(e, (n, v))| endpoint(*e, *n, *v)).collect(),
                    mtu: *mtu,
                }).collect(),
                peers: peers.iter().map(|(number, version)| peer(*number, *version)).collect(),
                managers: managers.iter().map(|(n, a)| v1::ManagerAddress { node_id: id(*n), address: a.to_string() }).collect(),
            };
            sort(&mut set);
            set
        }
    }

    proptest! {
        #[test]
        fn applying_the_delta_gives_the_new_set(old in any_set(), mut new in any_set()) {
            new.revision += 10;
            let change = delta(&old, &new);
            prop_assert_eq!(apply_delta(old, change).unwrap(), new);
        }

        #[test]
        fn a_delta_between_equal_sets_is_empty(old in any_set()) {
            let new = v1::Assignments { revision: old.revision + 1, ..old.clone() };
            prop_assert!(is_empty(&delta(&old, &new)));
        }
    }

    #[test]
    fn a_delta_that_does_not_fit_is_refused() {
        let set = v1::Assignments { epoch: 1, revision: 7, ..Default::default() };
        let fits = v1::AssignmentsDelta { epoch: 1, revision: 9, from_revision: 7, ..Default::default() };
        let refusal = |change| apply_delta(set.clone(), change).unwrap_err();
        assert_eq!(refusal(v1::AssignmentsDelta { epoch: 2, ..fits.clone() }), Refused::Epoch { have: 1, got: 2 });
        assert_eq!(refusal(v1::AssignmentsDelta { from_revision: 6, ..fits.clone() }), Refused::Base { have: 7, from: 6 });
        assert_eq!(refusal(v1::AssignmentsDelta { revision: 6, ..fits.clone() }), Refused::Older { have: 7, got: 6 });
        let stray = v1::AssignmentsDelta { endpoints: vec![endpoint(1, 1, 1)], ..fits.clone() };
        assert_eq!(refusal(stray), Refused::UnknownNetwork);
        assert_eq!(apply_delta(set.clone(), fits).unwrap().revision, 9);
    }

    #[test]
    fn one_new_endpoint_costs_one_endpoint_on_the_wire() {
        let network = v1::Network { id: id(1), ..Default::default() };
        let all = (0..200).map(|n| endpoint(n, 1, 0)).collect();
        let old = v1::Assignments {
            networks: vec![v1::NetworkAssignment { network: Some(network), endpoints: all, mtu: 1370 }],
            ..Default::default()
        };
        let mut new = old.clone();
        new.networks[0].endpoints.push(endpoint(200, 1, 0));
        let change = delta(&old, &new);
        assert_eq!((change.endpoints.len(), change.networks.len(), change.mtus.len()), (1, 0, 0));
    }
}
