//! What the containers' name server answers: a snapshot of the names on each container's networks, written for `rcond dns`.
//!
//! The snapshot is a pure function of the assignments, of what the containers hold and of the host's resolvers. It is written and
//! announced only when it changed, and the pass that asked waits until the new names are served.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rcon_net::HostNet;
use rcon_netplan::dns::{DnsContainer, DnsHost, DnsNetwork, DnsReply, DnsRequest, DnsSnapshot, SNAPSHOT_FILE, SOCKET_FILE};
use rcon_proto::{convert, v1};
use rcon_types::{ContainerId, Failure, FailureKind, NetworkId};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    sync::Mutex,
    time::timeout,
};
use tracing::debug;

use crate::{
    attachments::Table,
    file::{self, Durability},
    helpers::Helper,
};

/// How long the name server may take to serve a new snapshot.
const RELOAD: Duration = Duration::from_secs(5);
/// The longest answer it may give.
const REPLY_BYTES: u64 = 1024 * 1024;
/// The host's resolvers.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The port of DNS (RFC 1035 §4.2).
const DNS: u16 = 53;

/// The containers' name server.
pub struct NameServer {
    helper: Arc<Helper>,
    snapshot: PathBuf,
    served: Mutex<Option<DnsSnapshot>>,
}

impl NameServer {
    /// The name server of a host; started when a container first needs it.
    #[must_use]
    pub fn new(data_dir: &Path, run_dir: &Path) -> Self {
        let (snapshot, socket) = (data_dir.join(SNAPSHOT_FILE), run_dir.join(SOCKET_FILE));
        let arguments = vec!["--snapshot".to_owned(), snapshot.display().to_string(), "--socket".to_owned(), socket.display().to_string()];
        Self { helper: Arc::new(Helper::new("dns", arguments, socket, run_dir)), snapshot, served: Mutex::new(None) }
    }

    /// Whether the server should run and does not answer.
    pub async fn is_gone(&self) -> bool {
        let needed = self.served.lock().await.as_ref().is_some_and(|served| !served.containers.is_empty());
        needed && !self.helper.answers().await
    }

    /// Makes the server answer what the assignments and the containers say. Quick where nothing changed.
    ///
    /// # Errors
    /// When the snapshot cannot be written, or the server does not take it.
    pub async fn publish(&self, set: &v1::Assignments, table: &Table, net: &HostNet) -> Result<(), Failure> {
        let mut served = self.served.lock().await;
        let upstreams = fs::read_to_string(RESOLV_CONF).map(|text| resolvers(&text)).unwrap_or_default();
        let mut snapshot = snapshot(set, table, upstreams, |id| net.container_namespace(id));
        snapshot.revision = match served.as_ref() {
            Some(known) => known.revision,
            None => {
                fs::read(&self.snapshot).ok().and_then(|bytes| serde_json::from_slice::<DnsSnapshot>(&bytes).ok()).map_or(0, |s| s.revision)
            }
        };
        if snapshot.containers.is_empty() && served.as_ref().is_none_or(|known| known.containers.is_empty()) {
            *served = Some(snapshot);
            return Ok(());
        }
        // A server that was killed is started again; it reads the snapshot itself.
        let alive = self.helper.answers().await;
        if alive && served.as_ref() == Some(&snapshot) {
            return Ok(());
        }
        snapshot.revision += 1;
        let bytes = serde_json::to_vec(&snapshot).map_err(|e| Failure::from_error(FailureKind::Internal, &e))?;
        file::replace(&self.snapshot, &bytes, Durability::Cached)
            .map_err(|e| Failure::new(FailureKind::Internal, e.to_string()).during("could not write the containers' names"))?;
        let stream = self.helper.connect().await?;
        let reply = timeout(RELOAD, reload(stream)).await;
        let reply =
            reply.map_err(|_| Failure::new(FailureKind::DeadlineExceeded, "the name server did not take the new names in time"))??;
        if let Some(error) = reply.error {
            return Err(Failure::new(FailureKind::Internal, error).during("the name server could not take the new names"));
        }
        debug!(revision = reply.revision, containers = reply.containers, "names served");
        *served = Some(snapshot);
        match reply.failed.into_iter().next() {
            Some((container, why)) => {
                Err(Failure::new(FailureKind::Internal, why).during(format!("names are not served to container {}", container.short())))
            }
            None => Ok(()),
        }
    }
}

async fn reload(stream: UnixStream) -> Result<DnsReply, Failure> {
    let broken = |e: std::io::Error| Failure::new(FailureKind::Unavailable, e.to_string()).during("could not talk to the name server");
    let mut stream = BufReader::new(stream);
    let mut request = serde_json::to_vec(&DnsRequest::Reload).map_err(|e| Failure::from_error(FailureKind::Internal, &e))?;
    request.push(b'\n');
    stream.write_all(&request).await.map_err(broken)?;
    let mut line = String::new();
    tokio::io::AsyncReadExt::take(&mut stream, REPLY_BYTES).read_line(&mut line).await.map_err(broken)?;
    serde_json::from_str(&line)
        .map_err(|e| Failure::from_error(FailureKind::Internal, &e).during("the name server's answer makes no sense"))
}

