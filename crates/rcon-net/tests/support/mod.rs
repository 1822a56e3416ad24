//! Hosts as network namespaces on one bridge, with the real [`HostNet`] in each, and containers as namespaces. All of it goes
//! when the value is dropped.
#![allow(dead_code, unsafe_code, missing_docs)]

pub mod frames;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};
use rcon_net::{HostNet, Options, Report};
use rcon_netplan::{HostNetwork, LocalEndpoint, OverlayNetwork, OverlaySubnet, RemoteEndpoint, RemoteHost};
use rcon_types::{ContainerId, EndpointId, MacAddr, Mtu, NetworkId, NodeId, Vni};

/// How long anything may take that should happen at once.
pub const DEADLINE: Duration = Duration::from_secs(5);
/// How long to watch for something that must not happen.
pub const SILENCE: Duration = Duration::from_millis(300);
pub const UNDERLAY_MTU: u32 = 1500;

/// Hosts on one fabric.
pub struct Lab {
    directory: tempfile::TempDir,
    pub hosts: Vec<Host>,
    runtime: tokio::runtime::Runtime,
}

/// One host.
pub struct Host {
    pub namespace: PathBuf,
    pub run_dir: PathBuf,
    pub address: IpAddr,
    pub node: NodeId,
    pub net: Option<HostNet>,
}

/// `None`, said aloud, where the tests cannot run.
pub fn lab(hosts: u8) -> Option<Lab> {
    lab_on(hosts, "10.77.0", "fd77::")
}

pub fn lab_on(hosts: u8, v4: &str, v6: &str) -> Option<Lab> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: network namespaces need root");
        return None;
    }
    for tool in ["ip", "nft"] {
        if Command::new(tool).arg("--version").output().is_err() {
            eprintln!("SKIPPED: `{tool}` is not installed");
            return None;
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut lab = Lab { directory, hosts: Vec::new(), runtime };
    let fabric = lab.fabric();
    create_namespace(&fabric);
    run(&fabric, "sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 || true");
    run(&fabric, "ip link add fabric type bridge mcast_snooping 0 && ip link set fabric up && ip link set lo up");
    for number in 1..=hosts {
        let namespace = lab.directory.path().join(format!("host{number}"));
        create_namespace(&namespace);
        let port = format!("port{number}");
        run(
            &namespace,
            &format!(
                "ip link set lo up; ip link add eth0 mtu {UNDERLAY_MTU} type veth peer name {port} netns {}
                 ip addr add {v4}.{number}/24 dev eth0; ip addr add {v6}{number}/64 dev eth0 nodad; ip link set eth0 up",
                fabric.display()
            ),
        );
        run(&fabric, &format!("ip link set {port} mtu {UNDERLAY_MTU} master fabric up"));
        let run_dir = lab.directory.path().join(format!("run{number}"));
        let address = format!("{v4}.{number}").parse().unwrap();
        let mut host = Host { namespace, run_dir, address, node: node(number), net: None };
        host.start();
        lab.hosts.push(host);
    }
    Some(lab)
}

impl Lab {
    pub fn fabric(&self) -> PathBuf {
        self.directory.path().join("fabric")
    }

    /// A namespace on the fabric that is no host of ours.
    pub fn outsider(&self, name: &str, addresses: &[&str]) -> PathBuf {
        let path = self.directory.path().join(name);
        create_namespace(&path);
        run(&path, &format!("ip link set lo up; ip link add eth0 type veth peer name p-{name} netns {}", self.fabric().display()));
        for address in addresses {
            run(&path, &format!("ip addr add {address} dev eth0 $(case {address} in *:*) echo nodad;; esac)"));
        }
        run(&path, "ip link set eth0 up");
        run(&self.fabric(), &format!("ip link set p-{name} master fabric up"));
        path
    }

    pub fn apply(&self, host: usize, desired: &HostNetwork) -> Report {
        self.wait(self.net(host).apply(desired.clone())).unwrap()
    }

    pub fn net(&self, host: usize) -> &HostNet {
        self.hosts[host].net.as_ref().unwrap()
    }

    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub fn container(&self, host: usize, number: u8) -> PathBuf {
        self.wait(self.net(host).create_container_namespace(container(number))).unwrap()
    }

    pub fn overlay(&self, host: usize) -> PathBuf {
        self.net(host).overlay_namespace()
    }

    /// Each host applies what `world` means for it, and creates its containers' namespaces before.
    pub fn settle(&self, world: &World) -> Vec<Report> {
        let mut reports = Vec::new();
        for number in 0..self.hosts.len() {
            for place in world.places.iter().filter(|place| place.host == number) {
                self.container(number, place.container);
            }
            reports.push(self.apply(number, &world.seen_by(self, number)));
        }
        reports
    }
}

impl Host {
    pub fn start(&mut self) {
        let options = Options { run_dir: self.run_dir.clone(), private_key_file: self.run_dir.join("key") };
        self.net = Some(inside(&self.namespace, || HostNet::open(options.clone()).unwrap()));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.hosts.iter_mut().for_each(|host| host.net = None);
        let mut stack = vec![self.directory.path().to_path_buf()];
        while let Some(path) = stack.pop() {
            for entry in fs::read_dir(path).into_iter().flatten().flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => stack.push(entry.path()),
                    _ => while umount2(&entry.path(), MntFlags::MNT_DETACH).is_ok() {},
                }
            }
        }
    }
}

