//! What `rcond dns` is told: a snapshot of every name that the containers of this host may ask for, and the few words that
//! `rcond` and it exchange over a unix socket.
//!
//! The snapshot is a JSON file that is replaced as a whole. `rcond dns` reads it when it starts and when it is told to, so it
//! answers on while `rcond` is away. The words are JSON, one a line: a [`DnsRequest`], then a [`DnsReply`].

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use rcon_types::ContainerId;
use serde::{Deserialize, Serialize};

/// How many upstreams of a container are asked, in their order.
pub const MAX_UPSTREAMS: usize = 3;
/// The snapshot's file below the data directory.
pub const SNAPSHOT_FILE: &str = "dns/snapshot.json";
/// The socket's file below the run directory.
pub const SOCKET_FILE: &str = "dns.sock";

/// Every name on this host's networks, and who may ask for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsSnapshot {
    /// Counts the snapshots that were written; `rcond dns` tells which one it serves.
    pub revision: u64,
    /// The resolvers of the host, asked from the host's namespace, so that those on its loopback work too.
    pub upstreams: Vec<SocketAddr>,
    /// The networks that containers of this host are on, by any unique key.
    pub networks: BTreeMap<String, DnsNetwork>,
    /// The containers of this host that have a network with names.
    pub containers: BTreeMap<ContainerId, DnsContainer>,
}

/// A network's names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsNetwork {
    /// Its name: `web` on the network `backend` is found as `web.backend`, too.
    pub name: String,
    /// Who is on it, on any host.
    pub hosts: Vec<DnsHost>,
}

/// One endpoint: a container, or later a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsHost {
    /// Its names, the one that a reverse lookup gives first, then aliases and the short id. A name of several hosts gives
    /// the addresses of all. Case does not matter.
    pub names: Vec<String>,
    /// Its addresses on the network, of either family.
    pub addresses: Vec<IpAddr>,
}

/// A container that asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsContainer {
    /// Its network namespace's file.
    pub namespace: PathBuf,
    /// Keys of [`DnsSnapshot::networks`]; where two have a name, the first one counts.
    pub networks: Vec<String>,
    /// The domains in its `/etc/resolv.conf`; a name below one of them is looked up without it as well.
    pub search: Vec<String>,
    /// Its own resolvers; empty asks none (`--internal`); absent asks those of the host.
    pub upstreams: Option<Vec<SocketAddr>>,
}

/// What `rcond dns` is asked over its socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DnsRequest {
    /// Read the snapshot again; the reply comes when it is served.
    Reload,
    /// Say what is served.
    Status,
    /// Give the sockets to a successor, which is the one who asks. Answered with descriptors, not with a [`DnsReply`].
    HandOver,
}

/// What it answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsReply {
    /// The snapshot that is served.
    pub revision: u64,
    /// How many containers are served.
    pub containers: usize,
    /// Containers that are not, with the reason; tried again every few seconds.
    pub failed: BTreeMap<ContainerId, String>,
    /// Why the snapshot could not be read again; the one before is still served.
    pub error: Option<String>,
}

impl DnsSnapshot {
    /// The resolvers that a container's unknown names go to, at most [`MAX_UPSTREAMS`].
    #[must_use]
    pub fn upstreams_of<'a>(&'a self, container: &'a DnsContainer) -> &'a [SocketAddr] {
        let all = container.upstreams.as_deref().unwrap_or(&self.upstreams);
        &all[..all.len().min(MAX_UPSTREAMS)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_survives_its_file() {
        let id = ContainerId::from_bytes([7; 32]);
        let snapshot = DnsSnapshot {
            revision: 3,
            upstreams: vec!["127.0.0.53:53".parse().unwrap(), "[fd00::1]:53".parse().unwrap()],
            networks: BTreeMap::from([(
                "n1".to_owned(),
                DnsNetwork {
                    name: "backend".to_owned(),
                    hosts: vec![DnsHost { names: vec!["web".to_owned()], addresses: vec!["10.0.0.2".parse().unwrap()] }],
                },
            )]),
            containers: BTreeMap::from([(
                id,
                DnsContainer {
                    namespace: format!("/run/rcond/netns/{id}").into(),
                    networks: vec!["n1".to_owned()],
                    search: vec!["example.com".to_owned()],
                    upstreams: None,
                },
            )]),
        };
        let text = serde_json::to_string(&snapshot).unwrap();
        assert_eq!(serde_json::from_str::<DnsSnapshot>(&text).unwrap(), snapshot);
    }

    #[test]
    fn a_container_asks_its_own_resolvers_those_of_the_host_or_none() {
        let mut snapshot = DnsSnapshot { upstreams: vec!["10.0.0.1:53".parse().unwrap(); 5], ..DnsSnapshot::default() };
        let mut container = DnsContainer { namespace: PathBuf::new(), networks: vec![], search: vec![], upstreams: None };
        assert_eq!(snapshot.upstreams_of(&container).len(), MAX_UPSTREAMS);
        container.upstreams = Some(vec![]);
        assert!(snapshot.upstreams_of(&container).is_empty());
        snapshot.upstreams.clear();
        container.upstreams = Some(vec!["10.0.0.9:53".parse().unwrap()]);
        assert_eq!(snapshot.upstreams_of(&container), ["10.0.0.9:53".parse::<SocketAddr>().unwrap()]);
    }

    #[test]
    fn the_words_are_one_line_each() {
        assert_eq!(serde_json::to_string(&DnsRequest::Reload).unwrap(), r#""reload""#);
        assert_eq!(serde_json::from_str::<DnsRequest>(r#""hand_over""#).unwrap(), DnsRequest::HandOver);
    }
}
