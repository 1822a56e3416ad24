//! How a manager reaches another one: the leader, with reports, and whoever stays, when it leaves.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use rcon_proto::{convert, v1};
use rcon_rpc::{
    Address, Channel, connect, status_to_failure,
    tonic::{Request, Response},
    v1::{node_session_client::NodeSessionClient, session_reports_client::SessionReportsClient},
};
use rcon_state::State;
use rcon_types::{Failure, FailureKind, NodeId};

use crate::{assignments::control_address, limits::PEER_DEADLINE, liveness::core::Heard, shared::lock};

/// Channels to other managers; the last one is kept.
pub struct PeerClient {
    identity: Arc<rcon_identity::Identity>,
    last: Mutex<Option<(NodeId, String, Channel)>>,
}

impl PeerClient {
    /// A client of this node.
    #[must_use]
    pub const fn new(identity: Arc<rcon_identity::Identity>) -> Self {
        Self { identity, last: Mutex::new(None) }
    }

    /// Tells the leader which nodes are heard here.
    ///
    /// # Errors
    /// When it does not answer in time, or leads no more.
    pub async fn report(&self, leader: NodeId, state: &State, heard: &[Heard]) -> Result<(), Failure> {
        let mut client = SessionReportsClient::new(self.channel(leader, state)?);
        let report = v1::SessionReport { sessions: heard.iter().map(digest).collect() };
        client.report(timed(report)).await.map(|_| ()).map_err(status_to_failure)
    }

    /// Asks the leader what all managers hear.
    ///
    /// # Errors
    /// When it does not answer in time, or leads no more.
    pub async fn collect(&self, leader: NodeId, state: &State) -> Result<BTreeMap<NodeId, Heard>, Failure> {
        let mut client = SessionReportsClient::new(self.channel(leader, state)?);
        let answer = client.collect(timed(v1::CollectSessionsRequest {})).await.map_err(status_to_failure)?.into_inner();
        Ok(answer.sessions.iter().filter_map(heard).map(|h| (h.node, h)).collect())
    }

    /// Asks another manager to see this one out of the cluster: who is out of Raft cannot see to the rest itself.
    ///
    /// # Errors
    /// What that manager refuses, or when it does not answer.
    pub async fn leave(&self, through: NodeId, state: &State) -> Result<v1::LeaveResponse, Failure> {
        let mut client = NodeSessionClient::new(self.channel(through, state)?);
        client.leave(v1::LeaveRequest { force: true }).await.map(Response::into_inner).map_err(status_to_failure)
    }

    fn channel(&self, to: NodeId, state: &State) -> Result<Channel, Failure> {
        let unavailable = |why: &str| Failure::new(FailureKind::Unavailable, why.to_owned());
        let address = control_address(state.node(to).ok_or_else(|| unavailable("the manager is not in the state"))?);
        let mut last = lock(&self.last);
        if let Some((node, at, channel)) = last.as_ref()
            && *node == to
            && at == address
        {
            return Ok(channel.clone());
        }
        let parsed: Address = address.parse().map_err(|_| unavailable("the manager's address cannot be read"))?;
        let channel = connect(&parsed, &self.identity, Some(to))?;
        *last = Some((to, address.to_owned(), channel.clone()));
        Ok(channel)
    }
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(PEER_DEADLINE);
    request
}

/// One node's row in a report.
#[must_use]
pub fn digest(heard: &Heard) -> v1::SessionDigest {
    v1::SessionDigest { node_id: convert::id_bytes(heard.node), silent_ms: heard.silent_ms, applied_revision: heard.applied_revision }
}

/// A row of a report; none where it names no node.
#[must_use]
pub fn heard(digest: &v1::SessionDigest) -> Option<Heard> {
    let node = NodeId::from_slice(&digest.node_id).ok()?;
    Some(Heard { node, silent_ms: digest.silent_ms, applied_revision: digest.applied_revision })
}
