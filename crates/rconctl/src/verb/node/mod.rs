//! `rconctl node`: the hosts of the cluster.

mod inspect;
mod ls;
mod rm;
mod role;
mod transfer_leader;
mod update;
mod view;

use clap::Subcommand;

use crate::{connect::Agent, report::Outcome};

/// The verbs of `rconctl node`.
#[derive(Debug, Subcommand)]
pub enum Node {
    /// List the nodes
    Ls(ls::Args),
    /// Show all that is known of nodes
    Inspect(inspect::Args),
    /// Change labels, availability, role or address of a node
    Update(update::Args),
    /// Make nodes managers
    Promote(role::Args),
    /// Make managers workers
    Demote(role::Args),
    /// Hand the leadership to a manager
    TransferLeader(transfer_leader::Args),
    /// Remove nodes from the cluster
    Rm(rm::Args),
}

impl Node {
    /// Runs the verb.
    pub async fn run(self, agent: &Agent) -> Outcome {
        match self {
            Self::Ls(args) => ls::run(args, agent).await,
            Self::Inspect(args) => inspect::run(args, agent).await,
            Self::Update(args) => update::run(args, agent).await,
            Self::Promote(args) => role::run(args, rcon_types::Role::Manager, agent).await,
            Self::Demote(args) => role::run(args, rcon_types::Role::Worker, agent).await,
            Self::TransferLeader(args) => transfer_leader::run(args, agent).await,
            Self::Rm(args) => rm::run(args, agent).await,
        }
    }
}
