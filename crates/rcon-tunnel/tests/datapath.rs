//! Containers on different hosts, joined by real tunnels, in namespaces.

mod lab;

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, UdpSocket},
    process::Stdio,
    thread,
};

use lab::{DEADLINE, Lab, MTU, be_a_tunnel, eventually, node, noise, possible, run, station, transfer};
use rcon_packet::control::{Command, DropReason, Network, Reply, Request, Station, VERSION};
use rcon_types::{FailureKind, Mtu, Revision, Vni};

#[test]
fn a_tunnel_in_a_process_of_its_own() {
    be_a_tunnel();
}

#[test]
fn containers_exchange_whatever_they_like() {
    if !possible(&[]) {
        return;
    }
    let lab = Lab::with_tunnels(3);
    let [a, b, c] = &lab.hosts[..] else { unreachable!() };
    for host in [b, c] {
        assert!(a.container.pings(&format!("fd00::{}", host.number)));
        assert!(host.container.pings("10.0.0.1"));
    }
    // Bulk in both directions at once, and over IPv6.
    let (there, back) = (noise(1, 40 << 20), noise(2, 40 << 20));
    thread::scope(|scope| {
        scope.spawn(|| transfer(&a.container, &b.container, "10.0.0.2".parse().unwrap(), &there));
        scope.spawn(|| transfer(&b.container, &a.container, "10.0.0.1".parse().unwrap(), &back));
    });
    transfer(&a.container, &c.container, "fd00::3".parse().unwrap(), &there);
    // Every size of datagram, fragments included.
    let far = b.container.inside(|| UdpSocket::bind("10.0.0.2:7000").unwrap());
    let near = a.container.inside(|| UdpSocket::bind("10.0.0.1:0").unwrap());
    far.set_read_timeout(Some(DEADLINE)).unwrap();
    for len in [0, 1, 17, 18, 19, 1000, 1341, 1342, 1343, 4000, 60_000] {
        let sent = noise(len as u64, len);
        near.send_to(&sent, "10.0.0.2:7000").unwrap();
        let mut received = vec![0; 65_536];
        let (len, _) = far.recv_from(&mut received).unwrap();
        assert!(received[..len] == sent, "{len}");
    }
    // Broadcast reaches all.
    let listeners = [b, c].map(|host| host.container.inside(|| UdpSocket::bind("0.0.0.0:7001").unwrap()));
    let shout = a.container.inside(|| UdpSocket::bind("10.0.0.1:0").unwrap());
    shout.set_broadcast(true).unwrap();
    shout.send_to(b"all", "10.0.0.255:7001").unwrap();
    for listener in &listeners {
        listener.set_read_timeout(Some(DEADLINE)).unwrap();
        assert_eq!(listener.recv_from(&mut [0; 9]).unwrap().0, 3);
    }
    let status = a.status().unwrap();
    assert!(status.peers.iter().all(|peer| peer.connected && peer.last_handshake_unix_ms > 0 && peer.rx_bytes > 0));
    assert_eq!(status.peers.iter().map(|p| p.drops.values().sum::<u64>()).sum::<u64>(), 0, "{status:?}");
}

