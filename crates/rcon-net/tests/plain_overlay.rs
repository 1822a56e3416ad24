//! Plain overlays between hosts that are namespaces, on the real kernel.
#![allow(missing_docs)]

mod support;

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::Path,
    thread,
    time::Instant,
};

use rcon_netplan::{DNS_ADDRESS, DNS_PORT, GATEWAY_MAC, names};
use rcon_types::Mtu;
use support::{
    DEADLINE, Lab, SILENCE, World, addresses, eventually,
    frames::{self, Tap},
    inside, lab, network, run, try_run,
};

/// A server in one namespace, a client in another: what the client is told.
fn page(server: &Path, address: IpAddr, client: &Path) -> Result<String, std::io::Error> {
    let address = SocketAddr::new(address, 8080);
    let listener = inside(server, || TcpListener::bind(address))?;
    let serving = thread::spawn(move || {
        listener.set_nonblocking(false)?;
        let (mut stream, _) = listener.accept()?;
        stream.write_all(b"the page")
    });
    let read = inside(client, || {
        let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    });
    if read.is_ok() {
        serving.join().unwrap()?;
    }
    read
}

#[test]
fn containers_on_two_hosts_reach_each_other_over_both_families() {
    let Some(lab) = lab(2) else { return };
    let plain = network(1, false);
    let world = World::default().network(plain.clone()).place(0, 0, 11).place(1, 0, 12);
    for report in lab.settle(&world) {
        assert!(report.applied && report.problems.is_empty(), "{report:?}");
    }
    let (server, client) = (lab.container(0, 11), lab.container(1, 12));
    for address in addresses(&plain, 11).0 {
        assert_eq!(page(&server, address, &client).unwrap(), "the page");
    }
    for (number, _) in lab.hosts.iter().enumerate() {
        let again = lab.wait(lab.net(number).resync()).unwrap();
        assert_eq!(again.steps, 0, "a second look finds nothing to do");
    }
}

/// One container on each of two hosts of a plain network.
fn two(lab: &Lab) -> World {
    let world = World::default().network(network(1, false)).place(0, 0, 11).place(1, 0, 12);
    for report in lab.settle(&world) {
        assert!(report.applied && report.problems.is_empty(), "{report:?}");
    }
    world
}

/// The page of container 11 as container 12 reads it, over IPv4.
fn first_page(lab: &Lab) -> Result<String, std::io::Error> {
    page(&lab.container(0, 11), addresses(&network(1, false), 11).0[0], &lab.container(1, 12))
}

/// A UDP socket that hears, and gives up after a while.
fn ear(namespace: &Path, address: impl Into<SocketAddr> + Send) -> UdpSocket {
    let socket = inside(namespace, || UdpSocket::bind(address.into())).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}

fn hears(socket: &UdpSocket, wait: std::time::Duration) -> Option<Vec<u8>> {
    let mut buffer = [0; 2000];
    socket.set_read_timeout(Some(wait)).unwrap();
    socket.recv(&mut buffer).ok().map(|length| buffer[..length].to_vec())
}

#[test]
fn who_has_questions_for_known_endpoints_never_reach_the_fabric() {
    let Some(lab) = lab(2) else { return };
    let world = two(&lab);
    let tap = Tap::open(&lab.fabric(), "fabric");
    let ports = [Tap::open(&lab.fabric(), "port1"), Tap::open(&lab.fabric(), "port2")];
    for address in addresses(&world.networks[0], 11).0 {
        assert_eq!(page(&lab.container(0, 11), address, &lab.container(1, 12)).unwrap(), "the page");
    }
    // The gateway is asked for as well, and answers on each host for itself.
    run(&lab.container(1, 12), "busybox ping -c 1 -W 2 10.10.1.1 && busybox ping -6 -c 1 -W 2 fd10:1::1");
    let mut seen = 0;
    for frame in ports.iter().chain([&tap]).flat_map(Tap::so_far) {
        let Some((vni, inner)) = frames::inner(&frame) else { continue };
        assert_eq!(vni, 4097);
        assert_ne!(inner[12..14], [8, 6], "ARP crossed the fabric");
        let is_discovery = inner[12..14] == [0x86, 0xdd] && inner[20] == 58 && (133..=137).contains(&inner[54]);
        assert!(!is_discovery, "neighbour discovery crossed the fabric: {inner:02x?}");
        assert_ne!(inner[6..12], GATEWAY_MAC.0, "a gateway's frame crossed the fabric");
        seen += 1;
    }
    assert!(seen > 10, "the capture saw the traffic itself");
}

