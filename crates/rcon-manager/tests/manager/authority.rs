//! Hosts join, renew and are turned away.

use rcon_identity::{CertificateChain, JoinSecret, JoinToken, NodeKey};
use rcon_proto::v1;
use rcon_types::{FailureKind, Role};

use crate::cluster::{Host, failure};

#[tokio::test(flavor = "multi_thread")]
async fn a_host_joins_in_the_role_of_its_token() {
    let host = Host::init().await;
    for (name, token, role) in [("w", &host.worker_token, Role::Worker), ("m", &host.manager_token, Role::Manager)] {
        let member = host.join(name, token).await.unwrap();
        assert_eq!(member.identity.role(), role);
        assert_eq!(member.identity.cluster_id(), host.identity.cluster_id());
        let state = host.state();
        let node = state.node(member.node_id()).unwrap();
        assert_eq!(node.description.as_ref().unwrap().hostname, name);
        assert_eq!(node.vtep_address.len(), 4);
        assert_eq!(member.answer.manager_addresses, [host.address.to_string()]);
    }
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_join_makes_no_second_node() {
    let host = Host::init().await;
    let key = NodeKey::generate().unwrap();
    let again = NodeKey::from_pkcs8(&key.to_pkcs8()).unwrap();
    let first = host.join_with("h2", &host.worker_token, key).await.unwrap();
    let second = host.join_with("h2", &host.worker_token, again).await.unwrap();
    assert_eq!(first.node_id(), second.node_id());
    assert_eq!(host.state().node_count(), 2);
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_secrets_are_refused_and_soon_not_even_looked_at() {
    let host = Host::init().await;
    let wrong = JoinToken::new(host.worker_token.root_key_digest(), JoinSecret::from_bytes([1; 16]));
    let failure = host.join("x", &wrong).await.err().unwrap();
    assert_eq!(failure.kind, FailureKind::PermissionDenied);
    assert!(failure.hint.unwrap().contains("join-token"));
    let mut last = FailureKind::PermissionDenied;
    for _ in 0..rcon_manager::limits::JOIN_FAILURES {
        last = host.join("x", &wrong).await.err().unwrap().kind;
    }
    assert_eq!(last, FailureKind::ResourceExhausted);
    assert_eq!(host.state().node_count(), 1);
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_with_the_role_of_now_and_for_the_same_key_alone() {
    let host = Host::init().await;
    let member = host.join("h2", &host.worker_token).await.unwrap();
    let promote = v1::UpdateNodeRequest { node: "h2".to_owned(), role: Some(v1::Role::Manager.into()), ..Default::default() };
    host.control().update_node(promote).await.unwrap();
    let csr = member.identity.certificate_request().unwrap().into();
    let renewed = member.authority().renew(v1::RenewRequest { csr }).await.unwrap().into_inner();
    assert_eq!(renewed.role(), v1::Role::Manager);
    let chain = CertificateChain::from_pem(std::str::from_utf8(&renewed.certificate_pem).unwrap()).unwrap();
    let identity = chain.identity(std::time::SystemTime::now()).unwrap();
    assert_eq!((identity.node_id, identity.role), (member.node_id(), Role::Manager));

    let csr = NodeKey::generate().unwrap().certificate_request().unwrap().into();
    let other = failure(member.authority().renew(v1::RenewRequest { csr }).await);
    assert_eq!(other.kind, FailureKind::PermissionDenied);
    let csr = member.identity.certificate_request().unwrap().into();
    let stranger = host.joining(&host.worker_token).renew(v1::RenewRequest { csr }).await;
    assert_eq!(failure(stranger).kind, FailureKind::Unauthenticated);
    host.shutdown().await;
}
