//! Administrators and their mistakes.

use rcon_identity::JoinToken;
use rcon_proto::v1;
use rcon_types::FailureKind;

use crate::cluster::{Host, failure};

fn network(name: &str) -> v1::CreateNetworkRequest {
    let spec = v1::NetworkSpec { name: name.to_owned(), driver: "overlay".to_owned(), attachable: true, ..Default::default() };
    v1::CreateNetworkRequest { spec: Some(spec) }
}

fn reference(network: &str) -> v1::NetworkReference {
    v1::NetworkReference { network: network.to_owned() }
}

fn subnet(network: v1::CreateNetworkRequest, prefix: [u8; 4]) -> v1::CreateNetworkRequest {
    let prefix = v1::Prefix { address: prefix.to_vec().into(), length: 24 };
    let subnets = vec![v1::Subnet { prefix: Some(prefix), ..Default::default() }];
    v1::CreateNetworkRequest { spec: network.spec.map(|spec| v1::NetworkSpec { subnets, ..spec }) }
}

#[tokio::test(flavor = "multi_thread")]
async fn networks_are_created_listed_inspected_and_removed() {
    let host = Host::init().await;
    let mut control = host.control();
    let mut encrypted = network("backend");
    encrypted.spec.as_mut().unwrap().options.insert("encrypted".to_owned(), String::new());
    let created = control.create_network(encrypted).await.unwrap().into_inner();
    let backend = created.network.unwrap();
    assert_eq!((backend.vni, backend.spec.as_ref().unwrap().encrypted, created.warnings.len()), (4096, true, 0));
    control.create_network(network("plain")).await.unwrap();

    let listed = control.list_networks(v1::ListNetworksRequest {}).await.unwrap().into_inner().networks;
    assert_eq!(listed.iter().map(|n| n.spec.as_ref().unwrap().name.as_str()).collect::<Vec<_>>(), ["backend", "plain"]);
    let id = rcon_types::NetworkId::from_slice(&backend.id).unwrap();
    for name in ["backend".to_owned(), id.to_string(), id.short()] {
        let view = control.inspect_network(reference(&name)).await.unwrap().into_inner();
        assert_eq!((view.network.unwrap().id, view.mtu), (backend.id.clone(), 1370));
        assert!(view.endpoints.is_empty());
    }
    control.remove_network(reference("backend")).await.unwrap();
    let gone = failure(control.inspect_network(reference("backend")).await);
    assert_eq!(gone.kind, FailureKind::NotFound);
    assert!(gone.hint.unwrap().contains("network ls"));
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn networks_that_cannot_be_are_refused_with_the_reason() {
    let host = Host::init().await;
    let mut control = host.control();
    control.create_network(subnet(network("taken"), [10, 7, 7, 0])).await.unwrap();
    let mut unknown_option = network("other");
    unknown_option.spec.as_mut().unwrap().options.insert("encripted".to_owned(), String::new());
    let mut bridge = network("other");
    bridge.spec.as_mut().unwrap().driver = "bridge".to_owned();
    let refused = [
        (network("taken"), FailureKind::AlreadyExists, "`taken` exists already"),
        (subnet(network("other"), [10, 7, 7, 0]), FailureKind::AlreadyExists, "overlaps with 10.7.7.0/24 of network `taken`"),
        (subnet(network("other"), [10, 7, 8, 1]), FailureKind::InvalidArgument, "host bits"),
        (subnet(network("other"), [224, 0, 0, 0]), FailureKind::InvalidArgument, "cannot be an overlay's subnet"),
        (network("-x"), FailureKind::InvalidArgument, "network name"),
        (unknown_option, FailureKind::InvalidArgument, "no option `encripted`"),
        (bridge, FailureKind::InvalidArgument, "no driver of cluster-wide networks"),
        (v1::CreateNetworkRequest::default(), FailureKind::InvalidArgument, "describes no network"),
    ];
    for (request, kind, expected) in refused {
        let failure = failure(control.create_network(request).await);
        assert_eq!(failure.kind, kind, "{failure}");
        assert!(failure.to_string().contains(expected), "{failure}");
    }
    let shadowing = control.create_network(subnet(network("loop"), [127, 0, 0, 0])).await;
    assert_eq!(failure(shadowing).kind, FailureKind::InvalidArgument);
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_is_shown_without_its_secrets() {
    let host = Host::init().await;
    let answer = host.control().get_cluster(v1::GetClusterRequest {}).await.unwrap().into_inner();
    let cluster = answer.cluster.unwrap();
    assert_eq!((answer.nodes, answer.managers), (1, 1));
    assert!(cluster.ca_key_pkcs8.is_empty() && !cluster.root_certificates_pem.is_empty());
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_shown_rotated_and_limited() {
    let host = Host::init().await;
    let mut control = host.control();
    let ask = |rotate, expires_in_s, uses| v1::GetJoinTokenRequest { role: v1::Role::Worker.into(), rotate, expires_in_s, uses };
    let shown = control.get_join_token(ask(false, 0, 0)).await.unwrap().into_inner();
    assert_eq!(shown.token, host.worker_token.reveal());
    assert_eq!(shown.manager_addresses, [host.address.to_string()]);

    let rotated = control.get_join_token(ask(true, 0, 0)).await.unwrap().into_inner().token;
    assert_ne!(rotated, shown.token);
    assert_eq!(control.get_join_token(ask(false, 0, 0)).await.unwrap().into_inner().token, rotated);
    let old = host.join("late", &host.worker_token).await.err().unwrap();
    assert_eq!(old.kind, FailureKind::PermissionDenied);
    let new: JoinToken = rotated.parse().unwrap();
    host.join("early", &new).await.unwrap();

    let once: JoinToken = control.get_join_token(ask(false, 3600, 1)).await.unwrap().into_inner().token.parse().unwrap();
    let (_, stored) = host.state().tokens().find(|(_, t)| !t.standing).map(|(id, t)| (id, t.clone())).unwrap();
    assert!(stored.secret.is_empty() && stored.uses_left == 1 && stored.expires_ms > 0);
    host.join("first", &once).await.unwrap();
    assert_eq!(host.join("second", &once).await.err().unwrap().kind, FailureKind::PermissionDenied);

    assert_eq!(failure(control.get_join_token(ask(true, 0, 1)).await).kind, FailureKind::InvalidArgument);
    assert_eq!(failure(control.get_join_token(v1::GetJoinTokenRequest::default()).await).kind, FailureKind::InvalidArgument);
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_listed_and_changed_and_the_last_manager_stays() {
    let host = Host::init().await;
    let mut control = host.control();
    let nodes = control.list_nodes(v1::ListNodesRequest { stale: false }).await.unwrap().into_inner().nodes;
    assert_eq!((nodes.len(), nodes[0].rank(), nodes[0].is_self), (1, v1::ManagerRank::Leader, true));
    assert!(control.list_nodes(v1::ListNodesRequest { stale: true }).await.unwrap().into_inner().stale);

    let update = |change: v1::UpdateNodeRequest| v1::UpdateNodeRequest { node: "h1".to_owned(), ..change };
    let labels_add = [("zone".to_owned(), "a".to_owned())].into();
    let drain = v1::UpdateNodeRequest { availability: Some(v1::Availability::Drain.into()), labels_add, ..Default::default() };
    let view = control.update_node(update(drain)).await.unwrap().into_inner().node.unwrap();
    assert_eq!((view.availability(), view.labels["zone"].as_str()), (v1::Availability::Drain, "a"));

    let demote = v1::UpdateNodeRequest { role: Some(v1::Role::Worker.into()), ..Default::default() };
    let last = failure(control.update_node(update(demote)).await);
    assert_eq!(last.kind, FailureKind::FailedPrecondition);
    assert!(last.message.contains("only manager"), "{last}");
    let own = failure(control.remove_node(v1::RemoveNodeRequest { node: "h1".to_owned(), force: true }).await);
    assert!(own.message.contains("is this one"), "{own}");
    let unknown = failure(control.inspect_node(v1::NodeReference { node: "h9".to_owned() }).await);
    assert_eq!(unknown.kind, FailureKind::NotFound);
    let leader = control.transfer_leader(v1::NodeReference { node: "h1".to_owned() }).await.unwrap().into_inner().leader;
    assert_eq!(leader, host.node_id().to_bytes().as_slice());
    host.shutdown().await;
}