#[test]
fn frames_of_the_gateway_stay_on_their_host() {
    let Some(lab) = lab(2) else { return };
    let world = two(&lab);
    let port = Tap::open(&lab.fabric(), "port1");
    // To an address that nobody has, to everybody, and to a container of the other host: all from the gateway itself.
    for target in ["10.10.1.99", "fd10:1::99", "10.10.1.12", "fd10:1::12", "-b 10.10.1.255", "ff02::1%rcb4097"] {
        try_run(&lab.overlay(0), &format!("busybox ping -c 1 -W 1 {target}"));
    }
    let crossed = port.so_far().iter().filter_map(|frame| frames::inner(frame)).any(|(_, inner)| inner[6..12] == GATEWAY_MAC.0);
    assert!(!crossed, "the gateway's frames must not leave the host");
    drop(world);
}

#[test]
fn broadcast_and_multicast_arrive_on_other_hosts() {
    let Some(lab) = lab(2) else { return };
    two(&lab);
    let (listener, speaker) = (lab.container(1, 12), lab.container(0, 11));
    let broadcast = ear(&listener, (Ipv4Addr::UNSPECIFIED, 5000));
    let multicast = ear(&listener, (Ipv4Addr::UNSPECIFIED, 5001));
    inside(&listener, || multicast.join_multicast_v4(&Ipv4Addr::new(239, 1, 2, 3), &Ipv4Addr::new(10, 10, 1, 12))).unwrap();
    let multicast_v6 = ear(&listener, (Ipv6Addr::UNSPECIFIED, 5002));
    let index = inside(&listener, || nix::net::if_::if_nametoindex("eth0")).unwrap();
    let group: Ipv6Addr = "ff05::1:3".parse().unwrap();
    inside(&listener, || multicast_v6.join_multicast_v6(&group, index)).unwrap();

    inside(&speaker, || {
        let socket = UdpSocket::bind("10.10.1.11:0").unwrap();
        socket.set_broadcast(true).unwrap();
        socket.send_to(b"all", "10.10.1.255:5000").unwrap();
        socket.send_to(b"some", "239.1.2.3:5001").unwrap();
        let index = nix::net::if_::if_nametoindex("eth0").unwrap();
        let socket = UdpSocket::bind("[fd10:1::11]:0").or_else(|_| UdpSocket::bind("[::]:0")).unwrap();
        let everywhere = std::net::SocketAddrV6::new(group, 5002, 0, index);
        socket.send_to(b"six", everywhere).unwrap();
    });
    assert_eq!(hears(&broadcast, DEADLINE).unwrap(), b"all");
    assert_eq!(hears(&multicast, DEADLINE).unwrap(), b"some");
    assert_eq!(hears(&multicast_v6, DEADLINE).unwrap(), b"six");
}

#[test]
fn a_container_cannot_speak_with_another_address() {
    let Some(lab) = lab(2) else { return };
    let world = two(&lab);
    let ear = ear(&lab.container(1, 12), (Ipv4Addr::UNSPECIFIED, 6000));
    let tap = Tap::open(&lab.container(0, 11), "eth0");
    let network = &world.networks[0];
    let (own, target) = (addresses(network, 11).1.0, addresses(network, 12).1.0);
    let packet = frames::udp([10, 10, 1, 11].into(), [10, 10, 1, 12].into(), 6000, b"who am I");
    tap.send(&frames::ethernet(target, own, 0x0800, &packet));
    assert_eq!(hears(&ear, DEADLINE).unwrap(), b"who am I", "its own address works");
    for stolen in [GATEWAY_MAC.0, [0x02, 0x42, 10, 10, 1, 77], target] {
        tap.send(&frames::ethernet(target, stolen, 0x0800, &packet));
        assert_eq!(hears(&ear, SILENCE), None, "{stolen:02x?}");
    }
}

