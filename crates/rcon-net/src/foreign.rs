//! Looking for somebody else's firewall that drops what overlays need, when the host's ruleset changed.

use std::process::{Command, Stdio};

use rcon_netplan::{
    HostNetwork, OverlayNetwork,
    foreign::{Dropped, Obstacle, obstacles},
};
use rcon_types::{Failure, FailureKind};

use crate::{Problem, firewall, handle::Handle};

/// Larger rulesets are not looked through.
const MAX_RULESET_BYTES: usize = 16 << 20;

/// What was found, and in which ruleset.
#[derive(Debug, Default)]
pub(crate) struct ForeignFirewall {
    looked_at: Option<(u32, bool, Vec<u16>)>,
    found: Vec<Obstacle>,
}

impl ForeignFirewall {
    /// Looks, unless nothing changed since the last time.
    pub(crate) fn look(&mut self, host: &mut Handle, desired: &HostNetwork) {
        let forwards = desired.networks.values().any(OverlayNetwork::has_egress);
        let of = |encrypted: bool, port| desired.networks.values().any(|network| network.encrypted == encrypted).then_some(port);
        let ports: Vec<u16> = of(false, desired.node.data_port).into_iter().chain(of(true, desired.node.encrypted_port)).collect();
        let Ok(generation) = firewall::generation(&mut host.netfilter) else { return };
        let question = (generation, forwards, ports);
        if self.looked_at.as_ref() == Some(&question) {
            return;
        }
        let listing =
            host.run(|| Command::new("nft").args(["--stateless", "--numeric-protocol", "list", "ruleset"]).stdin(Stdio::null()).output());
        if let Ok(output) = listing
            && output.stdout.len() <= MAX_RULESET_BYTES
        {
            self.found = obstacles(&String::from_utf8_lossy(&output.stdout), question.1, &question.2);
            self.looked_at = Some(question);
        }
    }

    /// The problems of the networks that suffer.
    pub(crate) fn problems(&self, desired: &HostNetwork) -> Vec<Problem> {
        let mut problems = Vec::new();
        for obstacle in &self.found {
            let suffers = |network: &OverlayNetwork| match obstacle.dropped {
                Dropped::Forwarded => network.has_egress(),
                Dropped::Incoming { port } => port == if network.encrypted { desired.node.encrypted_port } else { desired.node.data_port },
            };
            let failure = Failure::new(FailureKind::FailedPrecondition, obstacle.message()).hint(obstacle.hint.clone());
            let suffering = desired.networks.iter().filter(|(_, network)| suffers(network));
            problems.extend(suffering.map(|(id, _)| Problem { network: Some(*id), failure: failure.clone() }));
        }
        problems
    }
}