/// Who is where, on one or more networks.
#[derive(Clone, Default)]
pub struct World {
    pub networks: Vec<OverlayNetwork>,
    pub places: Vec<Place>,
}

#[derive(Clone)]
pub struct Place {
    pub host: usize,
    pub network: usize,
    pub container: u8,
    pub interface: &'static str,
    pub default_route: bool,
}

impl World {
    pub fn network(mut self, network: OverlayNetwork) -> Self {
        self.networks.push(network);
        self
    }

    pub fn place(mut self, host: usize, network: usize, container: u8) -> Self {
        let first = !self.places.iter().any(|place| place.container == container);
        self.places.push(Place { host, network, container, interface: if first { "eth0" } else { "eth1" }, default_route: first });
        self
    }

    /// The assignments of one host.
    pub fn seen_by(&self, lab: &Lab, host: usize) -> HostNetwork {
        let mut desired = HostNetwork::default();
        desired.node.data_address = Some(lab.hosts[host].address);
        desired.node.vtep = Some([100, 96, 0, u8::try_from(host).unwrap() + 1].into());
        for (number, network) in self.networks.iter().enumerate() {
            let mut network = network.clone();
            for place in self.places.iter().filter(|place| place.network == number) {
                let (addresses, mac) = addresses(&network, place.container);
                let id = EndpointId::from_bytes([place.container.wrapping_mul(7).wrapping_add(u8::try_from(number).unwrap()); 16]);
                if place.host == host {
                    let endpoint = LocalEndpoint {
                        container: container(place.container),
                        interface: place.interface.into(),
                        addresses,
                        mac,
                        default_route: place.default_route,
                    };
                    network.local.insert(id, endpoint);
                } else {
                    network.remote.insert(id, RemoteEndpoint { node: lab.hosts[place.host].node, addresses, mac });
                }
            }
            if !network.local.is_empty() {
                desired.networks.insert(NetworkId::from_bytes([u8::try_from(number).unwrap(); 16]), network);
            }
        }
        desired.hosts = lab
            .hosts
            .iter()
            .enumerate()
            .filter(|(number, _)| *number != host)
            .map(|(number, other)| (other.node, remote(number, other)))
            .collect();
        desired
    }
}

fn remote(number: usize, host: &Host) -> RemoteHost {
    let number = u8::try_from(number).unwrap() + 1;
    RemoteHost {
        name: format!("h{number}"),
        data_address: Some(host.address),
        vtep: Some([100, 96, 0, number].into()),
        wireguard_public_key: Some([number; 32]),
    }
}

/// The addresses of container `number` on a network: the prefix's with that number at the end.
pub fn addresses(network: &OverlayNetwork, number: u8) -> (Vec<IpAddr>, MacAddr) {
    let addresses: Vec<IpAddr> = network
        .subnets
        .iter()
        .map(|subnet| match subnet.prefix.network() {
            IpAddr::V4(base) => IpAddr::V4((u32::from(base) + u32::from(number)).into()),
            IpAddr::V6(base) => IpAddr::V6((u128::from(base) + u128::from(number)).into()),
        })
        .collect();
    let mac = MacAddr::for_ip(addresses[0]);
    (addresses, mac)
}

/// A dual-stack network 10.10.N.0/24 and fd10:N::/64.
pub fn network(number: u8, encrypted: bool) -> OverlayNetwork {
    let v4: IpAddr = [10, 10, number, 1].into();
    let v6: IpAddr = [0xfd10, number.into(), 0, 0, 0, 0, 0, 1].into();
    let subnet = |gateway, length| OverlaySubnet { prefix: ipnet::IpNet::new_assert(gateway, length).trunc(), gateway: Some(gateway) };
    OverlayNetwork {
        name: format!("net{number}"),
        vni: Vni::new(4096 + u32::from(number)).unwrap(),
        encrypted,
        internal: false,
        mtu: Mtu(UNDERLAY_MTU).inside_overlay(encrypted, false),
        subnets: vec![subnet(v4, 24), subnet(v6, 64)],
        local: BTreeMap::new(),
        remote: BTreeMap::new(),
    }
}

pub fn container(number: u8) -> ContainerId {
    ContainerId::from_bytes([number; 32])
}

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

fn create_namespace(path: &Path) {
    File::create(path).unwrap();
    thread::scope(|scope| {
        let made = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            mount(Some("/proc/thread-self/ns/net"), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        });
        made.join().unwrap().unwrap();
    });
}

/// Runs `work` in a namespace.
pub fn inside<T: Send>(namespace: &Path, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let entered = scope.spawn(|| {
            setns(File::open(namespace).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        entered.join().unwrap()
    })
}

/// Runs a shell command in a namespace; fails the test with what it said.
pub fn run(namespace: &Path, script: &str) -> String {
    let (ok, said) = try_run(namespace, script);
    assert!(ok, "`{script}` failed: {said}");
    said
}

/// Whether a shell command in a namespace succeeded, and what it said.
pub fn try_run(namespace: &Path, script: &str) -> (bool, String) {
    let output = inside(namespace, || Command::new("sh").args(["-c", script]).output()).unwrap();
    (output.status.success(), format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

/// Waits for `condition`, looking every 10 ms.
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    let (_never, pause) = std::sync::mpsc::channel::<()>();
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen within {DEADLINE:?}");
        let _ = pause.recv_timeout(Duration::from_millis(10));
    }
}

pub fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