#[test]
fn frames_of_strangers_are_dropped_and_counted() {
    let Some(lab) = lab(3) else { return };
    let world = two(&lab);
    let ear = ear(&lab.container(1, 12), (Ipv4Addr::UNSPECIFIED, 6000));
    let network = &world.networks[0];
    let packet = frames::udp([10, 10, 1, 11].into(), [10, 10, 1, 12].into(), 6000, b"hello");
    let frame = frames::ethernet(addresses(network, 12).1.0, addresses(network, 11).1.0, 0x0800, &packet);
    let inject = |host: usize| {
        inside(&lab.hosts[host].namespace, || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.send_to(&frames::vxlan(network.vni.get(), &frame), (lab.hosts[1].address, 4789)).unwrap();
        });
    };
    inject(0);
    assert_eq!(hears(&ear, DEADLINE).unwrap(), b"hello", "a member may send");
    inject(2);
    assert_eq!(hears(&ear, SILENCE), None, "a stranger may not");
    let counted = run(&lab.hosts[1].namespace, "nft list counter inet rcon strangers");
    assert!(counted.contains("packets 1 "), "{counted}");
}

#[test]
fn containers_reach_the_outside_unless_the_network_is_internal() {
    let Some(lab) = lab(2) else { return };
    let outside = lab.outsider("outside", &["10.77.0.100/24", "fd77::100/64"]);
    let mut hidden = network(2, false);
    hidden.internal = true;
    let world = World::default().network(network(1, false)).network(hidden).place(0, 0, 11).place(1, 0, 12).place(0, 1, 21).place(1, 1, 22);
    lab.settle(&world);
    for address in ["10.77.0.100".parse::<IpAddr>().unwrap(), "fd77::100".parse().unwrap()] {
        assert_eq!(page(&outside, address, &lab.container(0, 11)).unwrap(), "the page");
        assert!(page(&outside, address, &lab.container(0, 21)).is_err(), "an internal network has no way out");
    }
    assert_eq!(page(&lab.container(0, 21), [10, 10, 2, 21].into(), &lab.container(1, 22)).unwrap(), "the page");
    let (answered, _) = try_run(&lab.container(0, 11), "busybox ping -c 1 -W 1 10.10.2.21");
    assert!(!answered, "networks do not reach each other");
    let (answered, _) = try_run(&lab.hosts[0].namespace, "busybox ping -c 1 -W 1 10.10.1.11");
    assert!(!answered, "the host is not on the network");
}

#[test]
fn a_container_cannot_leave_with_an_address_that_is_not_of_its_network() {
    let Some(lab) = lab(1) else { return };
    let outside = lab.outsider("outside", &["10.77.0.100/24"]);
    lab.settle(&World::default().network(network(1, false)).place(0, 0, 11));
    let ear = ear(&outside, (Ipv4Addr::UNSPECIFIED, 6000));
    let tap = Tap::open(&lab.container(0, 11), "eth0");
    let own = addresses(&network(1, false), 11).1.0;
    let send = |source: [u8; 4]| {
        let packet = frames::udp(source.into(), [10, 77, 0, 100].into(), 6000, b"out");
        tap.send(&frames::ethernet(GATEWAY_MAC.0, own, 0x0800, &packet));
    };
    send([10, 10, 1, 11]);
    assert_eq!(hears(&ear, DEADLINE).unwrap(), b"out");
    send([192, 0, 2, 1]);
    assert_eq!(hears(&ear, SILENCE), None);
}

#[test]
fn damage_by_hand_is_mended_within_a_second() {
    let Some(lab) = lab(2) else { return };
    let world = two(&lab);
    let (overlay, host) = (lab.overlay(1), lab.hosts[1].namespace.clone());
    let port = names::container_port(*world.seen_by(&lab, 1).networks.values().next().unwrap().local.keys().next().unwrap());
    let before = |namespace: &Path| run(namespace, SNAPSHOT);
    let (sound_overlay, sound_host) = (before(&overlay), before(&host));
    for (namespace, damage) in [
        (&overlay, "ip link del rcx4097".to_owned()),
        (&overlay, "ip link del rcb4097".into()),
        (&overlay, format!("ip link set {port} down")),
        (&overlay, format!("ip link set {port} type bridge_slave locked off learning on")),
        (&overlay, format!("ip link del {port}")),
        (&overlay, "bridge fdb del 02:42:0a:0a:01:0b dev rcx4097 self dst 10.77.0.1".into()),
        (&overlay, "bridge fdb del 02:42:0a:0a:01:0b dev rcx4097 master".into()),
        (&overlay, "bridge fdb del 00:00:00:00:00:00 dev rcx4097 dst 10.77.0.1".into()),
        (&overlay, "ip neigh del 10.10.1.11 dev rcb4097".into()),
        (&overlay, "ip addr del 10.10.1.1/24 dev rcb4097".into()),
        (&overlay, "ip link add stray type veth peer name yarts".into()),
        (&overlay, "ip route del default".into()),
        (&overlay, "ip link set rcb4097 mtu 1400".into()),
        (&overlay, "nft delete table inet rcon".into()),
        (&overlay, "nft flush chain bridge rcon output".into()),
        (&host, "nft flush ruleset".into()),
        (&host, "nft flush set inet rcon plain_senders_v4".into()),
        (&host, "ip link del rcon-link".into()),
    ] {
        run(namespace, &damage);
        eventually(&format!("mending `{damage}`"), || before(&overlay) == sound_overlay && before(&host) == sound_host);
        assert_eq!(first_page(&lab).unwrap(), "the page", "after `{damage}`");
    }
}

