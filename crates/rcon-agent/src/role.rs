//! Follows what the cluster decides for this node: renews the certificate in time, and becomes or stops being a manager.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcon_identity::{CertificateChain, IdentityStore, RootBundle, renewal_time};
use rcon_proto::{convert, v1};
use rcon_rpc::{status_to_failure, tonic::Request, v1::certificate_authority_client::CertificateAuthorityClient};
use rcon_types::{Failure, FailureKind, Role};
use tokio::{sync::watch, time::sleep};
use tracing::{info, warn};

use crate::{
    cluster_side::{ClusterSide, Entry},
    ledger::Ledger,
    limits,
    membership::View,
};

/// How often a certificate's age is looked at, and the pause after a failure.
const LOOK: Duration = Duration::from_secs(30);
/// The pause after a failed change of role.
const ROLE_RETRY: Duration = Duration::from_secs(2);

/// Keeps certificate and role up with the cluster.
pub struct Follower {
    /// This node.
    pub view: View,
    /// What the cluster wants of it.
    pub ledger: Arc<Ledger>,
    /// Where the certificate is kept.
    pub store: Arc<IdentityStore>,
    /// What becomes a manager, or stops being one.
    pub side: Arc<dyn ClusterSide>,
    /// How this node should have begun to serve, where that failed.
    pub unserved: Option<Entry>,
    /// Why it failed.
    pub trouble: watch::Sender<Option<Failure>>,
}

impl Follower {
    /// Runs for as long as the node is a member.
    pub async fn run(mut self) {
        let mut sets = self.ledger.watch();
        let random = getrandom::u32().unwrap_or(u32::MAX / 2);
        loop {
            let pause = match self.step(random).await {
                Ok(()) => LOOK,
                Err(failure) => {
                    warn!(%failure, "could not follow the cluster's decision for this node; will try again");
                    ROLE_RETRY
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                changed = sets.changed(), if pause == LOOK => if changed.is_err() { return },
            }
        }
    }

    async fn step(&mut self, random: u32) -> Result<(), Failure> {
        if let Some(entry) = self.unserved.clone() {
            self.serve(entry).await?;
        }
        let has = self.view.identity.role();
        let wanted = self.ledger.current().node.as_ref().and_then(|node| convert::role(node.role)).unwrap_or(has);
        let due = renewal_time(self.view.identity.validity(), random) <= SystemTime::now();
        if wanted == has && !due {
            return Ok(());
        }
        self.renew().await?;
        let now = self.view.identity.role();
        if now == has {
            return Ok(());
        }
        let entry = match now {
            Role::Manager => Entry::NewManager { managers: self.view.link.candidates().into_iter().map(|c| c.address).collect() },
            Role::Worker => Entry::Worker,
        };
        info!(role = %now, "the cluster gave this node another role");
        self.serve(entry).await
    }

    /// Begins to serve; where that fails, it is tried again at each step.
    async fn serve(&mut self, entry: Entry) -> Result<(), Failure> {
        let served = self.side.serve(self.view.identity.clone(), &self.view.settings, entry.clone()).await;
        self.unserved = served.is_err().then_some(entry);
        self.trouble.send_replace(served.clone().err());
        served
    }

    /// Asks each manager in turn for a new certificate.
    async fn renew(&self) -> Result<(), Failure> {
        let csr = self.view.identity.certificate_request().map_err(Failure::from)?;
        let mut last = Failure::new(FailureKind::Unavailable, "this node knows no manager");
        for candidate in self.view.link.in_order(0) {
            let channel = match self.view.link.open(&candidate) {
                Ok(channel) => channel,
                Err(failure) => {
                    last = failure;
                    continue;
                }
            };
            let mut request = Request::new(v1::RenewRequest { csr: csr.clone().into() });
            request.set_timeout(limits::MANAGER_ATTEMPT);
            match CertificateAuthorityClient::new(channel).renew(request).await {
                Ok(answer) => return self.install(answer.into_inner()),
                Err(status) => last = status_to_failure(status),
            }
        }
        Err(last.during("could not renew this node's certificate"))
    }

    fn install(&self, answer: v1::RenewResponse) -> Result<(), Failure> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let certificate = CertificateChain::from_pem(&text(&answer.certificate_pem)).map_err(Failure::from)?;
        let roots = RootBundle::from_pem(&text(&answer.root_certificates_pem)).map_err(Failure::from)?;
        self.store.install(&certificate, &roots).map_err(Failure::from)?;
        self.view.identity.replace(certificate, roots).map_err(Failure::from)?;
        info!(role = %self.view.identity.role(), "certificate renewed");
        Ok(())
    }
}
