//! `rconctl container` and its short forms: containers of this host.

mod create;
mod exec;
mod inspect;
mod kill;
mod logs;
mod ps;
mod rm;
mod run;
mod spec;
mod start;
mod stop;
mod stream;
mod view;
mod wait;

use clap::Subcommand;

use crate::{connect::Agent, report::Outcome};

/// The verbs of `rconctl container`.
#[derive(Debug, Subcommand)]
pub enum Container {
    /// Create a container without starting it
    Create(create::Args),
    /// Run a command in a new container
    Run(run::Args),
    /// Start stopped containers
    Start(start::Args),
    /// List containers
    #[command(alias = "ls")]
    Ps(ps::Args),
    /// Run a command in a running container
    Exec(exec::Args),
    /// Print what a container has written
    Logs(logs::Args),
    /// Stop containers: their stop signal first, SIGKILL after the timeout
    Stop(stop::Args),
    /// Send a signal to containers
    Kill(kill::Args),
    /// Remove containers
    Rm(rm::Args),
    /// Show all that is known of containers
    Inspect(inspect::Args),
    /// Wait until containers have ended and print their exit codes
    Wait(wait::Args),
}

impl Container {
    /// Runs the verb.
    pub async fn run(self, agent: &Agent) -> Outcome {
        match self {
            Self::Create(args) => create::run(args, agent).await,
            Self::Run(args) => run::run(args, agent).await,
            Self::Start(args) => start::run(args, agent).await,
            Self::Ps(args) => ps::run(args, agent).await,
            Self::Exec(args) => exec::run(args, agent).await,
            Self::Logs(args) => logs::run(args, agent).await,
            Self::Stop(args) => stop::run(args, agent).await,
            Self::Kill(args) => kill::run(args, agent).await,
            Self::Rm(args) => rm::run(args, agent).await,
            Self::Inspect(args) => inspect::run(args, agent).await,
            Self::Wait(args) => wait::run(args, agent).await,
        }
    }
}
