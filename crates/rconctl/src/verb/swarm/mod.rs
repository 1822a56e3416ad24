//! `rconctl swarm`: creating, joining and leaving a cluster.

mod ca;
mod init;
mod join;
mod join_token;
mod leave;

use clap::Subcommand;

use crate::{connect::Agent, report::Outcome};

/// The verbs of `rconctl swarm`.
#[derive(Debug, Subcommand)]
pub enum Swarm {
    /// Create a cluster with this host as its first manager
    Init(init::Args),
    /// Join this host to a cluster
    Join(join::Args),
    /// Take this host out of its cluster
    Leave(leave::Args),
    /// Show, rotate or make tokens that let hosts join
    JoinToken(join_token::Args),
    /// Print the cluster's root certificates
    Ca(ca::Args),
}

impl Swarm {
    /// Runs the verb.
    pub async fn run(self, agent: &Agent) -> Outcome {
        match self {
            Self::Init(args) => init::run(args, agent).await,
            Self::Join(args) => join::run(args, agent).await,
            Self::Leave(args) => leave::run(args, agent).await,
            Self::JoinToken(args) => join_token::run(args, agent).await,
            Self::Ca(args) => ca::run(args, agent).await,
        }
    }
}
