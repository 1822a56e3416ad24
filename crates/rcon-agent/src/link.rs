//! The way from this node to a manager: which ones there are, which one is spoken to, and questions that are asked again elsewhere.
//!
//! A manager in the same process is spoken to first, over the same stubs and with the same identity as any other.

use std::{future::Future, sync::Arc};

use arc_swap::ArcSwapOption;
use rcon_identity::Identity;
use rcon_rpc::{
    Channel, status_to_failure,
    tonic::{Request, Status},
    v1::node_session_client::NodeSessionClient,
};
use rcon_types::{Failure, FailureKind, NodeId};
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use crate::{ledger::Ledger, limits};

/// A manager that this node may speak to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Who must answer there; unknown only right after joining.
    pub node: Option<NodeId>,
    /// HOST:PORT.
    pub address: String,
}

/// The manager in this process, if there is one.
pub trait LocalManager: Send + Sync + 'static {
    /// A channel to it, with this node's identity.
    fn channel(&self) -> Option<Channel>;
}

/// The way to the managers. Shared by the session and by whoever asks a question.
pub struct ManagerLink {
    identity: Arc<Identity>,
    ledger: Arc<Ledger>,
    local: Arc<dyn LocalManager>,
    /// Addresses known from joining, for the time before the first set.
    seeds: Vec<String>,
    /// Where the session runs: the best guess for the next question.
    current: ArcSwapOption<(Candidate, Channel)>,
}

impl ManagerLink {
    /// A link for a member of a cluster.
    #[must_use]
    pub fn new(identity: Arc<Identity>, ledger: Arc<Ledger>, local: Arc<dyn LocalManager>, seeds: Vec<String>) -> Self {
        Self { identity, ledger, local, seeds, current: ArcSwapOption::empty() }
    }

    /// This node's identity.
    #[must_use]
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// Managers by the ledger, or those named at joining; never this node itself.
    #[must_use]
    pub fn candidates(&self) -> Vec<Candidate> {
        let set = self.ledger.current();
        let own = self.identity.own().node_id;
        let mut known: Vec<Candidate> = set
            .managers
            .iter()
            .filter_map(|manager| {
                Some(Candidate { node: Some(NodeId::from_slice(&manager.node_id).ok()?), address: manager.address.clone() })
            })
            .filter(|candidate| candidate.node != Some(own))
            .collect();
        if known.is_empty() && self.local.channel().is_none() {
            known = self.seeds.iter().map(|address| Candidate { node: None, address: address.clone() }).collect();
        }
        known
    }

    /// A channel to the manager in this process, or to a remote one; it connects when it is first used.
    ///
    /// # Errors
    /// When the address makes no sense, or the manager of this process does not run.
    pub fn open(&self, candidate: &Candidate) -> Result<Channel, Failure> {
        if candidate.node == Some(self.identity.own().node_id) {
            return self.local.channel().ok_or_else(|| Failure::new(FailureKind::Unavailable, "the manager of this node does not run"));
        }
        let address =
            candidate.address.parse().map_err(|e: rcon_rpc::address::ParseAddressError| Failure::from_error(FailureKind::Internal, &e))?;
        rcon_rpc::connect(&address, &self.identity, candidate.node).map_err(Failure::from)
    }

    /// The managers in the order in which to try them: this node's own, then the others from `start` on.
    #[must_use]
    pub fn in_order(&self, start: usize) -> Vec<Candidate> {
        let mut others = self.candidates();
        if !others.is_empty() {
            let shift = start % others.len();
            others.rotate_left(shift);
        }
        let own = self.local.channel().map(|_| Candidate { node: Some(self.identity.own().node_id), address: "this node".to_owned() });
        own.into_iter().chain(others).collect()
    }

    /// Says where the session runs now, or that it runs nowhere.
    pub fn set_current(&self, current: Option<(Candidate, Channel)>) {
        self.current.store(current.map(Arc::new));
    }

    /// Where the session runs.
    #[must_use]
    pub fn current(&self) -> Option<Candidate> {
        self.current.load().as_ref().map(|current| current.0.clone())
    }

    /// Asks the managers a question that may be asked twice, one after the other, until one answers or the time is over.
    ///
    /// # Errors
    /// The answer where it is a refusal; otherwise the last reason why nobody answered.
    pub async fn ask<M, T, F>(
        &self,
        what: &str,
        message: M,
        question: impl Fn(NodeSessionClient<Channel>, Request<M>) -> F,
    ) -> Result<T, Failure>
    where
        M: Clone,
        F: Future<Output = Result<rcon_rpc::tonic::Response<T>, Status>>,
    {
        let deadline = Instant::now() + limits::MANAGER_CALL;
        let mut last = Failure::new(FailureKind::Unavailable, "this node knows no manager");
        let mut pause = limits::RECONNECT.0;
        for round in 0.. {
            for channel in self.channels(round) {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                let mut request = Request::new(message.clone());
                let attempt = limits::MANAGER_ATTEMPT.min(left);
                request.set_timeout(attempt);
                last = match timeout(attempt, question(NodeSessionClient::new(channel), request)).await {
                    Ok(Ok(answer)) => return Ok(answer.into_inner()),
                    Ok(Err(status)) => status_to_failure(status),
                    Err(_) => Failure::new(FailureKind::DeadlineExceeded, "the manager did not answer in time"),
                };
                if !matches!(last.kind, FailureKind::Unavailable | FailureKind::DeadlineExceeded) {
                    return Err(last);
                }
                debug!(question = what, failure = %last.message, "asking another manager");
            }
            if Instant::now() + pause >= deadline {
                break;
            }
            sleep(pause).await;
            pause = (pause * 2).min(limits::RECONNECT.1);
        }
        let hint = "see `rconctl node ls` on a manager; a cluster without a majority of its managers takes no change";
        let hint = last.hint.clone().unwrap_or_else(|| hint.to_owned());
        Err(last.during(format!("no manager answered when asked {what}")).hint(hint))
    }

    fn channels(&self, round: usize) -> Vec<Channel> {
        let mut channels: Vec<Channel> = Vec::new();
        if round == 0 {
            channels.extend(self.local.channel());
            channels.extend(self.current.load().as_ref().map(|current| current.1.clone()));
            if !channels.is_empty() {
                return channels;
            }
        }
        for candidate in self.in_order(round) {
            match self.open(&candidate) {
                Ok(channel) => channels.push(channel),
                Err(failure) => debug!(manager = candidate.address, failure = %failure.message, "manager cannot be addressed"),
            }
        }
        channels
    }
}
