//! Hosts for these tests: each a namespace on a fabric, with an overlay namespace and a container behind it, and a tunnel that is
//! a process of its own. Everything is gone when a `Lab` is dropped.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod capture;
pub mod speaker;

use std::{
    fs::File,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command as Process, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::sched::{CloneFlags, setns};
use rcon_packet::control::{self, Command, HEADER_BYTES, Network, Peer, PublicKey, Reply, Request, Station, Status, Tables};
use rcon_tunnel::Options;
use rcon_types::{MacAddr, Mtu, NodeId, Revision, Vni};

pub const PORT: u16 = 51_820;
pub const MTU: u32 = 1370;
pub const DEADLINE: Duration = Duration::from_secs(15);
const CHILD: &str = "RCON_TUNNEL_TEST_DIRECTORY";

/// Runs a program to its end; its output, or a panic with what it said.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Process::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Waits until `condition` gives something, or fails the test.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "not within {DEADLINE:?}: {what}");
        thread::park_timeout(Duration::from_millis(10));
    }
}

/// Whether these tests can run here; says why when not.
pub fn possible(programs: &[&str]) -> bool {
    let missing = |what: &str| {
        eprintln!("SKIPPED: {what}");
        false
    };
    if !nix::unistd::geteuid().is_root() {
        return missing("needs root for network namespaces");
    }
    if !Path::new("/dev/net/tun").exists() {
        return missing("this kernel has no TUN/TAP");
    }
    let found = |program: &&&str| ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].iter().any(|d| Path::new(d).join(program).exists());
    match programs.iter().chain(&["ip", "ping"]).find(|program| !found(program)) {
        Some(program) => missing(&format!("`{program}` is not installed")),
        None => true,
    }
}

/// A tunnel in this process, if it was started to be one: the first line of every test that starts tunnels calls this.
pub fn be_a_tunnel() {
    let Ok(directory) = std::env::var(CHILD) else { return };
    let directory = PathBuf::from(directory);
    let result = rcon_tunnel::run(Options {
        control_socket: directory.join("tunnel.sock"),
        state_file: directory.join("tables.json"),
        tap_namespace: directory.join("overlay"),
        wg_socket: Some(directory.join("wg.sock")),
    });
    if let Err(error) = &result {
        eprintln!("{}", error.failure());
    }
    std::process::exit(i32::from(result.is_err()));
}

pub struct Namespace {
    pub name: String,
}

impl Namespace {
    fn new(name: String) -> Self {
        run("ip", &["netns", "add", &name]);
        let namespace = Self { name };
        namespace.ip("link set lo up");
        namespace
    }

    pub fn path(&self) -> PathBuf {
        Path::new("/var/run/netns").join(&self.name)
    }

    /// `ip` with these arguments inside.
    pub fn ip(&self, arguments: &str) -> String {
        let arguments: Vec<&str> = ["-n", &self.name].into_iter().chain(arguments.split(' ')).collect();
        run("ip", &arguments)
    }

    /// A program inside, not yet started.
    pub fn process(&self, program: &str) -> Process {
        let mut process = Process::new("nsenter");
        process.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        process
    }

    /// A value of the namespace's own `/proc/sys/net`.
    pub fn sysctl(&self, key: &str, value: &str) {
        let (path, value) = (format!("/proc/sys/net/{key}"), value.to_owned());
        self.inside(move || std::fs::write(path, value).unwrap());
    }

    /// Runs `act` on a thread inside.
    pub fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let file = File::open(self.path()).unwrap();
        thread::scope(|scope| {
            let run = || {
                setns(file, CloneFlags::CLONE_NEWNET).unwrap();
                act()
            };
            scope.spawn(run).join().unwrap()
        })
    }

    /// Whether an address answers one ping.
    pub fn pings(&self, address: &str) -> bool {
        self.process("ping").args(["-c1", "-W1", address]).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Process::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// One host.
pub struct Host {
    pub number: u8,
    pub host: Namespace,
    pub overlay: Namespace,
    pub container: Namespace,
    pub directory: tempfile::TempDir,
    pub public_key: PublicKey,
    tunnel: Option<Child>,
}

pub struct Lab {
    pub hosts: Vec<Host>,
    pub fabric: Namespace,
}

pub fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

pub fn vtep(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(100, 96, 0, number)
}

pub fn underlay(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 9, 0, number)
}

