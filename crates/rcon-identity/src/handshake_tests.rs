//! Handshakes between real configurations, in memory.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcon_types::{ClusterId, NodeId, Role};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use rustls_pki_types::ServerName;

use crate::{
    CertificateAuthority, CertificateChain, DEFAULT_CERTIFICATE_LIFE, Identity, IdentityError, JoinSecret, JoinToken, Membership, NodeKey,
    PeerIdentity, PeerRefused, RequestedKey, RootBundle, Subject, joining_config, peer_refused,
};

const HOUR: Duration = Duration::from_secs(3600);

fn authority(cluster: u8) -> CertificateAuthority {
    // Long ago, so that certificates which have expired can be issued.
    CertificateAuthority::generate(ClusterId::from_bytes([cluster; 16]), SystemTime::now() - 1000 * HOUR).unwrap()
}

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

/// From when, for how long.
type Life = (SystemTime, Duration);

fn fresh() -> Life {
    (SystemTime::now(), DEFAULT_CERTIFICATE_LIFE)
}

fn over() -> Life {
    (SystemTime::now() - 100 * HOUR, 2 * HOUR)
}

fn issue(authority: &CertificateAuthority, key: &NodeKey, number: u8, role: Role, (at, life): Life) -> CertificateChain {
    let key = RequestedKey::from_request(&key.certificate_request().unwrap()).unwrap();
    authority.issue(&key, Subject { node_id: node(number), role, cluster_id: authority.cluster_id() }, life, at).unwrap()
}

fn member(authority: &CertificateAuthority, number: u8, role: Role) -> Identity {
    let key = NodeKey::generate().unwrap();
    let certificate = issue(authority, &key, number, role, fresh());
    Identity::new(Membership { key, certificate, roots: authority.roots().unwrap() }).unwrap()
}

fn expired_member(authority: &CertificateAuthority, number: u8) -> Identity {
    let key = NodeKey::generate().unwrap();
    let certificate = issue(authority, &key, number, Role::Manager, over());
    Identity::new(Membership { key, certificate, roots: authority.roots().unwrap() }).unwrap()
}

/// A node of `impostor`'s making that also knows, and shows, the root of `victim`.
fn stranger(impostor: &CertificateAuthority, victim: &CertificateAuthority, role: Role) -> Identity {
    let key = NodeKey::generate().unwrap();
    let certificate = issue(impostor, &key, 1, role, fresh());
    let roots = [impostor, victim].iter().flat_map(|a| a.roots().unwrap().certificates().to_vec()).collect();
    Identity::new(Membership { key, certificate, roots: RootBundle::new(roots).unwrap() }).unwrap()
}

/// Whom each side found, or which side refused.
#[derive(Debug)]
struct Met {
    client_found: PeerIdentity,
    server_found: Option<PeerIdentity>,
}

#[derive(Debug)]
enum Refusal {
    ByClient(Option<PeerRefused>),
    ByServer(Option<PeerRefused>),
}

