//! The first transaction of a cluster: everything that `swarm init` makes, in one entry of the log.
//!
//! In flow what the operator chose and the first node's proven key; out flow the transaction, and what the first node needs to be a member:
//! its certificate, the roots and the tokens. The transaction was tried on an empty state, so a wrong choice is refused before anything exists.
//! The randomness of ids, keys and tokens is taken here; nothing is written.

use std::{
    net::Ipv6Addr,
    time::{Duration, SystemTime},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rcon_identity::{CertificateAuthority, CertificateChain, JoinSecret, JoinToken, RequestedKey, RootBundle, Subject};
use rcon_proto::{convert, v1};
use rcon_state::{State, rejected_failure};
use rcon_types::{ClusterId, Failure, NodeId, Role};

use crate::{
    random::{self, RandomError},
    tokens,
    transaction::{milliseconds, op, transaction},
};

/// UDP port of plain overlays: VXLAN's (RFC 7348 §5).
pub const DATA_PATH_PORT: u16 = 4789;
/// UDP port of encrypted overlays: WireGuard's customary one.
pub const ENCRYPTED_PORT: u16 = 51820;
/// Length in bits of each subnet given out of the pools.
pub const SUBNET_LENGTH: u8 = 24;

/// What the operator chose for a new cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Founding {
    /// What the first node says of itself.
    pub description: v1::NodeDescription,
    /// Whether it takes work.
    pub availability: rcon_types::Availability,
    /// HOST:PORT at which other managers will reach it.
    pub control_address: String,
    /// Overlay subnets come from here.
    pub default_address_pools: Vec<IpNet>,
    /// Length in bits of each of them.
    pub subnet_length: u8,
    /// The tunnels' inner addresses.
    pub vtep_pool: IpNet,
    /// UDP port of plain overlays.
    pub data_path_port: u16,
    /// UDP port of encrypted overlays.
    pub encrypted_port: u16,
    /// Life of node certificates.
    pub certificate_life: Duration,
}

impl Founding {
    /// The defaults for a first node: pools 10.0.0.0/8 in /24, tunnels 100.96.0.0/12, the customary ports, certificates of 90 days.
    #[must_use]
    pub fn new(description: v1::NodeDescription, control_address: String) -> Self {
        let ipv4 = |a, b, length| IpNet::V4(Ipv4Net::new_assert([a, b, 0, 0].into(), length));
        Self {
            description,
            availability: rcon_types::Availability::Active,
            control_address,
            default_address_pools: vec![ipv4(10, 0, 8)],
            subnet_length: SUBNET_LENGTH,
            vtep_pool: ipv4(100, 96, 12),
            data_path_port: DATA_PATH_PORT,
            encrypted_port: ENCRYPTED_PORT,
            certificate_life: rcon_identity::DEFAULT_CERTIFICATE_LIFE,
        }
    }
}

/// A cluster that is about to be.
#[derive(Debug)]
pub struct Founded {
    /// To be proposed as the first transaction of the log.
    pub txn: v1::Txn,
    /// The cluster.
    pub cluster_id: ClusterId,
    /// Its first node.
    pub node_id: NodeId,
    /// The first node's certificate.
    pub certificate: CertificateChain,
    /// Whom it trusts: the new root.
    pub roots: RootBundle,
    /// What a worker joins with.
    pub worker_token: JoinToken,
    /// What a manager joins with.
    pub manager_token: JoinToken,
}

/// Makes a cluster around the first node's key.
///
/// # Errors
/// When the operating system gives no randomness, the CA cannot sign, or the state machine would refuse what was chosen.
pub fn initial_transaction(founding: &Founding, key: &RequestedKey, now: SystemTime) -> Result<Founded, Failure> {
    let cluster_id = random::id().map_err(RandomError::failure)?;
    let node_id: NodeId = random::id().map_err(RandomError::failure)?;
    let authority = CertificateAuthority::generate(cluster_id, now)?;
    let subject = Subject { node_id, role: Role::Manager, cluster_id };
    let certificate = authority.issue(key, subject, founding.certificate_life, now)?;
    let roots = authority.roots()?;
    let (worker, manager) = (JoinSecret::generate()?, JoinSecret::generate()?);
    let ops = vec![
        op(v1::op::Op::InitCluster(cluster(founding, &authority, &roots, milliseconds(now))?)),
        op(v1::op::Op::PutToken(tokens::standing(Role::Worker, &worker))),
        op(v1::op::Op::PutToken(tokens::standing(Role::Manager, &manager))),
        op(v1::op::Op::CreateNode(first_node(founding, node_id, key, milliseconds(now)))),
        op(v1::op::Op::ReserveRaftId(v1::ReserveRaftId { node_id: convert::id_bytes(node_id), address: founding.control_address.clone() })),
    ];
    let txn = transaction(random::id().map_err(RandomError::failure)?, now, ops);
    try_on_nothing(&txn)?;
    let (worker_token, manager_token) = (authority.token(worker), authority.token(manager));
    Ok(Founded { txn, cluster_id, node_id, certificate, roots, worker_token, manager_token })
}