/// What must be the same after mending as before the damage; indexes aside.
const SNAPSHOT: &str = "ip -br link | sed 's/@[^ ]*//' | awk '{print $1, $2}' | sort; ip -o addr show scope global | awk '{print $2, $4}' | sort
    ip route; ip -6 route | grep -v fe80 | sort; ip neigh show nud permanent | sort; ip -6 neigh show nud permanent | grep -v ff02 | sort
    bridge fdb show | grep -v -e 33:33 -e 01:00:5e | grep -e static -e dst | sort
    ip -d link | grep -o -e 'mtu [0-9]*' -e 'learning [a-z]*' -e 'locked [a-z]*' -e 'neigh_suppress [a-z]*' -e ' flood [a-z]*' | sort | uniq -c
    for family in inet bridge; do nft --stateless list table $family rcon; done; true";

#[test]
fn a_successor_takes_over_what_a_killed_one_left() {
    let Some(mut lab) = lab(2) else { return };
    let world = two(&lab);
    let stream = {
        let listener = inside(&lab.container(0, 11), || TcpListener::bind("10.10.1.11:9000")).unwrap();
        let client = inside(&lab.container(1, 12), || TcpStream::connect("10.10.1.11:9000")).unwrap();
        (listener.accept().unwrap().0, client)
    };
    let index = run(&lab.overlay(1), "cat /sys/class/net/rcb4097/ifindex 2>/dev/null || ip -o link show rcb4097 | cut -d: -f1");
    lab.hosts[1].net = None;
    lab.hosts[1].start();
    let report = lab.apply(1, &world.seen_by(&lab, 1));
    assert!(report.applied && report.problems.is_empty(), "{report:?}");
    assert_eq!(
        run(&lab.overlay(1), "ip -o link show rcb4097 | cut -d: -f1").trim(),
        index.trim().lines().last().unwrap().trim(),
        "nothing was made anew"
    );
    let (mut server, mut client) = stream;
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    server.write_all(b"still").unwrap();
    let mut read = [0; 5];
    client.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"still");
}

#[test]
fn a_running_container_is_connected_and_disconnected() {
    let Some(lab) = lab(2) else { return };
    let world = two(&lab).network(network(2, false));
    let joined = world.clone().place(1, 1, 12).place(0, 1, 21);
    lab.settle(&joined);
    assert_eq!(page(&lab.container(0, 21), [10, 10, 2, 21].into(), &lab.container(1, 12)).unwrap(), "the page");
    assert_eq!(first_page(&lab).unwrap(), "the page");
    lab.settle(&world);
    assert!(!run(&lab.container(1, 12), "ip -br link").contains("eth1"));
    assert!(!run(&lab.overlay(1), "ip -br link").contains("4098"));
    assert_eq!(first_page(&lab).unwrap(), "the page");
}

#[test]
fn a_container_that_is_gone_leaves_no_port_and_a_new_one_takes_its_address() {
    let Some(lab) = lab(2) else { return };
    let world = two(&lab);
    lab.wait(lab.net(0).delete_container_namespace(support::container(11))).unwrap();
    let report = lab.apply(0, &world.seen_by(&lab, 0));
    assert!(report.problems.iter().any(|problem| problem.failure.to_string().contains("no network namespace")), "{report:?}");
    lab.container(0, 11);
    let report = lab.apply(0, &world.seen_by(&lab, 0));
    assert!(report.problems.is_empty(), "{report:?}");
    assert_eq!(first_page(&lab).unwrap(), "the page");
}

