//! Containers as bare network namespaces, a server in this process, and upstreams of our own.
#![allow(dead_code, missing_docs)]

use std::{
    collections::BTreeMap,
    fs::File,
    future::Future,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, Record, RecordType, rdata::A},
};
use rcon_dns::{DnsError, Options};
use rcon_netplan::{
    DNS_ADDRESS, DNS_PORT,
    dns::{DnsContainer, DnsHost, DnsNetwork, DnsSnapshot},
};
use rcon_types::ContainerId;
use tokio::{sync::oneshot, task::JoinHandle};

/// The longest that anything here may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Whether this host lets us make namespaces; says so where it does not.
pub fn namespaces_work() -> bool {
    let works = Command::new("unshare").args(["-n", "true"]).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !works {
        eprintln!("SKIPPED: this host does not let us make network namespaces");
    }
    works
}

/// A network namespace with nothing in it but its loopback, as long as this lives.
pub struct Namespace(Child);

impl Namespace {
    pub fn new() -> Self {
        let child = Command::new("unshare").args(["-n", "sleep", "infinity"]).spawn().unwrap();
        let namespace = Self(child);
        let ours = std::fs::read_link("/proc/self/ns/net").unwrap();
        wait(|| std::fs::read_link(namespace.path()).is_ok_and(|theirs| theirs != ours));
        let target = namespace.0.id().to_string();
        let up = Command::new("nsenter").args(["-t", &target, "-n", "ip", "link", "set", "lo", "up"]).status().unwrap();
        assert!(up.success());
        namespace
    }

    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.0.id()).into()
    }

    /// Runs something inside.
    pub fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let namespace = File::open(self.path()).unwrap();
        thread::spawn(move || {
            rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(rustix::thread::LinkNameSpaceType::Network)).unwrap();
            work()
        })
        .join()
        .unwrap()
    }

    pub fn ask(&self, name: &str, kind: RecordType) -> Message {
        let query = query(name, kind);
        self.inside(move || ask_udp(&query))
    }

    pub fn ask_tcp(&self, name: &str, kind: RecordType) -> Message {
        let query = query(name, kind);
        self.inside(move || {
            let mut stream = TcpStream::connect((DNS_ADDRESS, DNS_PORT)).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            ask_stream(&mut stream, &query)
        })
    }

    /// The IPv4 addresses of a name.
    pub fn resolve(&self, name: &str) -> Vec<Ipv4Addr> {
        addresses(&self.ask(name, RecordType::A))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_str(name).unwrap(), kind));
    message
}

/// Asks once: an answer that does not come ends the test.
pub fn ask_udp(query: &Message) -> Message {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect((DNS_ADDRESS, DNS_PORT)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send(&query.to_vec().unwrap()).unwrap();
    let mut buffer = [0; 65535];
    let length = socket.recv(&mut buffer).expect("no answer");
    let reply = Message::from_vec(&buffer[..length]).unwrap();
    assert_eq!(reply.metadata.id, query.metadata.id);
    reply
}

pub fn ask_stream(stream: &mut TcpStream, query: &Message) -> Message {
    let bytes = query.to_vec().unwrap();
    stream.write_all(&[&(bytes.len() as u16).to_be_bytes()[..], &bytes].concat()).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes).unwrap();
    let reply = Message::from_vec(&bytes).unwrap();
    assert_eq!(reply.metadata.id, query.metadata.id);
    reply
}

pub fn addresses(message: &Message) -> Vec<Ipv4Addr> {
    message
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::A(a) => Some(a.0),
            _ => None,
        })
        .collect()
}

pub fn container_id(number: u8) -> ContainerId {
    ContainerId::from_bytes([number; 32])
}

pub fn container(namespace: &Path, networks: &[&str], upstreams: &[SocketAddr]) -> DnsContainer {
    DnsContainer {
        namespace: namespace.to_owned(),
        networks: networks.iter().map(|n| (*n).to_owned()).collect(),
        search: vec![],
        upstreams: Some(upstreams.to_vec()),
    }
}

pub fn network(name: &str, hosts: &[(&str, [u8; 4])]) -> (String, DnsNetwork) {
    let hosts =
        hosts.iter().map(|(name, address)| DnsHost { names: vec![(*name).to_owned()], addresses: vec![IpAddr::from(*address)] }).collect();
    (name.to_owned(), DnsNetwork { name: name.to_owned(), hosts })
}

/// A directory with a snapshot and a control socket.
pub struct Place {
    directory: tempfile::TempDir,
    pub snapshot: DnsSnapshot,
}