fn cluster(founding: &Founding, authority: &CertificateAuthority, roots: &RootBundle, now_ms: u64) -> Result<v1::Cluster, Failure> {
    Ok(v1::Cluster {
        id: convert::id_bytes(authority.cluster_id()),
        version: 0,
        created_ms: now_ms,
        epoch: 1,
        feature_level: rcon_state::limits::FEATURE_LEVEL,
        default_address_pools: founding.default_address_pools.iter().copied().map(convert::prefix_to_wire).collect(),
        subnet_length: founding.subnet_length.into(),
        ipv6_pool: Some(convert::prefix_to_wire(random_ula().map_err(RandomError::failure)?)),
        vtep_pool: Some(convert::prefix_to_wire(founding.vtep_pool)),
        data_path_port: founding.data_path_port.into(),
        encrypted_port: founding.encrypted_port.into(),
        root_certificates_pem: roots.to_pem().into(),
        ca_key_pkcs8: authority.key_pkcs8().to_vec().into(),
        certificate_life_s: founding.certificate_life.as_secs(),
    })
}

/// A /48 of unique local addresses with a random global id (RFC 4193 §3.2).
fn random_ula() -> Result<IpNet, RandomError> {
    let random: [u8; 5] = random::bytes()?;
    let mut octets = [0; 16];
    octets[0] = 0xfd;
    octets[1..6].copy_from_slice(&random);
    Ok(IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from(octets), rcon_state::limits::IPV6_POOL_LENGTH)))
}

fn first_node(founding: &Founding, id: NodeId, key: &RequestedKey, now_ms: u64) -> v1::Node {
    v1::Node {
        id: convert::id_bytes(id),
        created_ms: now_ms,
        role: v1::Role::Manager.into(),
        availability: v1::Availability::from(founding.availability).into(),
        description: Some(founding.description.clone()),
        public_key_digest: key.digest().to_vec().into(),
        ..v1::Node::default()
    }
}

fn try_on_nothing(txn: &v1::Txn) -> Result<(), Failure> {
    let outcome = State::new()
        .apply(1, txn)
        .map_err(|error| Failure::from_error(rcon_types::FailureKind::Internal, &error).during("could not set up the cluster's state"))?;
    outcome.result.map(|_| ()).map_err(|rejected| rejected_failure(&rejected))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Fixture, description, now, requested_key};
    use rcon_types::FailureKind;

    #[test]
    fn the_first_transaction_makes_a_whole_cluster() {
        let Fixture { state, founded } = Fixture::new();
        let cluster = state.cluster().unwrap();
        assert_eq!(state.cluster_id(), Some(founded.cluster_id));
        assert_eq!((cluster.data_path_port, cluster.encrypted_port, cluster.subnet_length), (4789, 51820, 24));
        assert_eq!(convert::prefix("", cluster.vtep_pool.as_ref().unwrap()).unwrap().to_string(), "100.96.0.0/12");
        let ula = convert::prefix("", cluster.ipv6_pool.as_ref().unwrap()).unwrap();
        assert!(ula.to_string().starts_with("fd") && ula.prefix_len() == 48, "{ula}");

        let (id, node) = state.managers().next().unwrap();
        assert_eq!((id, node.manager.as_ref().unwrap().raft_id), (founded.node_id, 1));
        let identity = founded.certificate.identity(now()).unwrap();
        assert_eq!((identity.node_id, identity.role, identity.cluster_id), (id, Role::Manager, founded.cluster_id));
        assert_eq!(node.public_key_digest, identity.public_key_digest.as_slice());
        for (role, token) in [(v1::Role::Worker, &founded.worker_token), (v1::Role::Manager, &founded.manager_token)] {
            assert!(token.secret().matches(&state.standing_token(role).unwrap().1.secret_sha256));
        }
    }

    #[test]
    fn a_choice_that_cannot_work_is_refused_before_anything_exists() {
        let founding = Founding::new(description(1), "192.168.0.1:2377".to_owned());
        let refused = [
            Founding { vtep_pool: "10.8.0.0/16".parse().unwrap(), ..founding.clone() },
            Founding { default_address_pools: vec!["224.0.0.0/8".parse().unwrap()], ..founding.clone() },
            Founding { subnet_length: 6, ..founding.clone() },
            Founding { encrypted_port: 4789, ..founding.clone() },
            Founding { certificate_life: Duration::from_secs(60), ..founding.clone() },
            Founding { control_address: "nowhere".to_owned(), ..founding.clone() },
        ];
        for founding in refused {
            let failure = initial_transaction(&founding, &requested_key(), now()).unwrap_err();
            assert_eq!(failure.kind, FailureKind::InvalidArgument, "{failure}");
        }
    }
}
