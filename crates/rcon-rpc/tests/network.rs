//! Servers and channels over real sockets.
#![allow(missing_docs)]

mod common;

use std::{sync::Arc, time::SystemTime};

use common::{Cluster, Echo, HOUR, Running, node, soon, told};
use rcon_identity::JoinSecret;
use rcon_proto::v1 as wire;
use rcon_rpc::{
    Address, Channel, status_to_failure, tonic::Request, v1::certificate_authority_client::CertificateAuthorityClient as Client,
};
use rcon_types::{Failure, FailureKind, Role};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

async fn renew(channel: &Channel) -> Failure {
    let status = soon(Client::new(channel.clone()).renew(wire::RenewRequest::default())).await.unwrap_err();
    status_to_failure(status)
}

async fn join(channel: &Channel, secret: &[u8]) -> Result<(), Failure> {
    let request = wire::JoinRequest { token_secret: secret.to_vec().into(), ..Default::default() };
    soon(Client::new(channel.clone()).join(request)).await.map(|_| ()).map_err(status_to_failure)
}

#[tokio::test]
async fn a_server_knows_its_caller_and_a_failure_arrives_whole() {
    let cluster = Cluster::new(1);
    let server = Running::start(cluster.member(1, Role::Manager), Echo::default().routes()).await;
    let client = cluster.member(2, Role::Worker);
    let channel = rcon_rpc::connect(&server.address, &client, Some(node(1))).unwrap();
    let failure = renew(&channel).await;
    assert_eq!(told(&failure), (format!("{} worker expired=false", node(2)).as_str(), "Ok(())"));
    server.stop().await;
}

#[tokio::test]
async fn an_expired_caller_is_flagged_and_refused_by_the_strict_look() {
    let cluster = Cluster::new(1);
    let server = Running::start(cluster.member(1, Role::Manager), Echo::default().routes()).await;
    let client = cluster.member_at(2, Role::Worker, SystemTime::now() - 100 * HOUR, 2 * HOUR);
    let channel = rcon_rpc::connect(&server.address, &client, None).unwrap();
    let failure = renew(&channel).await;
    let (who, strict) = told(&failure);
    assert_eq!(who, format!("{} worker expired=true", node(2)));
    assert!(strict.contains("has expired"), "{strict}");
    server.stop().await;
}

#[tokio::test]
async fn another_cluster_and_another_node_are_refused_with_the_reason() {
    let (ours, theirs) = (Cluster::new(1), Cluster::new(2));
    let server = Running::start(theirs.member(1, Role::Manager), Echo::default().routes()).await;
    let channel = rcon_rpc::connect(&server.address, &ours.member(2, Role::Manager), None).unwrap();
    let failure = renew(&channel).await;
    assert_eq!(failure.kind, FailureKind::Unauthenticated, "{failure}");
    assert!(failure.causes[0].contains("is of cluster"), "{failure}");
    assert!(failure.message.contains(&server.address.to_string()), "{failure}");

    let channel = rcon_rpc::connect(&server.address, &theirs.member(2, Role::Manager), Some(node(9))).unwrap();
    let failure = renew(&channel).await;
    assert!(failure.causes[0].contains(&node(9).to_string()), "{failure}");
    server.stop().await;
}

#[tokio::test]
async fn a_joiner_reaches_the_tokens_manager_and_tells_nobody_else_the_secret() {
    let (ours, theirs) = (Cluster::new(1), Cluster::new(1));
    let echo = Echo::default();
    let (right, wrong) = (
        Running::start(ours.member(1, Role::Manager), echo.routes()).await,
        Running::start(theirs.member(1, Role::Manager), echo.routes()).await,
    );
    let token = ours.0.token(JoinSecret::from_bytes([42; 16]));

    let channel = rcon_rpc::connect_joining(&wrong.address, &token).unwrap();
    let failure = join(&channel, token.secret().as_bytes()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unauthenticated, "{failure}");
    assert!(failure.hint.as_deref().unwrap_or_default().contains("same cluster"), "{failure}");
    assert!(echo.secrets.lock().unwrap().is_empty(), "a stranger has the secret");

    let channel = rcon_rpc::connect_joining(&right.address, &token).unwrap();
    join(&channel, token.secret().as_bytes()).await.unwrap();
    assert_eq!(*echo.secrets.lock().unwrap(), [vec![42; 16]]);
    // Without a certificate there is nothing else to do.
    let failure = renew(&channel).await;
    assert_eq!(failure.kind, FailureKind::Unauthenticated, "{failure}");
    for server in [right, wrong] {
        server.stop().await;
    }
}