fn shake(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Result<Met, Refusal> {
    let name = ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into());
    let mut client = ClientConnection::new(client, name).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    for _ in 0..10 {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets().map_err(|e| Refusal::ByServer(peer_refused(&e)))?;
        }
        bytes = Vec::new();
        server.write_tls(&mut bytes).unwrap();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().map_err(|e| Refusal::ByClient(peer_refused(&e)))?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    assert_eq!(client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert_eq!((client.alpn_protocol(), server.alpn_protocol()), (Some(crate::ALPN), Some(crate::ALPN)));
    let found = |shown: &[rustls_pki_types::CertificateDer<'_>]| PeerIdentity::from_certificate(&shown[0], SystemTime::now()).unwrap();
    Ok(Met { client_found: found(client.peer_certificates().unwrap()), server_found: server.peer_certificates().map(found) })
}

fn call(client: &Identity, server: &Identity, expected: Option<u8>) -> Result<Met, Refusal> {
    shake(client.client_config(expected.map(node)).unwrap(), server.server_config())
}

fn join(token: &JoinToken, server: &Identity) -> Result<Met, Refusal> {
    shake(joining_config(token).unwrap(), server.server_config())
}

fn token(authority: &CertificateAuthority) -> JoinToken {
    authority.token(JoinSecret::from_bytes([1; 16]))
}

#[test]
fn two_nodes_of_a_cluster_know_each_other() {
    let authority = authority(1);
    let met = call(&member(&authority, 1, Role::Worker), &member(&authority, 2, Role::Manager), Some(2)).unwrap();
    assert_eq!((met.client_found.node_id, met.client_found.role), (node(2), Role::Manager));
    let caller = met.server_found.unwrap();
    assert_eq!((caller.node_id, caller.role, caller.expired), (node(1), Role::Worker, false));
}

#[test]
fn a_server_that_is_another_node_is_refused() {
    let authority = authority(1);
    let refusal = call(&member(&authority, 1, Role::Manager), &member(&authority, 2, Role::Manager), Some(3)).unwrap_err();
    assert!(matches!(refusal, Refusal::ByClient(Some(PeerRefused::Node { .. }))), "{refusal:?}");
}

#[test]
fn another_cluster_is_refused_by_both_sides() {
    let (ours, theirs) = (authority(1), authority(2));
    let refusal = call(&member(&ours, 1, Role::Manager), &member(&theirs, 2, Role::Manager), None).unwrap_err();
    assert!(matches!(refusal, Refusal::ByClient(Some(PeerRefused::Cluster { .. }))), "{refusal:?}");
    // A client that takes our server for one of its own still shows us a foreign certificate.
    let refusal = shake(joining_with_certificate(&theirs, &ours), member(&ours, 2, Role::Manager).server_config()).unwrap_err();
    assert!(matches!(refusal, Refusal::ByServer(Some(PeerRefused::Cluster { .. }))), "{refusal:?}");
}

/// A client that accepts the server as a joiner does, and shows a certificate of another authority.
fn joining_with_certificate(impostor: &CertificateAuthority, victim: &CertificateAuthority) -> Arc<ClientConfig> {
    let key = NodeKey::generate().unwrap();
    let chain = issue(impostor, &key, 1, Role::Manager, fresh());
    let provider = rustls::crypto::ring::default_provider();
    let certified = rustls::sign::CertifiedKey::from_der(chain.certificates().to_vec(), key.to_rustls(), &provider).unwrap();
    let mut config = ClientConfig::clone(&joining_config(&token(victim)).unwrap());
    config.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(certified));
    Arc::new(config)
}

#[test]
fn a_stranger_who_claims_our_cluster_is_refused_by_both_sides() {
    let (ours, impostor) = (authority(1), authority(1));
    let refusal = call(&member(&ours, 1, Role::Manager), &stranger(&impostor, &ours, Role::Manager), None).unwrap_err();
    assert!(matches!(refusal, Refusal::ByClient(Some(PeerRefused::Untrusted(_)))), "{refusal:?}");
    let refusal = call(&stranger(&impostor, &ours, Role::Manager), &member(&ours, 1, Role::Manager), None).unwrap_err();
    assert!(matches!(refusal, Refusal::ByServer(Some(PeerRefused::Untrusted(_)))), "{refusal:?}");
}

#[test]
fn an_expired_client_is_let_in_and_flagged_an_expired_server_is_refused() {
    let authority = authority(1);
    let (expired, fresh) = (expired_member(&authority, 1), member(&authority, 2, Role::Manager));
    assert!(expired.own().expired);
    let met = call(&expired, &fresh, None).unwrap();
    assert!(met.server_found.unwrap().expired);
    let refusal = call(&fresh, &expired, None).unwrap_err();
    assert!(matches!(refusal, Refusal::ByClient(Some(PeerRefused::Untrusted(_)))), "{refusal:?}");
}

#[test]
fn an_expired_stranger_stays_a_stranger() {
    let (ours, impostor) = (authority(1), authority(1));
    let key = NodeKey::generate().unwrap();
    let certificate = issue(&impostor, &key, 1, Role::Manager, over());
    let roots = [&impostor, &ours].iter().flat_map(|a| a.roots().unwrap().certificates().to_vec()).collect();
    let client = Identity::new(Membership { key, certificate, roots: RootBundle::new(roots).unwrap() }).unwrap();
    let refusal = call(&client, &member(&ours, 1, Role::Manager), None).unwrap_err();
    assert!(matches!(refusal, Refusal::ByServer(Some(PeerRefused::Untrusted(_)))), "{refusal:?}");
}

#[test]
fn a_joiner_talks_to_a_manager_of_the_tokens_cluster_alone() {
    let (ours, theirs) = (authority(1), authority(2));
    let met = join(&token(&ours), &member(&ours, 1, Role::Manager)).unwrap();
    assert_eq!((met.client_found.node_id, met.server_found), (node(1), None));
    let refusal = join(&token(&ours), &member(&theirs, 1, Role::Manager)).unwrap_err();
    assert!(matches!(refusal, Refusal::ByClient(Some(PeerRefused::Token))), "{refusal:?}");
    let refusal = join(&token(&ours), &member(&ours, 1, Role::Worker)).unwrap_err();
    assert!(matches!(refusal, Refusal::ByClient(Some(PeerRefused::NotManager))), "{refusal:?}");
}

#[test]
fn a_stranger_who_shows_a_copy_of_our_root_learns_no_secret() {
    let (ours, impostor) = (authority(1), authority(1));
    let refusal = join(&token(&ours), &stranger(&impostor, &ours, Role::Manager)).unwrap_err();
    assert!(matches!(refusal, Refusal::ByClient(Some(PeerRefused::Untrusted(_)))), "{refusal:?}");
}

#[test]
fn a_replaced_certificate_and_root_are_used_by_configurations_that_exist_already() {
    let (old, new) = (authority(1), authority(1));
    let (key, server) = (NodeKey::generate().unwrap(), member(&new, 2, Role::Manager));
    let pkcs8 = key.to_pkcs8();
    let certificate = issue(&old, &key, 1, Role::Worker, fresh());
    let client = Identity::new(Membership { key, certificate, roots: old.roots().unwrap() }).unwrap();
    let config = client.client_config(None).unwrap();
    assert!(shake(Arc::clone(&config), server.server_config()).is_err());

    let key = NodeKey::from_pkcs8(&pkcs8).unwrap();
    let next = issue(&new, &key, 1, Role::Manager, fresh());
    client.replace(next, new.roots().unwrap()).unwrap();
    let met = shake(config, server.server_config()).unwrap();
    assert_eq!(met.server_found.unwrap().role, Role::Manager);
    assert_eq!(client.role(), Role::Manager);
}

#[test]
fn a_certificate_of_another_key_node_or_root_replaces_nothing() {
    let authority = authority(1);
    let key = NodeKey::generate().unwrap();
    let make = |number| issue(&authority, &key, number, Role::Worker, fresh());
    let (first, other_node) = (make(1), make(2));
    let other_key = issue(&authority, &NodeKey::generate().unwrap(), 1, Role::Worker, fresh());
    let next = make(1);
    let client = Identity::new(Membership { key, certificate: first.clone(), roots: authority.roots().unwrap() }).unwrap();
    let foreign = self::authority(1).roots().unwrap();
    for (certificate, roots) in [(other_node, client.roots()), (other_key, client.roots()), (next, foreign)] {
        assert!(matches!(client.replace(certificate, roots), Err(IdentityError::Mismatch { .. })));
        assert_eq!(client.certificate(), first);
    }
}
