//! The unix socket, and the channel inside one process.
#![allow(missing_docs)]

mod common;

use std::{os::unix::fs::PermissionsExt, path::Path, time::SystemTime};

use common::{Cluster, Echo, HOUR, node, soon, told};
use rcon_proto::v1 as wire;
use rcon_rpc::{Channel, LocalSocket, status_to_failure, v1::certificate_authority_client::CertificateAuthorityClient as Client};
use rcon_types::{Failure, FailureKind, Role};
use tokio::{sync::oneshot, task::JoinHandle};

async fn renew(channel: &Channel) -> Failure {
    status_to_failure(soon(Client::new(channel.clone()).renew(wire::RenewRequest::default())).await.unwrap_err())
}

fn start(path: &Path) -> (oneshot::Sender<()>, JoinHandle<Result<(), rcon_rpc::ServeError>>) {
    let (stop, stopped) = oneshot::channel();
    let socket = LocalSocket { path: path.to_owned(), group: None };
    let task = tokio::spawn(rcon_rpc::serve_unix(socket, Echo::default().routes(), async {
        let _ = stopped.await;
    }));
    (stop, task)
}

async fn until_it_answers(channel: &Channel) -> Failure {
    soon(async {
        loop {
            let failure = renew(channel).await;
            if failure.kind != FailureKind::Unavailable {
                return failure;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test]
async fn the_local_caller_is_local_and_the_socket_is_its_owners_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rcond.sock");
    let channel = rcon_rpc::connect_unix(&path);
    let failure = renew(&channel).await;
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert!(failure.message.contains("rcond.sock") && failure.hint.as_deref().unwrap().contains("start rcond"), "{failure}");

    let (stop, task) = start(&path);
    assert_eq!(told(&until_it_answers(&channel).await), ("local", "Ok(())"));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // A successor takes the path over in one step.
    let (stop_next, next) = start(&path);
    drop(stop);
    soon(task).await.unwrap().unwrap();
    assert_eq!(told(&until_it_answers(&channel).await), ("local", "Ok(())"));
    drop(stop_next);
    soon(next).await.unwrap().unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "only the socket itself is left");
}

#[tokio::test]
async fn a_socket_in_a_missing_directory_is_named() {
    let socket = LocalSocket { path: "/nonexistent/rcond.sock".into(), group: None };
    let error = rcon_rpc::serve_unix(socket, Echo::default().routes(), std::future::pending()).await.unwrap_err();
    assert!(error.to_string().contains("/nonexistent/rcond.sock"), "{error}");
}

#[tokio::test]
async fn a_part_of_the_same_process_is_a_caller_like_any_other() {
    let cluster = Cluster::new(1);
    let identity = cluster.member(3, Role::Manager);
    let (stop, stopped) = oneshot::channel::<()>();
    let (channel, serving) = rcon_rpc::in_process(identity, Echo::default().routes(), async {
        let _ = stopped.await;
    });
    let serving = tokio::spawn(serving);
    assert_eq!(told(&renew(&channel).await), (format!("{} manager expired=false", node(3)).as_str(), "Ok(())"));
    drop(stop);
    soon(serving).await.unwrap().unwrap();
    let failure = renew(&channel).await;
    assert_eq!(failure.kind, FailureKind::Unavailable, "{failure}");
}

#[tokio::test]
async fn a_part_of_the_same_process_with_an_expired_certificate_may_renew_alone() {
    let cluster = Cluster::new(1);
    let identity = cluster.member_at(3, Role::Manager, SystemTime::now() - 100 * HOUR, 2 * HOUR);
    let (channel, serving) = rcon_rpc::in_process(identity, Echo::default().routes(), std::future::pending());
    let serving = tokio::spawn(serving);
    let failure = renew(&channel).await;
    assert!(told(&failure).0.ends_with("expired=true") && told(&failure).1.contains("has expired"), "{failure}");
    serving.abort();
}
