//! How long each request may take: the one table, used by both sides.
//!
//! A client puts the time into `grpc-timeout` unless the caller set one itself; tonic enforces that header on both ends. A
//! server adds the table's time to a request that came without. For a stream, the time is that until the response begins.

use std::time::Duration;

use tonic::codegen::http::{HeaderMap, HeaderValue};

/// The header of gRPC over HTTP/2.
pub(crate) const TIMEOUT_HEADER: &str = "grpc-timeout";

/// What reads or proposes once.
const USUAL: Duration = Duration::from_secs(10);
/// What Raft itself asks: longer than an election.
const RAFT: Duration = Duration::from_secs(2);
/// Membership of the cluster: a few proposals, and a new voter that catches up.
const MEMBERSHIP: Duration = Duration::from_secs(60);
/// A container's start or end as the engine does it.
const CONTAINER: Duration = Duration::from_secs(120);
/// A whole snapshot or image.
const BULK: Duration = Duration::from_secs(3600);

/// The time for a method (`/rcon.v1.Service/Method`); none where people wait for as long as they like.
#[must_use]
pub fn of(path: &str) -> Option<Duration> {
    match path.strip_prefix("/rcon.v1.").unwrap_or(path) {
        "Containers/Wait" | "Containers/Stop" => None,
        "Raft/Append" | "Raft/Vote" | "Raft/TransferLeader" | "Raft/ReadIndex" => Some(RAFT),
        "Raft/Snapshot" | "Images/Import" => Some(BULK),
        "Raft/JoinMembership" | "Raft/LeaveMembership" | "Raft/HandOver" => Some(MEMBERSHIP),
        "Swarm/Init" | "Swarm/Join" | "Swarm/Leave" | "CertificateAuthority/Join" => Some(MEMBERSHIP),
        "Control/UpdateNode" | "Control/RemoveNode" | "Control/TransferLeader" | "NodeSession/Leave" => Some(MEMBERSHIP),
        path if path.starts_with("Containers/") => Some(CONTAINER),
        _ => Some(USUAL),
    }
}

/// Adds the table's time to a request without one.
pub(crate) fn add(path: &str, headers: &mut HeaderMap) {
    if headers.contains_key(TIMEOUT_HEADER) {
        return;
    }
    if let Some(value) = of(path).and_then(|time| HeaderValue::from_str(&format!("{}m", time.as_millis())).ok()) {
        headers.insert(TIMEOUT_HEADER, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_a_deadline_but_those_that_people_wait_for() {
        assert_eq!(of("/rcon.v1.Containers/Wait"), None);
        assert_eq!(of("/rcon.v1.Control/ListNodes"), Some(USUAL));
        assert_eq!(of("/rcon.v1.Raft/Vote"), Some(RAFT));
        assert_eq!(of("/anything/else"), Some(USUAL));
    }

    #[test]
    fn a_deadline_of_the_caller_is_kept() {
        let mut headers = HeaderMap::new();
        headers.insert(TIMEOUT_HEADER, HeaderValue::from_static("5S"));
        add("/rcon.v1.Control/ListNodes", &mut headers);
        assert_eq!(headers[TIMEOUT_HEADER], "5S");
        let mut headers = HeaderMap::new();
        add("/rcon.v1.Control/ListNodes", &mut headers);
        assert_eq!(headers[TIMEOUT_HEADER], "10000m");
    }
}