#[test]
fn wg_show_knows_the_tunnel() {
    if !possible(&["wg"]) {
        return;
    }
    let lab = Lab::with_tunnels(2);
    let socket = lab.hosts[0].directory.path().join("wg.sock");
    let ask = |question: &[u8]| {
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        stream.write_all(question).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(ask(b"set=1\nreplace_peers=true\n\n").starts_with("errno=1\n"));
    assert!(ask(b"get=1\n\n").contains("allowed_ip=100.96.0.2/32\n"));
    // `wg` looks in one directory only, so it gets one of its own in a mount namespace.
    let show = format!(
        "mkdir -p /run/wireguard && mount -t tmpfs none /run/wireguard && ln -s {} /run/wireguard/rcon.sock && wg show rcon",
        socket.display()
    );
    let shown = run("unshare", &["-m", "sh", "-c", &show]);
    for part in ["public key:", "listening port: 51820", "endpoint: 10.9.0.2:51820", "allowed ips: 100.96.0.2/32", "latest handshake:"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn a_killed_tunnel_comes_back_by_itself() {
    if !possible(&[]) {
        return;
    }
    let mut lab = Lab::with_tunnels(2);
    lab.hosts[0].kill();
    assert!(!lab.hosts[0].container.pings("10.0.0.2"));
    lab.hosts[0].start();
    // Both ends without anybody: the one that was killed calls, and the other one takes the new session.
    eventually("containers reach each other again", || lab.hosts[0].container.pings("10.0.0.2").then_some(()));
    assert_eq!(lab.hosts[0].status().unwrap().revision, Revision(1));
    transfer(&lab.hosts[1].container, &lab.hosts[0].container, "10.0.0.1".parse().unwrap(), &noise(5, 4 << 20));
}

#[test]
fn a_tunnel_is_replaced_under_a_running_stream() {
    if !possible(&[]) {
        return;
    }
    let mut lab = Lab::with_tunnels(2);
    let listener = lab.hosts[1].container.inside(|| std::net::TcpListener::bind("10.0.0.2:9000").unwrap());
    let mut near = lab.hosts[0].container.inside(|| std::net::TcpStream::connect("10.0.0.2:9000").unwrap());
    let (mut far, _) = listener.accept().unwrap();
    far.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut echo = |text: &[u8]| {
        near.write_all(text).unwrap();
        let mut received = vec![0; text.len()];
        far.read_exact(&mut received).unwrap();
        assert_eq!(received, text);
    };
    echo(b"before");
    for _ in 0..3 {
        let mut old = lab.hosts[0].take_process();
        lab.hosts[0].start();
        assert!(old.wait().unwrap().success(), "the predecessor ends well");
        echo(b"after");
    }
    assert_eq!(lab.hosts[0].status().unwrap().revision, Revision(1));
}

#[test]
fn tables_change_while_packets_flow() {
    if !possible(&[]) {
        return;
    }
    let lab = Lab::with_tunnels(2);
    let a = &lab.hosts[0];
    // The peer loses its station: nothing goes there, and nothing that claims to come from it is taken.
    let mut tables = lab.tables(0);
    tables.revision = Revision(2);
    tables.networks[0].stations.clear();
    a.apply(tables);
    assert!(!a.container.pings("10.0.0.2"));
    let status = a.status().unwrap();
    assert!(status.drops[&DropReason::UnknownDestination] > 0 || status.peers[0].drops.contains_key(&DropReason::SpoofedStation));
    // It has it again, and the port is another one; the other side follows without being told.
    let mut tables = lab.tables(0);
    tables.revision = Revision(3);
    tables.listen_port = 51_999;
    a.apply(tables);
    eventually("the peer follows to the new port", || {
        a.container.pings("10.0.0.2");
        lab.hosts[1].status().unwrap().peers[0].endpoint.filter(|endpoint| endpoint.port() == 51_999)
    });
    eventually("containers reach each other", || lab.hosts[1].container.pings("10.0.0.1").then_some(()));
    // Older tables come too late.
    let Reply::Failed(failure) = a.ask(Command::SetTables(Box::new(lab.tables(0)))) else { panic!("taken") };
    assert_eq!(failure.kind, FailureKind::Conflict);
    // A network without a TAP of its own is made, and removed again.
    let mut tables = lab.tables(0);
    tables.revision = Revision(4);
    tables.networks.push(Network {
        vni: Vni::new(5000).unwrap(),
        tap: "tap9".to_owned(),
        mtu: Mtu(MTU),
        stations: vec![],
        replicate_to: vec![],
    });
    a.apply(tables);
    assert!(a.overlay.ip("link show tap9").contains("tap9"));
    let mut tables = lab.tables(0);
    tables.revision = Revision(5);
    a.apply(tables);
    eventually("containers reach each other", || lab.hosts[1].container.pings("10.0.0.1").then_some(()));
    a.overlay.ip("link del tap9");
}

#[test]
fn an_interface_that_was_deleted_is_made_again() {
    if !possible(&[]) {
        return;
    }
    let lab = Lab::with_tunnels(2);
    let a = &lab.hosts[0];
    a.overlay.ip("link del tap0");
    assert!(!a.container.pings("10.0.0.2"));
    a.apply(lab.tables(0));
    a.plug("tap0", MTU);
    eventually("containers reach each other", || a.container.pings("10.0.0.2").then_some(()));
    let pid = a.status().unwrap().pid;
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split(' ').collect();
        fields[12].parse::<u64>().unwrap() + fields[13].parse::<u64>().unwrap()
    };
    a.overlay.ip("link del tap0");
    let before = ticks();
    thread::park_timeout(std::time::Duration::from_secs(1));
    assert!(ticks() - before < 50, "it does not spin on the dead descriptor");
}

#[test]
fn the_underlay_may_be_ipv6() {
    if !possible(&[]) {
        return;
    }
    let mut lab = Lab::new(2);
    for host in &lab.hosts {
        host.host.ip(&format!("addr add fd09::{}/64 dev wan nodad", host.number));
    }
    for at in 0..2 {
        lab.hosts[at].start();
        let mut tables = lab.tables(at);
        tables.peers[0].endpoint = Some(format!("[fd09::{}]:{}", 2 - at, lab::PORT).parse().unwrap());
        lab.hosts[at].apply(tables);
        lab.hosts[at].plug("tap0", MTU);
    }
    eventually("containers reach each other", || lab.hosts[0].container.pings("10.0.0.2").then_some(()));
    let bytes = noise(9, 8 << 20);
    transfer(&lab.hosts[0].container, &lab.hosts[1].container, "10.0.0.2".parse().unwrap(), &bytes);
    transfer(&lab.hosts[1].container, &lab.hosts[0].container, "fd00::1".parse().unwrap(), &bytes);
    let status = lab.hosts[0].status().unwrap();
    assert!(status.peers[0].endpoint.unwrap().is_ipv6() && !status.peers[0].drops.contains_key(&DropReason::TooBig), "{status:?}");
}

#[test]
fn networks_do_not_see_each_other() {
    if !possible(&[]) {
        return;
    }
    let lab = Lab::with_tunnels(2);
    // Host 2 moves to another number on the same interface; host 1 knows nothing of it.
    let mut tables = lab.tables(1);
    tables.revision = Revision(2);
    tables.networks[0].vni = Vni::new(4097).unwrap();
    tables.networks[0].stations = vec![Station { mac: station(1), node: node(1) }];
    lab.hosts[1].apply(tables);
    assert!(!lab.hosts[1].container.pings("10.0.0.1"));
    assert!(lab.hosts[0].status().unwrap().peers[0].drops[&DropReason::UnknownNetwork] > 0);
}

#[test]
fn a_frame_that_is_too_big_is_answered() {
    if !possible(&[]) {
        return;
    }
    let lab = Lab::with_tunnels(2);
    let a = &lab.hosts[0];
    // A container that is still on the MTU of an earlier time.
    for (namespace, device) in [(&a.container, "eth0"), (&a.overlay, "c0"), (&a.overlay, "tap0"), (&a.overlay, "br0")] {
        namespace.ip(&format!("link set {device} mtu 1500"));
    }
    let ping = |target: &str, size: &str| {
        let output = a.container.process("ping").args(["-c2", "-W1", "-i0.2", "-M", "do", "-s", size, target]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    let said = ping("10.0.0.2", "1400");
    assert!(said.contains("mtu = 1370") || said.contains("mtu=1370"), "{said}");
    let said = ping("fd00::2", "1400");
    assert!(said.contains("mtu = 1370") || said.contains("mtu=1370") || said.contains("Packet too big"), "{said}");
    transfer(&a.container, &lab.hosts[1].container, "10.0.0.2".parse().unwrap(), &noise(7, 4 << 20));
    assert!(a.status().unwrap().peers[0].drops[&DropReason::TooBig] > 0);
}

#[test]
fn a_narrower_path_is_found_and_told() {
    if !possible(&[]) {
        return;
    }
    let lab = Lab::with_tunnels(2);
    let a = &lab.hosts[0];
    a.host.ip("link set wan mtu 1400");
    // The first is lost at the socket; then the limit is known.
    transfer(&a.container, &lab.hosts[1].container, "10.0.0.2".parse().unwrap(), &noise(8, 1 << 20));
    assert!(a.status().unwrap().peers[0].drops[&DropReason::TooBig] > 0);
}

#[test]
fn garbage_at_the_control_socket_hurts_nobody() {
    if !possible(&[]) {
        return;
    }
    let lab = Lab::with_tunnels(2);
    let a = &lab.hosts[0];
    let say = |bytes: &[u8]| {
        let mut stream = a.connect().unwrap();
        stream.write_all(bytes).unwrap();
        lab::read(&mut stream)
    };
    assert!(matches!(say(&[0xff; 4]), Some(Reply::Failed(_))), "a length beyond the limit");
    assert!(matches!(say(b"\0\0\0\x02{}"), Some(Reply::Failed(_))));
    assert!(matches!(say(b"\0\0\0\x04null"), Some(Reply::Failed(_))));
    let mut stream = a.connect().unwrap();
    let request = Request { version: VERSION + 1, command: Command::Status };
    let Reply::Failed(failure) = lab::exchange(&mut stream, &request) else { panic!("taken") };
    assert!(failure.hint.is_some());
    let mut wrong = lab.tables(0);
    wrong.private_key_file = "/nowhere".into();
    let Reply::Failed(failure) = lab::exchange(&mut stream, &Request::new(Command::SetTables(Box::new(wrong)))) else { panic!("taken") };
    assert_eq!(failure.kind, FailureKind::FailedPrecondition);
    // More connections than are served are closed, and the next one after that is served.
    let many: Vec<_> = (0..40).map(|_| a.connect().unwrap()).collect();
    drop(many);
    eventually("the socket answers", || a.status());
    assert!(a.container.pings("10.0.0.2"));
}

#[test]
fn the_tunnel_stops_when_told_and_leaves_its_interface() {
    if !possible(&[]) {
        return;
    }
    let mut lab = Lab::with_tunnels(2);
    assert_eq!(lab.hosts[0].ask(Command::Stop), Reply::Stopping);
    assert!(lab.hosts[0].take_process().wait().unwrap().success());
    assert!(!lab.hosts[0].directory.path().join("tunnel.sock").exists());
    assert!(lab.hosts[0].overlay.ip("link show tap0").contains("tap0"));
}

#[test]
fn many_small_datagrams_keep_their_bounds() {
    if !possible(&[]) {
        return;
    }
    let lab = Lab::with_tunnels(2);
    let [a, b] = &lab.hosts[..] else { unreachable!() };
    let far = b.container.inside(|| UdpSocket::bind("10.0.0.2:7000").unwrap());
    far.set_read_timeout(Some(DEADLINE)).unwrap();
    let near = a.container.inside(|| UdpSocket::bind("10.0.0.1:0").unwrap());
    let target: IpAddr = Ipv4Addr::new(10, 0, 0, 2).into();
    let mut received = [0; 2048];
    for round in 0..200_u32 {
        // Few at a time, so that none is lost for want of a buffer.
        let sent: Vec<Vec<u8>> = (0..16).map(|n| noise(u64::from(round * 16 + n), 1 + ((round * 16 + n) % 1300) as usize)).collect();
        sent.iter().for_each(|bytes| assert_eq!(near.send_to(bytes, (target, 7000)).unwrap(), bytes.len()));
        for bytes in &sent {
            let (len, _) = far.recv_from(&mut received).unwrap();
            assert!(&received[..len] == bytes);
        }
    }
    let quiet = a.container.process("ping").args(["-c20", "-i0.01", "-q", "10.0.0.2"]).stdout(Stdio::piped()).output().unwrap();
    assert!(String::from_utf8_lossy(&quiet.stdout).contains(" 0% packet loss"));
}
