//! What a pass over the host's network came to.

use rcon_types::{Failure, NetworkId};

/// One thing that keeps a network, or all of them, from carrying traffic as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The network that suffers; `None`: the whole host.
    pub network: Option<NetworkId>,
    /// What, why, and how to mend it.
    pub failure: Failure,
}

/// The state of this host's network after a pass.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Counts the passes since the start; grows with each.
    pub pass: u64,
    /// Steps carried out; 0: the kernel was as wanted.
    pub steps: usize,
    /// Whether the kernel is now as wanted. Problems may remain even so: another's firewall, a host that is not known yet.
    pub applied: bool,
    /// What does not work.
    pub problems: Vec<Problem>,
}

impl Report {
    /// The problems of one network, those of the host included.
    pub fn problems_of(&self, network: NetworkId) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(move |problem| problem.network.is_none_or(|id| id == network))
    }
}
