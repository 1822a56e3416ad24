//! The bytes on the wire are those of others: a userspace WireGuard with a kernel VXLAN device on it is a full peer.

mod lab;

use std::process::{Child, Stdio};

use lab::{DEADLINE, Host, Lab, MTU, PORT, be_a_tunnel, eventually, noise, possible, run, transfer, underlay, vtep};
use rcon_types::Vni;

#[test]
fn a_tunnel_in_a_process_of_its_own() {
    be_a_tunnel();
}

/// A host whose WireGuard is `wireguard-go` and whose VXLAN is the kernel's.
struct OtherBackend(Child);

impl OtherBackend {
    fn start(host: &Host, peer: &Host) -> Self {
        // Its configuration socket has a fixed place, so it gets a mount namespace of its own.
        let script = "mkdir -p /run/wireguard && mount -t tmpfs none /run/wireguard && exec wireguard-go -f wg0";
        let child =
            host.host.process("unshare").args(["-m", "sh", "-c", script]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let (pid, backend) = (child.id().to_string(), Self(child));
        let within = |arguments: &[&str]| run("nsenter", &[&["-t", &pid, "-m", "-n", "--"], arguments].concat());
        eventually("wireguard-go runs", || {
            let test = ["-t", &pid, "-m", "test", "-S", "/run/wireguard/wg0.sock"];
            std::process::Command::new("nsenter").args(test).status().unwrap().success().then_some(())
        });
        let key = host.directory.path().join("base64");
        let encode = |bytes: &[u8]| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
        std::fs::write(&key, encode(&std::fs::read(host.directory.path().join("key")).unwrap())).unwrap();
        let endpoint = format!("{}:{PORT}", underlay(peer.number));
        let allowed = format!("{}/32", vtep(peer.number));
        let port = PORT.to_string();
        within(&[
            "wg",
            "set",
            "wg0",
            "private-key",
            key.to_str().unwrap(),
            "listen-port",
            &port,
            "peer",
            &encode(&peer.public_key.0),
            "endpoint",
            &endpoint,
            "allowed-ips",
            &allowed,
        ]);
        let (here, there) = (vtep(host.number), vtep(peer.number));
        host.host.ip(&format!("addr add {here}/12 dev wg0"));
        host.host.ip(&format!("link set wg0 mtu {} up", MTU + 50));
        host.host.ip(&format!("link add vx0 type vxlan id {} local {here} remote {there} dstport 4789", Vni::FIRST));
        host.host.ip(&format!("link set vx0 netns {}", host.overlay.name));
        host.overlay.ip(&format!("link set vx0 mtu {MTU} master br0 up"));
        backend
    }
}

impl Drop for OtherBackend {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn wireguard_go_with_kernel_vxlan_is_a_peer_in_both_directions() {
    if !possible(&["wireguard-go", "wg", "unshare"]) {
        return;
    }
    for tunnel_calls_first in [true, false] {
        let mut lab = Lab::new(2);
        let mut backend = None;
        if !tunnel_calls_first {
            backend = Some(OtherBackend::start(&lab.hosts[1], &lab.hosts[0]));
        }
        lab.hosts[0].start();
        let mut tables = lab.tables(0);
        if !tunnel_calls_first {
            // Only the other side can call.
            tables.peers[0].endpoint = None;
        }
        lab.hosts[0].apply(tables);
        lab.hosts[0].plug("tap0", MTU);
        let backend = backend.unwrap_or_else(|| OtherBackend::start(&lab.hosts[1], &lab.hosts[0]));
        let (a, b) = (&lab.hosts[0], &lab.hosts[1]);
        let caller = if tunnel_calls_first { (&a.container, "10.0.0.2") } else { (&b.container, "10.0.0.1") };
        eventually("containers reach each other", || caller.0.pings(caller.1).then_some(()));
        assert!(a.container.pings("fd00::2") && b.container.pings("fd00::1"));
        transfer(&a.container, &b.container, "10.0.0.2".parse().unwrap(), &noise(1, 8 << 20));
        transfer(&b.container, &a.container, "10.0.0.1".parse().unwrap(), &noise(2, 8 << 20));
        transfer(&a.container, &b.container, "fd00::2".parse().unwrap(), &noise(3, 2 << 20));
        transfer(&b.container, &a.container, "fd00::1".parse().unwrap(), &noise(4, 2 << 20));
        let sockets = [(a, "10.0.0.1"), (b, "10.0.0.2")].map(|(host, ip)| {
            let socket = host.container.inside(move || std::net::UdpSocket::bind((ip, 7000)).unwrap());
            socket.set_read_timeout(Some(DEADLINE)).unwrap();
            socket
        });
        for len in [1, 100, 1342, 9000] {
            for (from, to) in [(&sockets[0], &sockets[1]), (&sockets[1], &sockets[0])] {
                let (sent, mut received) = (noise(len as u64, len), vec![0; 65_536]);
                from.send_to(&sent, to.local_addr().unwrap()).unwrap();
                let (len, _) = to.recv_from(&mut received).unwrap();
                assert!(received[..len] == sent);
            }
        }
        let status = a.status().unwrap();
        let taken = status.networks[0].frames_in;
        assert!(status.peers[0].connected && taken > 0, "{status:?}");
        drop(backend);
    }
}