#[tokio::test]
async fn garbage_on_the_port_costs_one_connection_and_nobody_else_notices() {
    let cluster = Cluster::new(1);
    let server = Running::start(cluster.member(1, Role::Manager), Echo::default().routes()).await;
    let socket = (server.address.host().to_owned(), server.address.port());
    let mut silent = Vec::new();
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4000], &[0x16, 3, 1, 0xff, 0xff], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = TcpStream::connect(socket.clone()).await.unwrap();
        // The server may close while this is written.
        let _ = stream.write_all(garbage).await;
        silent.push(stream);
    }
    for _ in 0..20 {
        silent.push(TcpStream::connect(socket.clone()).await.unwrap());
    }
    let channel = rcon_rpc::connect(&server.address, &cluster.member(2, Role::Worker), None).unwrap();
    told(&renew(&channel).await);
    for mut stream in silent {
        let mut rest = Vec::new();
        // Closed by the server, at once or when the handshake takes too long; a reset is as good.
        let _ = soon(stream.read_to_end(&mut rest)).await;
    }
    told(&renew(&channel).await);
    server.stop().await;
}

#[tokio::test]
async fn a_channel_finds_a_server_that_came_back_and_says_where_nobody_is() {
    let cluster = Cluster::new(1);
    let reserved = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let channel = rcon_rpc::connect(&Address::from_ip(address.ip(), address.port()), &cluster.member(2, Role::Worker), None).unwrap();
    let failure = renew(&channel).await;
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert_eq!(failure.message, format!("could not connect to {address}"));
    assert!(failure.causes[0].contains("refused") && failure.hint.is_some(), "{failure}");

    let listener = TcpListener::bind(address).await.unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(rcon_rpc::serve(listener, cluster.member(1, Role::Manager), Echo::default().routes(), async {
        let _ = stopped.await;
    }));
    told(&renew(&channel).await);
    drop(stop);
    serving.await.unwrap().unwrap();
    assert_eq!(renew(&channel).await.kind, FailureKind::Unavailable);
}

#[tokio::test]
async fn a_request_that_takes_too_long_ends_at_its_deadline_and_does_not_hold_up_the_stop() {
    let cluster = Cluster::new(1);
    let echo = Echo { hold: Some(Arc::default()), ..Echo::default() };
    let server = Running::start(cluster.member(1, Role::Manager), echo.routes()).await;
    let channel = rcon_rpc::connect(&server.address, &cluster.member(2, Role::Worker), None).unwrap();
    let mut request = Request::new(wire::JoinRequest::default());
    request.set_timeout(std::time::Duration::from_millis(50));
    let status = soon(Client::new(channel.clone()).join(request)).await.unwrap_err();
    let failure = status_to_failure(status);
    assert_eq!(failure.kind, FailureKind::DeadlineExceeded, "{failure}");

    let mut client = Client::new(channel);
    let hanging = tokio::spawn(async move { client.join(wire::JoinRequest::default()).await });
    soon(server.stop()).await;
    let failure = status_to_failure(soon(hanging).await.unwrap().unwrap_err());
    assert_eq!(failure.kind, FailureKind::Unavailable, "{failure}");
}

#[tokio::test]
async fn a_host_that_swallows_everything_is_given_up_in_time() {
    let cluster = Cluster::new(1);
    // A listener that never accepts completes TCP in the kernel, and then says nothing.
    let mute = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = mute.local_addr().unwrap();
    let channel = rcon_rpc::connect(&Address::from_ip(address.ip(), address.port()), &cluster.member(2, Role::Worker), None).unwrap();
    let failure = renew(&channel).await;
    assert_eq!((failure.kind, failure.message), (FailureKind::Unavailable, format!("no answer from {address} within 2 s")));
}
