//! A manager of the cluster, from its start to its end.

use std::sync::Arc;

use rcon_identity::Identity;
use rcon_raft::{Consensus, RaftGate};
use rcon_rpc::{
    Routes,
    v1::{
        certificate_authority_server::CertificateAuthorityServer, control_server::ControlServer, node_session_server::NodeSessionServer,
        session_reports_server::SessionReportsServer,
    },
};
use rcon_state::State;
use tokio::task::JoinSet;

use crate::{
    ca_service::AuthorityService,
    control_service::ControlService,
    leader::lead_loop,
    replica::Replica,
    reports::{ReportService, report_loop},
    session_service::SessionService,
    shared::{ManagerGate, Shared},
};

impl ManagerGate {
    /// What managers serve on 2377/tcp: `Control`, `NodeSession`, `SessionReports`, `CertificateAuthority` and, behind its own gate,
    /// `Raft`. Serve them on every node from the start: they say so while the node is no manager.
    #[must_use]
    pub fn routes(&self, raft: &RaftGate) -> Routes {
        self.local_routes()
            .add_service(NodeSessionServer::new(SessionService::new(self.clone())))
            .add_service(SessionReportsServer::new(ReportService::new(self.clone())))
            .add_service(CertificateAuthorityServer::new(AuthorityService::new(self.clone())))
            .add_service(raft.service())
    }

    /// What managers serve on the unix socket: `Control` alone.
    #[must_use]
    pub fn local_routes(&self) -> Routes {
        Routes::new(ControlServer::new(ControlService::new(self.clone())))
    }
}

/// A manager at work. Dropping it stops its loops; [`Manager::shutdown`] also sends its nodes elsewhere and stops Raft.
pub struct Manager {
    shared: Arc<Shared>,
    gate: ManagerGate,
    work: JoinSet<()>,
}

impl Manager {
    /// Puts a manager behind the gate: from now on its services answer. Must be called inside a tokio runtime.
    #[must_use]
    pub fn new(consensus: Consensus, identity: Arc<Identity>, gate: &ManagerGate) -> Self {
        let shared = Arc::new(Shared::new(Replica::new(consensus), identity));
        let mut work = JoinSet::new();
        work.spawn(report_loop(Arc::clone(&shared)));
        work.spawn(lead_loop(Arc::clone(&shared)));
        gate.set(Some(Arc::clone(&shared)));
        Self { shared, gate: gate.clone(), work }
    }

    /// The state as it is applied here.
    #[must_use]
    pub fn state(&self) -> State {
        self.shared.replica.state()
    }

    /// The consensus of this manager.
    #[must_use]
    pub fn consensus(&self) -> &Consensus {
        self.shared.replica.consensus()
    }

    /// Takes the manager from behind its gate, sends its nodes to others, ends its loops and stops Raft.
    pub async fn shutdown(mut self) {
        self.gate.set(None);
        self.shared.sessions.end_all();
        self.work.shutdown().await;
        self.shared.replica.consensus().shutdown().await;
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.gate.set(None);
        self.shared.sessions.end_all();
    }
}