/// Who may ask for which names; without a revision.
fn snapshot(set: &v1::Assignments, table: &Table, upstreams: Vec<SocketAddr>, namespace: impl Fn(ContainerId) -> PathBuf) -> DnsSnapshot {
    let mut snapshot = DnsSnapshot { upstreams, ..DnsSnapshot::default() };
    let mut internal = BTreeSet::new();
    for assignment in &set.networks {
        let Some(network) = &assignment.network else { continue };
        let Ok(id) = NetworkId::from_slice(&network.id) else { continue };
        let spec = network.spec.clone().unwrap_or_default();
        if spec.internal {
            internal.insert(id);
        }
        let hosts = assignment.endpoints.iter().map(host).collect();
        snapshot.networks.insert(id.to_string(), DnsNetwork { name: spec.name, hosts });
    }
    for (container, networks) in table {
        let known = |attached: &&crate::attachments::Attached| snapshot.networks.contains_key(&attached.network_id.to_string());
        let on: Vec<NetworkId> = networks.attached.iter().filter(known).map(|attached| attached.network_id).collect();
        if on.is_empty() {
            continue;
        }
        // A container that only internal networks reach must not reach the world through its resolver.
        let upstreams = on.iter().all(|id| internal.contains(id)).then(Vec::new);
        let networks = on.iter().map(ToString::to_string).collect();
        snapshot.containers.insert(*container, DnsContainer { namespace: namespace(*container), networks, search: Vec::new(), upstreams });
    }
    let used: BTreeSet<String> = snapshot.containers.values().flat_map(|container| container.networks.iter().cloned()).collect();
    snapshot.networks.retain(|id, _| used.contains(id));
    snapshot
}

fn host(endpoint: &v1::Endpoint) -> DnsHost {
    let mut names = vec![endpoint.name.clone()];
    names.extend(endpoint.container_id.parse::<ContainerId>().map(|id| id.short()));
    names.extend(endpoint.aliases.iter().cloned());
    let addresses: BTreeMap<bool, IpAddr> = [&endpoint.ipv4, &endpoint.ipv6]
        .into_iter()
        .filter_map(|bytes| convert::ip("address", bytes).ok().flatten())
        .map(|address| (address.is_ipv6(), address))
        .collect();
    DnsHost { names, addresses: addresses.into_values().collect() }
}

/// The resolvers in a `resolv.conf` (`resolv.conf(5)`); scoped IPv6 addresses are left out.
fn resolvers(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    lines.filter_map(|rest| rest.split_whitespace().next()?.parse::<IpAddr>().ok()).map(|ip| SocketAddr::new(ip, DNS)).collect()
}

#[cfg(test)]
mod tests {
    use rcon_types::EndpointId;

    use super::*;
    use crate::attachments::{Attached, ContainerNetworks, Requested};

    fn set(internal: bool) -> v1::Assignments {
        let network = |id: u8, name: &str| v1::NetworkAssignment {
            network: Some(v1::Network {
                id: vec![id; 16].into(),
                spec: Some(v1::NetworkSpec { name: name.into(), internal, ..Default::default() }),
                ..Default::default()
            }),
            endpoints: vec![v1::Endpoint {
                name: "web".into(),
                aliases: vec!["www".into()],
                container_id: ContainerId::from_bytes([0xab; 32]).to_string(),
                ipv4: vec![10, 0, 0, 2].into(),
                ..Default::default()
            }],
            mtu: 1370,
        };
        v1::Assignments { networks: vec![network(1, "backend"), network(2, "other")], ..Default::default() }
    }

    fn table() -> Table {
        let request = Requested { network: "backend".into(), aliases: Vec::new(), ipv4: None, ipv6: None };
        let attached = Attached {
            network_id: NetworkId::from_bytes([1; 16]),
            network_name: "backend".into(),
            endpoint_id: EndpointId::from_bytes([1; 16]),
            interface: 0,
            request,
        };
        Table::from([(ContainerId::from_bytes([5; 32]), ContainerNetworks { name: "client".parse().unwrap(), attached: vec![attached] })])
    }

    #[test]
    fn a_container_may_ask_for_the_names_of_its_own_networks_alone() {
        let upstream: SocketAddr = "192.0.2.1:53".parse().unwrap();
        let snapshot = snapshot(&set(false), &table(), vec![upstream], |id| format!("/n/{id}").into());
        assert_eq!(snapshot.networks.values().map(|n| n.name.as_str()).collect::<Vec<_>>(), ["backend"]);
        let host = &snapshot.networks.values().next().unwrap().hosts[0];
        assert_eq!(host.names, ["web", "abababababab", "www"]);
        let container = snapshot.containers.values().next().unwrap();
        assert_eq!(snapshot.upstreams_of(container), [upstream]);
    }

    #[test]
    fn a_container_on_internal_networks_has_no_resolver_outside() {
        let snapshot = snapshot(&set(true), &table(), vec!["192.0.2.1:53".parse().unwrap()], |_| PathBuf::new());
        assert!(snapshot.upstreams_of(snapshot.containers.values().next().unwrap()).is_empty());
    }

    #[test]
    fn the_hosts_resolvers_are_read_as_the_resolver_library_reads_them() {
        let text =
            "# nameserver 192.0.2.9\nnameserver 127.0.0.53\n  nameserver\tfd00::1 # comment\nnameserver fe80::1%eth0\noptions ndots:1\n";
        assert_eq!(resolvers(text), ["127.0.0.53:53".parse::<SocketAddr>().unwrap(), "[fd00::1]:53".parse().unwrap()]);
    }
}
