//! What all services of one manager share, and the gate before them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use rcon_identity::{Identity, PeerIdentity};
use rcon_rpc::{
    Caller, failure_to_status, renewing_caller,
    tonic::{Request, Response, Status},
};
use rcon_state::State;
use rcon_types::{Failure, FailureKind, Revision};

use crate::{
    assignments::Underlay,
    authorise::{
        Authorised, Origin, authorise, classify,
        table::{CallerClass, Rule},
    },
    ca_service::limiter::FailureLimiter,
    liveness::core::Liveness,
    peer_client::PeerClient,
    replica::Replica,
    sessions::Sessions,
};

/// One manager, while this node is one.
pub struct Shared {
    /// The replicated state.
    pub replica: Replica,
    /// Who this node is.
    pub identity: Arc<Identity>,
    /// The sessions it serves.
    pub sessions: Sessions,
    /// The leader's table; none while another manager leads.
    pub liveness: Mutex<Option<Liveness>>,
    /// Woken when `liveness` has something new.
    pub liveness_changed: tokio::sync::Notify,
    /// How other managers are reached.
    pub peers: PeerClient,
    /// Joins that failed.
    pub join_failures: Mutex<FailureLimiter>,
    underlay: Mutex<Option<(Revision, Underlay)>>,
}

impl Shared {
    /// A manager that serves nothing yet.
    #[must_use]
    pub fn new(replica: Replica, identity: Arc<Identity>) -> Self {
        Self {
            replica,
            peers: PeerClient::new(Arc::clone(&identity)),
            identity,
            sessions: Sessions::default(),
            liveness: Mutex::new(None),
            liveness_changed: tokio::sync::Notify::new(),
            join_failures: Mutex::new(FailureLimiter::default()),
            underlay: Mutex::new(None),
        }
    }

    /// The underlay of a state, computed once a revision for all sessions.
    #[must_use]
    pub fn underlay(&self, state: &State) -> Underlay {
        let mut cache = lock(&self.underlay);
        match *cache {
            Some((revision, underlay)) if revision == state.revision() => underlay,
            _ => {
                let underlay = Underlay::of(state);
                *cache = Some((state.revision(), underlay));
                underlay
            }
        }
    }
}

/// Locks a mutex whose holders never leave it half changed.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the manager of this node stands, or will stand: the services are served from the start, on every node, and say that this node is
/// no manager until one is put behind the gate.
#[derive(Clone, Default)]
pub struct ManagerGate {
    behind: Arc<ArcSwapOption<Shared>>,
}

/// A request that may go on.
pub struct Admitted {
    /// The manager.
    pub shared: Arc<Shared>,
    /// Who asks.
    pub caller: Authorised,
}

impl ManagerGate {
    /// Puts a manager behind the gate, or takes it away.
    pub fn set(&self, shared: Option<Arc<Shared>>) {
        self.behind.store(shared);
    }

    /// The manager, if this node is one now.
    ///
    /// # Errors
    /// Unavailable, while it is none.
    pub fn shared(&self) -> Result<Arc<Shared>, Failure> {
        self.behind.load_full().ok_or_else(|| {
            Failure::new(FailureKind::Unavailable, "this node is no manager, or not yet").hint("ask a manager: `rconctl info` names them")
        })
    }

    /// Looks at a caller before anything is done for it. Where what is applied here would refuse it, a quorum is asked before it is told so:
    /// this manager may be behind.
    ///
    /// # Errors
    /// The refusal, as a status.
    pub fn admit<'a, T>(
        &'a self,
        rule: &'a Rule,
        request: &Request<T>,
    ) -> impl Future<Output = Result<Admitted, Status>> + Send + use<'a, T> {
        let origin = origin(request);
        async move { self.admit_origin(rule, origin).await }
    }

    async fn admit_origin(&self, rule: &Rule, origin: Origin) -> Result<Admitted, Status> {
        let shared = self.shared().map_err(refused)?;
        let cluster = shared.identity.cluster_id();
        let caller = match authorise(rule, &origin, cluster, &shared.replica.state()) {
            Err(_) if matches!(origin, Origin::Remote(Some(PeerIdentity { cluster_id, .. })) if cluster_id == cluster) => {
                let state = shared.replica.read().await.map_err(refused)?;
                authorise(rule, &origin, cluster, &state)
            }
            decided => decided,
        };
        match caller {
            Ok(caller) => Ok(Admitted { shared, caller }),
            Err(failure) => {
                tracing::debug!(service = rule.service, method = rule.method, ?origin, %failure, "a call was refused");
                Err(refused(failure))
            }
        }
    }

    /// Whether the caller was a member and was removed for good.
    #[must_use]
    pub fn is_removed<T>(&self, request: &Request<T>) -> bool {
        let class = |shared: Arc<Shared>| classify(&origin(request), shared.identity.cluster_id(), &shared.replica.state());
        self.shared().is_ok_and(|shared| class(shared) == CallerClass::Removed)
    }
}

/// Who is on the other end of a request.
fn origin<T>(request: &Request<T>) -> Origin {
    match renewing_caller(request) {
        Ok(Caller::Local) => Origin::Local,
        Ok(Caller::Node(identity)) => Origin::Remote(Some(identity)),
        Err(_) => Origin::Remote(None),
    }
}

/// A failure as the status that carries it.
pub fn refused(failure: Failure) -> Status {
    failure_to_status(failure)
}

/// An outcome as gRPC wants it.
pub fn reply<T>(outcome: Result<T, Failure>) -> Result<Response<T>, Status> {
    outcome.map(Response::new).map_err(refused)
}
