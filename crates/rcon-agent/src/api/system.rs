//! The service `System`: what `rconctl info` shows.

use std::{path::PathBuf, sync::Arc};

use rcon_engine::{Engine, ListFilter};
use rcon_proto::v1;
use rcon_rpc::{
    tonic::{self, Request, Response, Status},
    v1::system_server::System,
};
use tokio::sync::watch;

use crate::{host::Facts, ledger::Ledger, membership::Membership, reconcile::Pass};

/// The agent as people see it.
pub struct SystemService {
    /// What the host says of itself.
    pub facts: Facts,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Its containers and images.
    pub engine: Engine,
    /// Its place in a cluster.
    pub membership: Arc<Membership>,
    /// What the cluster wants of it.
    pub ledger: Arc<Ledger>,
    /// What its kernel follows.
    pub passes: watch::Receiver<Pass>,
    /// `1`, `2` or `hybrid`.
    pub cgroup_version: String,
}

#[tonic::async_trait]
impl System for SystemService {
    async fn info(&self, _: Request<v1::InfoRequest>) -> Result<Response<v1::InfoResponse>, Status> {
        let count = |filter| u32::try_from(self.engine.list(filter).len()).unwrap_or(u32::MAX);
        let images = self.engine.images();
        let images = tokio::task::spawn_blocking(move || images.list().len()).await.map_err(|e| Status::internal(e.to_string()))?;
        let pass = self.passes.borrow().clone();
        let mut info = v1::InfoResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            hostname: self.facts.hostname.clone(),
            data_dir: self.data_dir.display().to_string(),
            pid: std::process::id(),
            containers_running: count(ListFilter::Running),
            containers: count(ListFilter::All),
            images: u32::try_from(images).unwrap_or(u32::MAX),
            storage_driver: "overlayfs".to_owned(),
            cgroup_version: self.cgroup_version.clone(),
            kernel: self.facts.kernel.clone(),
            revision: self.ledger.current().revision,
            applied_revision: pass.revision.0,
            warnings: pass.problems.iter().map(|problem| problem.failure.to_string().replace('\n', ";")).collect(),
            ..Default::default()
        };
        if let Some(view) = self.membership.view() {
            let own = view.identity.own();
            info.cluster_id = own.cluster_id.to_bytes().to_vec().into();
            info.node_id = own.node_id.to_bytes().to_vec().into();
            info.role = v1::Role::from(own.role).into();
            info.control_address = view.settings.advertised.to_string();
            info.manager_addresses = view.link.candidates().into_iter().map(|candidate| candidate.address).collect();
            info.connected = view.link.current().is_some();
            let trouble = view.trouble.borrow().clone();
            info.warnings.extend(trouble.map(|failure| failure.to_string().replace('\n', ";")));
            if *view.removed.borrow() {
                info.warnings
                    .push("the cluster says that this node is not its member: `rconctl swarm leave --force`, then join again".to_owned());
            }
        }
        Ok(Response::new(info))
    }
}
