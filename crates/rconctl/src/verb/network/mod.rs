//! `rconctl network`: networks of the cluster and of this host.

mod connect;
mod create;
mod disconnect;
mod inspect;
mod ls;
mod rm;
mod view;

use clap::Subcommand;

use crate::{connect::Agent, report::Outcome};

/// The verbs of `rconctl network`.
#[derive(Debug, Subcommand)]
pub enum Network {
    /// Create a network
    Create(create::Args),
    /// List networks
    #[command(alias = "list")]
    Ls(ls::Args),
    /// Show all that is known of networks, and what is wrong with them on this host
    Inspect(inspect::Args),
    /// Remove networks
    #[command(alias = "remove")]
    Rm(rm::Args),
    /// Connect a container to a network
    Connect(connect::Args),
    /// Disconnect a container from a network
    Disconnect(disconnect::Args),
}

impl Network {
    /// Runs the verb.
    pub async fn run(self, agent: &Agent) -> Outcome {
        match self {
            Self::Create(args) => create::run(args, agent).await,
            Self::Ls(args) => ls::run(args, agent).await,
            Self::Inspect(args) => inspect::run(args, agent).await,
            Self::Rm(args) => rm::run(args, agent).await,
            Self::Connect(args) => connect::run(args, agent).await,
            Self::Disconnect(args) => disconnect::run(args, agent).await,
        }
    }
}