pub fn station(number: u8) -> MacAddr {
    MacAddr([2, 0x42, 10, 0, 0, number])
}

impl Lab {
    /// `count` hosts whose containers have 10.0.0.N and fd00::N.
    pub fn new(count: u8) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("rct{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let fabric = Namespace::new(format!("{prefix}-f"));
        fabric.ip("link add fabric type bridge mcast_snooping 0");
        fabric.ip("link set fabric up");
        let hosts = (1..=count).map(|number| Host::new(&prefix, number, &fabric)).collect();
        Self { hosts, fabric }
    }

    /// The same with a tunnel on every host and a path between all containers.
    pub fn with_tunnels(count: u8) -> Self {
        let mut lab = Self::new(count);
        for at in 0..lab.hosts.len() {
            lab.hosts[at].start();
            let tables = lab.tables(at);
            lab.hosts[at].apply(tables);
            lab.hosts[at].plug("tap0", MTU);
        }
        for number in 2..=count {
            eventually("containers reach each other", || lab.hosts[0].container.pings(&format!("10.0.0.{number}")).then_some(()));
        }
        lab
    }

    /// The tables of a host, in which every other one is a peer with one station.
    pub fn tables(&self, at: usize) -> Tables {
        let others: Vec<&Host> = self.hosts.iter().filter(|host| host.number != self.hosts[at].number).collect();
        let peer = |host: &&Host| Peer {
            node: node(host.number),
            public_key: host.public_key,
            endpoint: Some(SocketAddr::from((underlay(host.number), PORT))),
            vtep: vtep(host.number),
        };
        let network = Network {
            vni: Vni::FIRST,
            tap: "tap0".to_owned(),
            mtu: Mtu(MTU),
            stations: others.iter().map(|host| Station { mac: station(host.number), node: node(host.number) }).collect(),
            replicate_to: others.iter().map(|host| node(host.number)).collect(),
        };
        Tables {
            revision: Revision(1),
            private_key_file: self.hosts[at].directory.path().join("key"),
            vtep: vtep(self.hosts[at].number),
            listen_port: PORT,
            peers: others.iter().map(peer).collect(),
            networks: vec![network],
        }
    }
}

impl Host {
    fn new(prefix: &str, number: u8, fabric: &Namespace) -> Self {
        let namespace = |kind: &str| Namespace::new(format!("{prefix}-{kind}{number}"));
        let (host, overlay, container) = (namespace("h"), namespace("o"), namespace("c"));
        host.ip(&format!("link add wan type veth peer name port{number} netns {}", fabric.name));
        fabric.ip(&format!("link set port{number} master fabric up"));
        host.ip(&format!("addr add {}/24 dev wan", underlay(number)));
        host.ip("link set wan up");
        // Ports have no business of their own on the network.
        overlay.sysctl("ipv6/conf/default/addr_gen_mode", "1");
        overlay.ip("link add br0 type bridge mcast_snooping 0");
        overlay.ip(&format!("link set br0 mtu {MTU} addrgenmode none up"));
        for kind in ["iptables", "ip6tables", "arptables"] {
            overlay.sysctl(&format!("bridge/bridge-nf-call-{kind}"), "0");
        }
        container.ip(&format!(
            "link add eth0 mtu {MTU} address {} type veth peer name c0 mtu {MTU} netns {}",
            station(number),
            overlay.name
        ));
        overlay.ip("link set c0 master br0 up");
        container.ip(&format!("addr add 10.0.0.{number}/24 brd + dev eth0"));
        container.ip(&format!("addr add fd00::{number}/64 dev eth0 nodad"));
        container.ip("link set eth0 up");
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(overlay.path(), directory.path().join("overlay")).unwrap();
        let secret = [number.wrapping_mul(37).wrapping_add(11); 32];
        std::fs::write(directory.path().join("key"), secret).unwrap();
        let public = boringtun::x25519::PublicKey::from(&boringtun::x25519::StaticSecret::from(secret));
        Self { number, host, overlay, container, directory, public_key: PublicKey(public.to_bytes()), tunnel: None }
    }

