//! What a host has, what stands in the way, and encrypted networks as far as the host's network makes them.
#![allow(missing_docs)]

mod support;

use std::net::{Ipv4Addr, UdpSocket};

use rcon_net::{Capabilities, probe, tunnel_tables};
use rcon_netplan::EncryptedBackend;
use rcon_packet::control::ValidTables;
use rcon_types::Revision;
use support::{
    SILENCE, World, addresses, eventually,
    frames::{self, Tap},
    inside, lab, network, run,
};

#[test]
fn this_host_has_what_overlays_need() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: network namespaces need root");
        return;
    }
    let Capabilities { backend, missing } = probe();
    eprintln!("backend {backend:?}, missing {missing:?}");
    assert!(missing.iter().all(|missing| !missing.plain && !missing.encrypted), "{missing:?}");
}

#[test]
fn the_tunnel_finds_persistent_taps_and_valid_tables() {
    let Some(lab) = lab(2) else { return };
    let world = World::default().network(network(1, true)).place(0, 0, 11).place(1, 0, 12);
    for report in lab.settle(&world) {
        assert!(report.applied && report.problems.is_empty(), "{report:?}");
    }
    let details = run(&lab.overlay(0), "ip -d link show rct4097");
    for word in ["tun type tap pi off vnet_hdr on", "multi_queue", "persist on", "neigh_suppress on", "learning off", "mtu 1370"] {
        assert!(details.contains(word), "no `{word}` in {details}");
    }
    assert!(run(&lab.overlay(0), "bridge fdb show dev rct4097").contains("02:42:0a:0a:01:0c master rcb4097 static"));
    let tables = tunnel_tables(&world.seen_by(&lab, 0), Revision(7), "/key".as_ref()).unwrap();
    assert_eq!(tables.networks[0].stations.len(), 1);
    ValidTables::try_from(tables).unwrap();
}

#[test]
fn cleartext_with_the_number_of_an_encrypted_network_reaches_nobody() {
    let Some(lab) = lab(3) else { return };
    // The plain network opens port 4789 for its members, which are members of the encrypted one as well.
    let world = World::default().network(network(1, true)).network(network(2, false));
    let world = world.place(0, 0, 11).place(1, 0, 12).place(0, 1, 21).place(1, 1, 22);
    lab.settle(&world);
    let network = &world.networks[0];
    let inside_container = Tap::open(&lab.container(1, 12), "eth0");
    let packet = frames::udp([10, 10, 1, 11].into(), [10, 10, 1, 12].into(), 6000, b"cleartext marker");
    let frame = frames::ethernet(addresses(network, 12).1.0, addresses(network, 11).1.0, 0x0800, &packet);
    for host in [0, 2] {
        inside(&lab.hosts[host].namespace, || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
            socket.send_to(&frames::vxlan(network.vni.get(), &frame), (lab.hosts[1].address, 4789)).unwrap();
        });
    }
    // Nor from a container, by way of the gateway.
    inside(&lab.container(1, 22), || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        for address in ["10.10.2.1:4789", "100.96.0.2:4789", "169.254.213.1:4789"] {
            let _ = socket.send_to(&frames::vxlan(network.vni.get(), &frame), address);
        }
    });
    let heard = inside_container.frames(std::time::Instant::now() + SILENCE);
    assert!(!heard.iter().any(|frame| frame.windows(16).any(|window| window == b"cleartext marker")));
}

#[test]
fn nothing_of_an_encrypted_network_leaves_while_no_tunnel_runs() {
    let Some(lab) = lab(2) else { return };
    let world = World::default().network(network(1, true)).place(0, 0, 11).place(1, 0, 12);
    lab.settle(&world);
    let port = Tap::open(&lab.fabric(), "port1");
    inside(&lab.container(0, 11), || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        socket.set_broadcast(true).unwrap();
        for address in ["10.10.1.12:6000", "10.10.1.255:6000", "239.1.2.3:6000"] {
            let _ = socket.send_to(b"cleartext marker", address);
        }
    });
    let heard = port.frames(std::time::Instant::now() + SILENCE);
    assert!(!heard.iter().any(|frame| frame.windows(16).any(|window| window == b"cleartext marker")));
}

