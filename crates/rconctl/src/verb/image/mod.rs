//! `rconctl image`: images of this host.

pub mod import;
pub mod ls;
pub mod rm;

use clap::Subcommand;

use crate::{connect::Agent, report::Outcome};

/// The verbs of `rconctl image`.
#[derive(Debug, Subcommand)]
pub enum Image {
    /// Make an image from a root file system in a tar archive
    Import(import::Args),
    /// List images
    #[command(alias = "list")]
    Ls(ls::Args),
    /// Remove images
    #[command(alias = "remove")]
    Rm(rm::Args),
}

impl Image {
    /// Runs the verb.
    pub async fn run(self, agent: &Agent) -> Outcome {
        match self {
            Self::Import(args) => import::run(args, agent).await,
            Self::Ls(args) => ls::run(args, agent).await,
            Self::Rm(args) => rm::run(args, agent).await,
        }
    }
}