#[test]
fn running_interfaces_follow_the_mtu_of_their_network() {
    let Some(lab) = lab(2) else { return };
    let mut world = two(&lab);
    assert!(run(&lab.container(0, 11), "ip link show eth0").contains("mtu 1450"));
    run(&lab.container(0, 11), "busybox ping -c 1 -W 2 -s 1422 10.10.1.12");
    for mtu in [1350, 1440] {
        world.networks[0].mtu = Mtu(mtu);
        assert!(lab.settle(&world).iter().all(|report| report.applied));
        for (namespace, link) in [(lab.container(0, 11), "eth0"), (lab.overlay(0), "rcb4097"), (lab.overlay(0), "rcx4097")] {
            assert!(run(&namespace, &format!("ip link show {link}")).contains(&format!("mtu {mtu} ")), "{link}");
        }
        assert_eq!(first_page(&lab).unwrap(), "the page");
    }
}

#[test]
fn bridge_netfilter_in_the_host_makes_no_difference() {
    let Some(lab) = lab(2) else { return };
    for host in &lab.hosts {
        let (there, _) = try_run(&host.namespace, "sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1");
        if !there {
            eprintln!("SKIPPED: this kernel has no br_netfilter");
            return;
        }
    }
    two(&lab);
    assert_eq!(first_page(&lab).unwrap(), "the page");
    assert_eq!(
        run(&lab.hosts[0].namespace, "cat /proc/sys/net/bridge/bridge-nf-call-iptables").trim(),
        "1",
        "it is the host's, and left alone"
    );
}

#[test]
fn questions_for_the_resolver_reach_the_port_where_it_listens() {
    let Some(lab) = lab(1) else { return };
    let world = World::default().network(network(1, false)).place(0, 0, 11);
    lab.settle(&world);
    let container = lab.container(0, 11);
    let resolver = ear(&container, (DNS_ADDRESS, DNS_PORT));
    // The application keeps port 53 on every address to itself.
    let own = ear(&container, (Ipv4Addr::UNSPECIFIED, 53));
    let asker = ear(&container, (Ipv4Addr::UNSPECIFIED, 0));
    asker.connect((DNS_ADDRESS, 53)).unwrap();
    asker.send(b"who is web").unwrap();
    let mut question = [0; 32];
    let (length, from) = resolver.recv_from(&mut question).unwrap();
    assert_eq!(&question[..length], b"who is web");
    resolver.send_to(b"10.10.1.11", from).unwrap();
    assert_eq!(hears(&asker, DEADLINE).unwrap(), b"10.10.1.11", "the answer comes from where it was asked");
    assert_eq!(hears(&own, SILENCE), None);

    let listener = inside(&container, || TcpListener::bind((DNS_ADDRESS, DNS_PORT))).unwrap();
    let stream = inside(&container, || TcpStream::connect((DNS_ADDRESS, 53))).unwrap();
    assert_eq!(stream.peer_addr().unwrap().port(), 53);
    listener.accept().unwrap();
}

#[test]
fn leaving_removes_everything_from_the_host() {
    let Some(lab) = lab(1) else { return };
    let host = lab.hosts[0].namespace.clone();
    let before = run(&host, SNAPSHOT);
    lab.settle(&World::default().network(network(1, false)).network(network(2, true)).place(0, 0, 11).place(0, 1, 21));
    assert_ne!(run(&host, SNAPSHOT), before);
    lab.wait(lab.net(0).destroy()).unwrap();
    assert_eq!(run(&host, SNAPSHOT), before);
    assert!(!lab.overlay(0).exists());
    eventually("the containers' interfaces going", || !run(&lab.container(0, 11), "ip -br link").contains("eth0"));
}

#[test]
fn an_endpoint_is_attached_in_a_few_milliseconds() {
    let Some(lab) = lab(2) else { return };
    let world = two(&lab);
    lab.container(0, 13);
    let joined = world.place(0, 0, 13).seen_by(&lab, 0);
    let begin = Instant::now();
    let report = lab.apply(0, &joined);
    let took = begin.elapsed();
    assert!(report.applied && report.steps < 20, "{report:?}");
    eprintln!("attached one endpoint with {} steps in {took:?}", report.steps);
    assert!(took < DEADLINE);
}