#[test]
fn a_foreign_firewall_is_named_until_it_lets_the_link_through() {
    let Some(lab) = lab(1) else { return };
    let host = lab.hosts[0].namespace.clone();
    run(&host, "nft 'add table inet strict; add chain inet strict fwd_all { type filter hook forward priority 0; policy drop; }'");
    let world = World::default().network(network(1, false)).place(0, 0, 11);
    let reports = lab.settle(&world);
    let told = reports[0].problems.iter().map(|problem| problem.failure.to_string()).collect::<String>();
    assert!(reports[0].applied && told.contains("`fwd_all` of table `inet strict`") && told.contains("rcon-link"), "{told}");
    run(
        &host,
        "nft 'add rule inet strict fwd_all iifname \"rcon-link\" accept; add rule inet strict fwd_all oifname \"rcon-link\" accept'",
    );
    eventually("the problem going", || lab.net(0).watch().borrow().problems.is_empty());
}

#[test]
fn the_link_to_the_host_avoids_what_the_host_routes() {
    let Some(lab) = lab(1) else { return };
    let host = lab.hosts[0].namespace.clone();
    let outside = lab.outsider("outside", &["10.77.0.100/24"]);
    run(&host, "ip addr add 169.254.213.1/30 dev eth0");
    lab.settle(&World::default().network(network(1, false)).place(0, 0, 11));
    assert!(run(&host, "ip -br addr show rcon-link").contains("169.254.213.5/30"));
    run(&lab.container(0, 11), "busybox ping -c 1 -W 2 10.77.0.100");
    drop(outside);
}

#[test]
fn the_overlays_subnet_may_be_the_hosts_own() {
    let Some(lab) = support::lab_on(2, "10.10.1", "fd10:1::a") else { return };
    for host in &lab.hosts {
        run(&host.namespace, "sysctl -qw net.ipv4.conf.all.rp_filter=1");
    }
    let outside = lab.outsider("outside", &["10.10.1.100/24"]);
    let world = World::default().network(network(1, false)).place(0, 0, 11).place(1, 0, 12).place(0, 0, 13);
    assert!(lab.settle(&world).iter().all(|report| report.applied));
    run(&lab.container(0, 11), "busybox ping -c 1 -W 2 10.10.1.12 && busybox ping -c 1 -W 2 10.10.1.13");
    drop(outside);
}

#[test]
fn the_underlay_of_an_address_is_found() {
    let Some(lab) = lab(1) else { return };
    let found = lab.wait(lab.net(0).underlay(lab.hosts[0].address)).unwrap().unwrap();
    assert_eq!((found.interface.as_str(), found.mtu.0), ("eth0", support::UNDERLAY_MTU));
    assert_eq!(lab.wait(lab.net(0).underlay([192, 0, 2, 1].into())).unwrap(), None);
}

#[test]
fn the_kernel_that_lacks_wireguard_says_which_network_suffers() {
    let Some(lab) = lab(2) else { return };
    if probe().backend == EncryptedBackend::Kernel {
        eprintln!("SKIPPED: this kernel has WireGuard");
        return;
    }
    let world = World::default().network(network(1, true)).network(network(2, false)).place(0, 0, 11).place(1, 0, 12).place(0, 1, 21);
    lab.container(0, 11);
    lab.container(0, 21);
    let mut desired = world.seen_by(&lab, 0);
    desired.node.backend = EncryptedBackend::Kernel;
    let report = lab.apply(0, &desired);
    let told = report.problems.iter().map(|problem| problem.failure.to_string()).collect::<String>();
    assert!(!report.applied && told.contains("rcw0") && told.contains("modprobe wireguard"), "{told}");
}
