//! Whatever happens, nothing but WireGuard leaves a host, and nothing but what a member may say comes in.

mod lab;

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use lab::{
    DEADLINE, Host, Lab, PORT, View, be_a_tunnel,
    capture::{Capture, assert_closed},
    eventually, possible, run,
    speaker::{Speaker, datagram, in_vxlan},
    station, transfer, underlay, vtep,
};
use rcon_packet::{
    control::DropReason,
    control::{Drops, PublicKey},
    wireguard::Message,
};
use rcon_types::{MacAddr, Revision, Vni};

const MARKER: &[u8] = b"rcon-marker-that-nobody-may-see";

#[test]
fn a_tunnel_in_a_process_of_its_own() {
    be_a_tunnel();
}

/// A lab whose fabric carries every datagram by itself, so that a capture sees each.
fn lab_without_offloads() -> Lab {
    let lab = Lab::new(2);
    for host in &lab.hosts {
        run("ip", &["netns", "exec", &host.host.name, "ethtool", "-K", "wan", "tx-udp-segmentation", "off", "tso", "off"]);
    }
    lab
}

/// Sends the marker in every way from a container until told to stop.
fn shout(host: &View, target: Ipv4Addr, stop: &AtomicBool) {
    let udp = host.container.inside(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    udp.set_broadcast(true).unwrap();
    let text = MARKER.repeat(30);
    while !stop.load(Ordering::Relaxed) {
        // An error is what a container gets when nobody answers for the address; it goes on.
        let _ = udp.send_to(&text, (target, 7777));
        let _ = udp.send_to(MARKER, "10.0.0.255:7777");
        let tcp = |wait| host.container.inside(move || std::net::TcpStream::connect_timeout(&(target, 7778).into(), wait));
        if let Ok(mut stream) = tcp(Duration::from_millis(5)) {
            let _ = stream.set_write_timeout(Some(Duration::from_millis(50)));
            let _ = std::io::Write::write_all(&mut stream, &text.repeat(100));
        }
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// Accepts whatever comes and forgets it.
fn sink(host: &View, stop: &AtomicBool) {
    let listener = host.container.inside(|| std::net::TcpListener::bind("0.0.0.0:7778").unwrap());
    listener.set_nonblocking(true).unwrap();
    while !stop.load(Ordering::Relaxed) {
        if let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
        thread::park_timeout(Duration::from_millis(1));
    }
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What is on the fabric while `trouble` happens and both containers shout.
fn watch(lab: &mut Lab, trouble: impl FnOnce(&mut Lab)) -> Vec<Message> {
    let captures = [Capture::start(&lab.hosts[0].host, "wan"), Capture::start(&lab.hosts[1].host, "wan")];
    let fabric = Capture::start(&lab.fabric, "fabric");
    let stop = AtomicBool::new(false);
    // The containers outlive the trouble, which may only touch the tunnels; two views of one lab for the threads.
    let containers: Vec<_> = lab.hosts.iter().map(|host| host.container.name.clone()).collect();
    let views: Vec<View> = containers.iter().zip(1..).map(|(name, number)| Host::view(name, number)).collect();
    thread::scope(|scope| {
        for (view, target) in views.iter().zip([2, 1]) {
            let stop = &stop;
            scope.spawn(move || shout(view, Ipv4Addr::new(10, 0, 0, target), stop));
            scope.spawn(move || sink(view, stop));
        }
        // Also when the trouble ends in a failed test, or the scope would wait for ever.
        let _stop = SetOnDrop(&stop);
        trouble(lab);
    });
    let mut messages = assert_closed(&fabric.finish(), MARKER);
    for capture in captures {
        messages.extend(assert_closed(&capture.finish(), MARKER));
    }
    messages
}

#[test]
fn only_wireguard_leaves_a_host_through_kills_and_restarts() {
    if !possible(&["tcpdump", "ethtool"]) {
        return;
    }
    let mut lab = lab_without_offloads();
    let messages = watch(&mut lab, |lab| {
        for at in 0..2 {
            lab.hosts[at].start();
            let tables = lab.tables(at);
            lab.hosts[at].apply(tables);
            lab.hosts[at].plug("tap0", lab::MTU);
        }
        eventually("containers reach each other", || lab.hosts[0].container.pings("10.0.0.2").then_some(()));
        transfer(&lab.hosts[0].container, &lab.hosts[1].container, "10.0.0.2".parse().unwrap(), &MARKER.repeat(100_000));
        // Killed in the middle of things; the containers go on sending into an interface that nobody reads.
        lab.hosts[0].kill();
        assert!(!lab.hosts[1].container.pings("10.0.0.1"));
        lab.hosts[0].start();
        eventually("containers reach each other again", || lab.hosts[0].container.pings("10.0.0.2").then_some(()));
        // Replaced by a successor.
        let mut old = lab.hosts[1].take_process();
        lab.hosts[1].start();
        old.wait().unwrap();
        eventually("containers reach each other once more", || lab.hosts[0].container.pings("10.0.0.2").then_some(()));
    });
    assert!(messages.contains(&Message::HandshakeInitiation));
    assert!(messages.iter().filter(|message| matches!(message, Message::Data { .. })).count() > 2000);
}

#[test]
fn without_the_right_key_nothing_is_sent_at_all() {
    if !possible(&["tcpdump", "ethtool"]) {
        return;
    }
    let mut lab = lab_without_offloads();
    let messages = watch(&mut lab, |lab| {
        for at in 0..2 {
            lab.hosts[at].start();
            let mut tables = lab.tables(at);
            // Each believes that the other has a key which it does not have.
            tables.peers[0].public_key = PublicKey(boringtun::x25519::PublicKey::from([at as u8 + 77; 32]).to_bytes());
            lab.hosts[at].apply(tables);
            lab.hosts[at].plug("tap0", lab::MTU);
        }
        let dropped = |host: &Host| host.status().unwrap().peers[0].drops.get(&DropReason::NoSession).copied();
        eventually("packets are dropped", || dropped(&lab.hosts[0]).filter(|count| *count > 100));
        let refused = |host: &Host| host.status().unwrap().drops.get(&DropReason::HandshakeRefused).copied();
        eventually("handshakes are refused", || refused(&lab.hosts[1]));
        assert!(!lab.hosts[0].container.pings("10.0.0.2"));
        assert!(lab.hosts.iter().all(|host| !host.status().unwrap().peers[0].connected));
        // The key is gone altogether: tables are refused, and a tunnel that starts again has none.
        std::fs::remove_file(lab.hosts[0].directory.path().join("key")).unwrap();
        lab.hosts[0].kill();
        lab.hosts[0].start();
        assert_eq!(lab.hosts[0].status().unwrap().revision, Revision(0));
        assert!(!lab.hosts[0].container.pings("10.0.0.2"));
    });
    assert!(messages.iter().all(|message| *message == Message::HandshakeInitiation), "no session, no data");
}

/// A tunnel on host 1, and a member that speaks for host 2.
fn tunnel_and_speaker(lab: &mut Lab) -> Speaker {
    lab.hosts[0].start();
    let mut tables = lab.tables(0);
    // Only the speaker calls, so that the handshakes do not cross.
    tables.peers[0].endpoint = None;
    lab.hosts[0].apply(tables);
    lab.hosts[0].plug("tap0", lab::MTU);
    Speaker::new(&lab.hosts[1], &lab.hosts[0])
}

fn drops(lab: &Lab, peer: usize) -> Drops {
    lab.hosts[0].status().unwrap().peers[peer].drops.clone()
}

fn listener(lab: &Lab) -> UdpSocket {
    let socket = lab.hosts[0].container.inside(|| UdpSocket::bind("10.0.0.1:7000").unwrap());
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}

#[test]
fn only_what_a_member_may_say_comes_in() {
    if !possible(&[]) {
        return;
    }
    let mut lab = Lab::new(3);
    let mut speaker = tunnel_and_speaker(&mut lab);
    let listener = listener(&lab);
    let good = |text: &[u8]| in_vxlan(vtep(2), vtep(1), Vni::FIRST, &datagram((station(2), station(1)), (2, 1), 7000, text));
    let frame = datagram((station(2), station(1)), (2, 1), 7000, b"bad");
    let from = |mac| datagram((mac, station(1)), (2, 1), 7000, b"bad");
    let mut udp_port = good(b"bad");
    udp_port[23] ^= 1;
    let cases: Vec<(Vec<u8>, DropReason)> = vec![
        (in_vxlan(vtep(3), vtep(1), Vni::FIRST, &frame), DropReason::SpoofedTunnelAddress),
        (in_vxlan(vtep(2), vtep(3), Vni::FIRST, &frame), DropReason::SpoofedTunnelAddress),
        (in_vxlan(vtep(2), vtep(1), Vni::new(4097).unwrap(), &frame), DropReason::UnknownNetwork),
        (in_vxlan(vtep(2), vtep(1), Vni::FIRST, &from(station(3))), DropReason::SpoofedStation),
        (in_vxlan(vtep(2), vtep(1), Vni::FIRST, &from(station(1))), DropReason::SpoofedStation),
        (in_vxlan(vtep(2), vtep(1), Vni::FIRST, &from(MacAddr::BROADCAST)), DropReason::SpoofedStation),
        (in_vxlan(vtep(2), vtep(1), Vni::FIRST, &[0; 13]), DropReason::MalformedTunnel),
        (udp_port, DropReason::MalformedTunnel),
        (vec![0x60; 100], DropReason::MalformedTunnel),
        (vec![0x45; 100], DropReason::MalformedTunnel),
    ];
    for (packet, reason) in &cases {
        let before = drops(&lab, 0).get(reason).copied().unwrap_or(0);
        let message = speaker.seal(packet);
        speaker.send(&message);
        eventually(&format!("{reason:?} is counted"), || drops(&lab, 0).get(reason).filter(|count| **count > before).copied());
    }
    let message = speaker.seal(&good(b"good"));
    speaker.send(&message);
    let mut received = [0; 64];
    let (len, _) = listener.recv_from(&mut received).unwrap();
    assert_eq!(&received[..len], b"good", "nothing of the rest arrived before");
}

#[test]
fn replayed_and_damaged_messages_are_dropped() {
    if !possible(&[]) {
        return;
    }
    let mut lab = Lab::new(2);
    let mut speaker = tunnel_and_speaker(&mut lab);
    let listener = listener(&lab);
    let mut message =
        |text: &[u8]| speaker.seal(&in_vxlan(vtep(2), vtep(1), Vni::FIRST, &datagram((station(2), station(1)), (2, 1), 7000, text)));
    let (first, second, third) = (message(b"1"), message(b"2"), message(b"3"));
    let damaged = {
        let mut bytes = message(b"4");
        *bytes.last_mut().unwrap() ^= 1;
        bytes
    };
    let last = message(b"5");
    let stranger = lab.hosts[1].host.inside(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    let to = SocketAddr::from((underlay(1), PORT));
    let send = |bytes: &[u8]| drop(stranger.send_to(bytes, to).map(drop));
    speaker.send(&third);
    speaker.send(&first);
    // The same bytes from somewhere else: neither taken, nor is the peer believed to be there.
    for bytes in [&first, &third, &third, &damaged] {
        send(bytes);
    }
    speaker.send(&second);
    speaker.send(&last);
    let texts: Vec<u8> = (0..4)
        .map(|_| {
            let mut received = [0; 64];
            listener.recv_from(&mut received).unwrap();
            received[0]
        })
        .collect();
    assert_eq!(texts, b"3125", "out of order is fine, twice is not");
    let counted = eventually("all are counted", || {
        // What the container wanted to send before the peer had called is not of interest here.
        let counted: Drops = drops(&lab, 0).into_iter().filter(|(reason, _)| *reason != DropReason::NoEndpoint).collect();
        Some(counted).filter(|counted| counted.values().sum::<u64>() >= 4)
    });
    assert_eq!(counted, Drops::from([(DropReason::Replayed, 3), (DropReason::NotAuthentic, 1)]));
    assert_eq!(lab.hosts[0].status().unwrap().peers[0].endpoint, Some((underlay(2), PORT).into()));
    // What is no message at all belongs to nobody.
    for bytes in [&b""[..], b"x", &[4, 0, 0, 0], &[0; 1400], &[4; 200], &[1; 148]] {
        send(bytes);
    }
    let mut forged = vec![0; 148];
    forged[0] = 1;
    send(&forged);
    let all = |lab: &Lab| lab.hosts[0].status().unwrap().drops;
    eventually("strangers are counted", || all(&lab).get(&DropReason::HandshakeRefused).copied());
    assert!(all(&lab)[&DropReason::UnknownSession] >= 4);
}

#[test]
fn cleartext_does_not_come_in() {
    if !possible(&[]) {
        return;
    }
    let lab = Lab::with_tunnels(2);
    let listener = listener(&lab);
    let cleartext = in_vxlan(vtep(2), vtep(1), Vni::FIRST, &datagram((station(2), station(1)), (2, 1), 7000, b"clear"));
    let sender = lab.hosts[1].host.inside(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    for port in [PORT, 4789] {
        // The packet, and the VXLAN part of it alone.
        sender.send_to(&cleartext, (underlay(1), port)).unwrap();
        sender.send_to(&cleartext[28..], (underlay(1), port)).unwrap();
    }
    let sealed = lab.hosts[1].container.inside(|| UdpSocket::bind("10.0.0.2:0").unwrap());
    sealed.send_to(b"sealed", "10.0.0.1:7000").unwrap();
    let mut received = [0; 64];
    let (len, _) = listener.recv_from(&mut received).unwrap();
    assert_eq!(&received[..len], b"sealed");
}

#[test]
fn a_member_gets_the_frames_of_its_stations_and_no_others() {
    if !possible(&[]) {
        return;
    }
    let mut lab = Lab::new(2);
    let mut speaker = tunnel_and_speaker(&mut lab);
    let container = &lab.hosts[0].container;
    container.ip(&format!("neigh add 10.0.0.2 lladdr {} dev eth0", station(2)));
    container.ip("neigh add 10.0.0.9 lladdr 02:42:0a:00:00:09 dev eth0");
    let near = container.inside(|| UdpSocket::bind("10.0.0.1:0").unwrap());
    near.send_to(b"nobody", "10.0.0.9:1").unwrap();
    near.send_to(b"station", "10.0.0.2:1").unwrap();
    let packet = loop {
        let packet = speaker.receive();
        // Address resolution is sent to everybody.
        if packet[36..42] == station(2).0 {
            break packet;
        }
        assert!(packet[36] & 1 == 1, "a frame for somebody else: {packet:02x?}");
    };
    assert!(packet.windows(7).any(|bytes| bytes == b"station"));
    assert!(lab.hosts[0].status().unwrap().drops[&DropReason::UnknownDestination] > 0);
}