impl Place {
    pub fn new(networks: Vec<(String, DnsNetwork)>, containers: Vec<(u8, DnsContainer)>) -> Self {
        let snapshot = DnsSnapshot {
            revision: 1,
            upstreams: vec![],
            networks: networks.into_iter().collect(),
            containers: containers.into_iter().map(|(number, container)| (container_id(number), container)).collect::<BTreeMap<_, _>>(),
        };
        let place = Self { directory: tempfile::tempdir().unwrap(), snapshot };
        place.write();
        place
    }

    pub fn options(&self) -> Options {
        Options { snapshot: self.directory.path().join("snapshot.json"), socket: self.directory.path().join("dns.sock") }
    }

    /// Replaces the file as rcond does.
    pub fn write(&self) {
        let temporary = self.directory.path().join("new");
        std::fs::write(&temporary, serde_json::to_vec(&self.snapshot).unwrap()).unwrap();
        std::fs::rename(temporary, self.options().snapshot).unwrap();
    }

    pub async fn reload(&self) -> rcon_netplan::dns::DnsReply {
        rcon_dns::reload(&self.options().socket).await.unwrap()
    }

    pub async fn start(&self) -> Running {
        let (stop, stopped) = oneshot::channel::<()>();
        let options = self.options();
        let before = std::fs::metadata(&options.socket).ok().map(|m| std::os::unix::fs::MetadataExt::ino(&m));
        let task = tokio::spawn(rcon_dns::run(options.clone(), async {
            let _ = stopped.await;
        }));
        soon(async {
            loop {
                let now = std::fs::metadata(&options.socket).ok().map(|m| std::os::unix::fs::MetadataExt::ino(&m));
                if now != before && rcon_dns::status(&options.socket).await.is_ok() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
        Running { stop: Some(stop), task }
    }
}

pub struct Running {
    stop: Option<oneshot::Sender<()>>,
    pub task: JoinHandle<Result<(), DnsError>>,
}

impl Running {
    pub async fn stop(mut self) {
        self.stop.take();
        soon(self.task).await.unwrap().unwrap();
    }

    /// Waits until it ends by itself.
    pub async fn ended(self) {
        soon(self.task).await.unwrap().unwrap();
    }
}

pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes too long")
}

pub fn wait(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "it takes too long");
        thread::yield_now();
    }
}

/// What an upstream does with every question.
#[derive(Clone, Copy)]
pub enum Manner {
    Answer([u8; 4]),
    Code(ResponseCode),
    /// Says by UDP that it does not fit, answers by TCP.
    OnlyTcp([u8; 4]),
    Silent,
}

/// A DNS server in the host's namespace, that is this process's.
pub struct Upstream {
    pub address: SocketAddr,
    pub asked: Arc<AtomicUsize>,
}

impl Upstream {
    pub fn start(manner: Manner) -> Self {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = udp.local_addr().unwrap();
        let tcp = TcpListener::bind(address).unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        // The threads live as long as the test's process.
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let (length, from) = udp.recv_from(&mut buffer).unwrap();
                counter.fetch_add(1, Ordering::SeqCst);
                if let Some(reply) = respond(manner, &buffer[..length], false) {
                    udp.send_to(&reply, from).unwrap();
                }
            }
        });
        thread::spawn(move || {
            for stream in tcp.incoming() {
                let mut stream = stream.unwrap();
                let mut length = [0; 2];
                stream.read_exact(&mut length).unwrap();
                let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut bytes).unwrap();
                if let Some(reply) = respond(manner, &bytes, true) {
                    stream.write_all(&[&(reply.len() as u16).to_be_bytes()[..], &reply].concat()).unwrap();
                }
            }
        });
        Self { address, asked }
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn respond(manner: Manner, bytes: &[u8], tcp: bool) -> Option<Vec<u8>> {
    let query = Message::from_vec(bytes).unwrap();
    let mut reply = Message::response(query.metadata.id, OpCode::Query);
    reply.add_queries(query.queries.iter().cloned());
    match manner {
        Manner::Silent => return None,
        Manner::Code(code) => reply.metadata.response_code = code,
        Manner::OnlyTcp(_) if !tcp => reply.metadata.truncation = true,
        Manner::Answer(address) | Manner::OnlyTcp(address) => {
            reply.add_answer(Record::from_rdata(query.queries[0].name().clone(), 300, RData::A(A(address.into()))));
        }
    }
    Some(reply.to_vec().unwrap())
}
