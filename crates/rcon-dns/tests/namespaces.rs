//! The server in real network namespaces.
#![allow(missing_docs)]

mod common;

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    time::Instant,
};

use common::{Manner, Namespace, PATIENCE, Place, Upstream, ask_udp, container, container_id, namespaces_work, network, query, soon, wait};
use hickory_proto::{op::ResponseCode, rr::RecordType};
use rcon_netplan::{DNS_ADDRESS, DNS_PORT};

const WEB: [u8; 4] = [10, 0, 0, 2];
const DB: [u8; 4] = [10, 0, 1, 3];

fn two_networks() -> Vec<(String, rcon_netplan::dns::DnsNetwork)> {
    vec![network("front", &[("web", WEB)]), network("back", &[("db", DB)])]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_finds_the_names_of_its_own_networks_by_udp_and_by_tcp() {
    if !namespaces_work() {
        return;
    }
    let (a, b) = (Namespace::new(), Namespace::new());
    let place =
        Place::new(two_networks(), vec![(1, container(&a.path(), &["front"], &[])), (2, container(&b.path(), &["front", "back"], &[]))]);
    let server = place.start().await;
    assert_eq!(a.resolve("web."), [Ipv4Addr::from(WEB)]);
    assert_eq!(b.resolve("db.back."), [Ipv4Addr::from(DB)]);
    assert_eq!(a.ask_tcp("web.", RecordType::A).answers.len(), 1);
    assert_eq!(a.ask("db.", RecordType::A).metadata.response_code, ResponseCode::NXDomain, "it is not on that network");
    let no_data = a.ask("web.", RecordType::AAAA);
    assert_eq!((no_data.metadata.response_code, no_data.answers.len()), (ResponseCode::NoError, 0));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_may_serve_port_53_itself() {
    if !namespaces_work() {
        return;
    }
    let a = Namespace::new();
    let place = Place::new(two_networks(), vec![(1, container(&a.path(), &["front"], &[]))]);
    let server = place.start().await;
    a.inside(|| {
        let everywhere = (Ipv4Addr::UNSPECIFIED, 53);
        UdpSocket::bind(everywhere).unwrap();
        TcpListener::bind(everywhere).unwrap();
    });
    assert_eq!(a.resolve("web."), [Ipv4Addr::from(WEB)]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_is_acknowledged_when_it_is_served() {
    if !namespaces_work() {
        return;
    }
    let (a, b) = (Namespace::new(), Namespace::new());
    let mut place = Place::new(two_networks(), vec![(1, container(&a.path(), &["front"], &[]))]);
    let server = place.start().await;
    for round in 2..12 {
        let address = [10, 0, 0, round];
        place.snapshot.revision = u64::from(round);
        place.snapshot.networks = [network("front", &[("web", address)])].into();
        if round == 5 {
            place.snapshot.containers.insert(container_id(2), container(&b.path(), &["front"], &[]));
        }
        place.write();
        let start = Instant::now();
        let reply = place.reload().await;
        eprintln!("reload {round}: {:?}", start.elapsed());
        assert_eq!((reply.revision, reply.containers, reply.failed.len()), (u64::from(round), if round < 5 { 1 } else { 2 }, 0));
        assert_eq!(a.resolve("web."), [Ipv4Addr::from(address)]);
    }
    assert_eq!(b.resolve("web."), [Ipv4Addr::from([10, 0, 0, 11])]);

    // A damaged file changes nothing, and is said.
    std::fs::write(place.options().snapshot, "{").unwrap();
    let error = rcon_dns::reload(&place.options().socket).await.unwrap_err().to_string();
    assert!(error.contains("goes on with revision 11"), "{error}");
    assert_eq!(a.resolve("web."), [Ipv4Addr::from([10, 0, 0, 11])]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_names_are_asked_of_the_hosts_resolvers_until_one_answers() {
    if !namespaces_work() {
        return;
    }
    let (answers, fails, refuses, knows_not, over_tcp) = (
        Upstream::start(Manner::Answer([192, 0, 2, 1])),
        Upstream::start(Manner::Code(ResponseCode::ServFail)),
        Upstream::start(Manner::Code(ResponseCode::Refused)),
        Upstream::start(Manner::Code(ResponseCode::NXDomain)),
        Upstream::start(Manner::OnlyTcp([192, 0, 2, 2])),
    );
    // A port that nobody listens on any more.
    let nobody = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let cases: Vec<Vec<SocketAddr>> = vec![
        vec![answers.address],
        vec![nobody, fails.address, answers.address],
        vec![refuses.address, fails.address],
        vec![knows_not.address, answers.address],
        vec![over_tcp.address],
        vec![nobody],
        vec![],
    ];
    let namespaces: Vec<Namespace> = cases.iter().map(|_| Namespace::new()).collect();
    let containers = cases
        .iter()
        .zip(&namespaces)
        .zip(1..)
        .map(|((upstreams, namespace), number)| (number, container(&namespace.path(), &["front"], upstreams)));
    let place = Place::new(two_networks(), containers.collect());
    let server = place.start().await;

    let code = |index: usize| namespaces[index].ask("example.com.", RecordType::A).metadata.response_code;
    assert_eq!(namespaces[0].resolve("example.com."), [Ipv4Addr::new(192, 0, 2, 1)]);
    assert_eq!(namespaces[1].resolve("example.com."), [Ipv4Addr::new(192, 0, 2, 1)]);
    assert_eq!(fails.asked(), 1);
    assert_eq!(code(2), ResponseCode::Refused, "the first of the unhappy answers");
    let asked = answers.asked();
    assert_eq!(code(3), ResponseCode::NXDomain);
    assert_eq!(answers.asked(), asked, "an answer is an answer");
    assert!(namespaces[4].ask("example.com.", RecordType::A).metadata.truncation);
    assert_eq!(common::addresses(&namespaces[4].ask_tcp("example.com.", RecordType::A)), [Ipv4Addr::new(192, 0, 2, 2)]);
    assert_eq!(code(5), ResponseCode::ServFail);
    assert_eq!(code(6), ResponseCode::NXDomain, "an internal network asks nobody");
    // Names of ours are asked of nobody.
    let asked = answers.asked();
    assert_eq!(namespaces[0].resolve("web."), [Ipv4Addr::from(WEB)]);
    assert_eq!(answers.asked(), asked);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_one_container_starves_neither_another_nor_its_own_names() {
    if !namespaces_work() {
        return;
    }
    let (silent, answers) = (Upstream::start(Manner::Silent), Upstream::start(Manner::Answer([192, 0, 2, 1])));
    let (flooding, other) = (Namespace::new(), Namespace::new());
    let place = Place::new(
        two_networks(),
        vec![
            (1, container(&flooding.path(), &["front"], &[silent.address])),
            (2, container(&other.path(), &["front"], &[answers.address])),
        ],
    );
    let server = place.start().await;
    let (refused, own) = flooding.inside(|| {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect((DNS_ADDRESS, DNS_PORT)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut buffer = [0; 512];
        // More than may wait: from there on each gets its refusal at once.
        let mut refused = 0;
        for number in 0..rcon_dns::limits::MAX_FORWARDED_PER_CONTAINER + 50 {
            socket.send(&query(&format!("n{number}.example.com."), RecordType::A).to_vec().unwrap()).unwrap();
            if number >= rcon_dns::limits::MAX_FORWARDED_PER_CONTAINER {
                let length = socket.recv(&mut buffer).unwrap();
                let reply = hickory_proto::op::Message::from_vec(&buffer[..length]).unwrap();
                refused += usize::from(reply.metadata.response_code == ResponseCode::ServFail);
            }
        }
        (refused, ask_udp(&query("web.", RecordType::A)).answers.len())
    });
    assert_eq!((refused, own), (50, 1));
    assert_eq!(other.resolve("example.com."), [Ipv4Addr::new(192, 0, 2, 1)]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_takes_over_while_lookups_go_on() {
    if !namespaces_work() {
        return;
    }
    let slow = Upstream::start(Manner::Answer([192, 0, 2, 1]));
    let namespaces: Vec<Namespace> = (0..3).map(|_| Namespace::new()).collect();
    let containers =
        namespaces.iter().zip(1..).map(|(namespace, number)| (number, container(&namespace.path(), &["front"], &[slow.address])));
    let place = Place::new(two_networks(), containers.collect());
    let mut server = place.start().await;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let done = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let lookups: Vec<_> = namespaces
        .iter()
        .map(|namespace| {
            let (stop, done, path) = (std::sync::Arc::clone(&stop), std::sync::Arc::clone(&done), namespace.path());
            std::thread::spawn(move || {
                let file = std::fs::File::open(path).unwrap();
                rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), None).unwrap();
                while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                    // Each is sent once: a lost one ends the test.
                    assert_eq!(ask_udp(&query("web.", RecordType::A)).answers.len(), 1);
                    assert_eq!(ask_udp(&query("example.com.", RecordType::A)).answers.len(), 1);
                    done.fetch_add(2, std::sync::atomic::Ordering::SeqCst);
                }
            })
        })
        .collect();
    for _ in 0..5 {
        let before = done.load(std::sync::atomic::Ordering::SeqCst);
        wait(|| done.load(std::sync::atomic::Ordering::SeqCst) > before + 100);
        let successor = place.start().await;
        server.ended().await;
        server = successor;
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    for lookup in lookups {
        lookup.join().expect("a lookup failed");
    }
    assert_eq!(rcon_dns::status(&place.options().socket).await.unwrap().containers, 3);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_waits_for_an_upstream_is_answered_by_the_one_who_took_it() {
    if !namespaces_work() {
        return;
    }
    let upstream = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    upstream.set_read_timeout(Some(PATIENCE)).unwrap();
    let a = Namespace::new();
    let place = Place::new(two_networks(), vec![(1, container(&a.path(), &["front"], &[upstream.local_addr().unwrap()]))]);
    let server = place.start().await;
    let waiting = std::thread::spawn(move || a.resolve("example.com."));
    let mut buffer = [0; 512];
    let (length, from) = upstream.recv_from(&mut buffer).unwrap();
    let successor = place.start().await;
    // The predecessor has been told to stop, and waits for us.
    let mut reply = hickory_proto::op::Message::from_vec(&buffer[..length]).unwrap();
    reply.metadata.message_type = hickory_proto::op::MessageType::Response;
    upstream.send_to(&reply.to_vec().unwrap(), from).unwrap();
    assert!(waiting.join().expect("it got no answer").is_empty());
    server.ended().await;
    successor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_containers_than_fit_into_one_message_are_handed_over() {
    if !namespaces_work() {
        return;
    }
    let namespaces: Vec<Namespace> = (0..rcon_dns::limits::HANDOVER_BATCH + 3).map(|_| Namespace::new()).collect();
    let containers = namespaces.iter().zip(1..).map(|(namespace, number)| (number, container(&namespace.path(), &["front"], &[])));
    let place = Place::new(two_networks(), containers.collect());
    let server = place.start().await;
    let successor = place.start().await;
    server.ended().await;
    let status = rcon_dns::status(&place.options().socket).await.unwrap();
    assert_eq!((status.containers, status.failed.len()), (namespaces.len(), 0));
    for namespace in &namespaces {
        assert_eq!(namespace.resolve("web."), [Ipv4Addr::from(WEB)]);
    }
    successor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_dies_before_it_serves_changes_nothing() {
    if !namespaces_work() {
        return;
    }
    use std::io::Write;
    let a = Namespace::new();
    let place = Place::new(two_networks(), vec![(1, container(&a.path(), &["front"], &[]))]);
    let server = place.start().await;
    let mut dying = std::os::unix::net::UnixStream::connect(place.options().socket).unwrap();
    dying.write_all(b"\"hand_over\"\n").unwrap();
    drop(dying);
    let mut garbage = std::os::unix::net::UnixStream::connect(place.options().socket).unwrap();
    garbage.write_all(&[0xff; 10_000]).unwrap();
    drop(garbage);
    assert_eq!(place.reload().await.containers, 1);
    assert_eq!(a.resolve("web."), [Ipv4Addr::from(WEB)]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_was_replaced_or_is_gone_is_noticed() {
    if !namespaces_work() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ns");
    let (first, second) = (Namespace::new(), Namespace::new());
    std::os::unix::fs::symlink(first.path(), &path).unwrap();
    let place = Place::new(two_networks(), vec![(1, container(&path, &["front"], &[]))]);
    let server = place.start().await;
    assert_eq!(first.resolve("web."), [Ipv4Addr::from(WEB)]);

    std::fs::remove_file(&path).unwrap();
    let reply = place.reload().await;
    assert_eq!(reply.containers, 0);
    assert!(reply.failed[&container_id(1)].contains("No such file"), "{reply:?}");
    let free = || UdpSocket::bind((DNS_ADDRESS, DNS_PORT)).is_ok() && TcpListener::bind((DNS_ADDRESS, DNS_PORT)).is_ok();
    soon(async { wait(|| first.inside(free)) }).await;

    std::os::unix::fs::symlink(second.path(), &path).unwrap();
    let reply = place.reload().await;
    assert_eq!((reply.containers, reply.failed.len()), (1, 0));
    assert_eq!(second.resolve("web."), [Ipv4Addr::from(WEB)]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_the_container_took_is_said_and_tried_again() {
    if !namespaces_work() {
        return;
    }
    let a = Namespace::new();
    let taken = a.inside(|| UdpSocket::bind((DNS_ADDRESS, DNS_PORT)).unwrap());
    let place = Place::new(two_networks(), vec![(1, container(&a.path(), &["front"], &[]))]);
    let server = place.start().await;
    let reply = place.reload().await;
    assert!(reply.failed[&container_id(1)].contains("in use"), "{reply:?}");
    drop(taken);
    // Nobody says anything: the server looks again by itself.
    soon(async {
        while rcon_dns::status(&place.options().socket).await.unwrap().containers == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(a.resolve("web."), [Ipv4Addr::from(WEB)]);
    server.stop().await;
}