    /// Another handle to a host's container that outlives no lab and removes nothing.
    pub fn view(container: &str, number: u8) -> View {
        View { container: std::mem::ManuallyDrop::new(Namespace { name: container.to_owned() }), number }
    }

    /// Starts a tunnel as a process in the host's namespace and waits for its control socket; gives its process id.
    pub fn start(&mut self) -> u32 {
        let before = self.status().map(|status| status.pid);
        let child = self
            .host
            .process(std::env::current_exe().unwrap().to_str().unwrap())
            .args(["--exact", "a_tunnel_in_a_process_of_its_own", "--nocapture", "--test-threads=1"])
            .env(CHILD, self.directory.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.tunnel = Some(child);
        eventually("the tunnel answers", || self.status().map(|status| status.pid).filter(|pid| Some(*pid) != before))
    }

    /// The process of the tunnel; whoever takes it must wait for it.
    pub fn take_process(&mut self) -> Child {
        self.tunnel.take().unwrap()
    }

    /// Ends the tunnel at once, as SIGKILL does.
    pub fn kill(&mut self) {
        if let Some(mut tunnel) = self.tunnel.take() {
            let _ = tunnel.kill();
            let _ = tunnel.wait();
        }
    }

    /// The interface of the tunnel joins the bridge.
    pub fn plug(&self, tap: &str, mtu: u32) {
        self.overlay.ip(&format!("link set {tap} mtu {mtu} master br0 up"));
    }

    pub fn connect(&self) -> Option<UnixStream> {
        let stream = UnixStream::connect(self.directory.path().join("tunnel.sock")).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Some(stream)
    }

    pub fn ask(&self, command: Command) -> Reply {
        exchange(&mut self.connect().unwrap(), &Request::new(command))
    }

    pub fn apply(&self, tables: Tables) {
        let revision = tables.revision;
        assert_eq!(self.ask(Command::SetTables(Box::new(tables))), Reply::Applied { revision });
    }

    pub fn status(&self) -> Option<Status> {
        let mut stream = self.connect()?;
        stream.write_all(&control::encode(&Request::new(Command::Status)).unwrap()).ok()?;
        match read(&mut stream)? {
            Reply::Status(status) => Some(*status),
            other => panic!("{other:?}"),
        }
    }
}

/// A container of a lab, for threads that use it while something else changes the lab.
pub struct View {
    pub number: u8,
    pub container: std::mem::ManuallyDrop<Namespace>,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill();
    }
}

pub fn exchange(stream: &mut UnixStream, request: &Request) -> Reply {
    stream.write_all(&control::encode(request).unwrap()).unwrap();
    read(stream).unwrap()
}

pub fn read(stream: &mut UnixStream) -> Option<Reply> {
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).ok()?;
    let mut body = vec![0; control::body_length(header).unwrap()];
    stream.read_exact(&mut body).ok()?;
    Some(control::decode(&body).unwrap())
}

/// Bytes that look random and can be made again from `seed`.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Sends `bytes` over TCP from one namespace to an address in another and compares what arrives.
pub fn transfer(from: &Namespace, to: &Namespace, address: IpAddr, bytes: &[u8]) {
    let listener = to.inside(|| std::net::TcpListener::bind((address, 0)).unwrap());
    let target = listener.local_addr().unwrap();
    thread::scope(|scope| {
        let receive = scope.spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            received
        });
        let mut stream = from.inside(move || std::net::TcpStream::connect_timeout(&target, DEADLINE).unwrap());
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(bytes).unwrap();
        drop(stream);
        assert!(receive.join().unwrap() == bytes, "what arrived is not what was sent to {address}");
    });
}
