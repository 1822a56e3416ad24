//! `rconctl`: what people type. One file a verb in [`verb`]; everything it knows it asks of the agent behind the local socket.

mod connect;
mod output;
mod reference;
mod report;
mod stdio;
mod template;
mod verb;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Drives the rcon agent of this host and, through it, the cluster.
#[derive(Debug, Parser)]
#[command(name = "rconctl", version, about, propagate_version = true, arg_required_else_help = true, disable_help_subcommand = true)]
struct Cli {
    /// Socket of the agent to talk to: a path, or unix:///path
    #[arg(short = 'H', long, env = "RCON_HOST", default_value = "/run/rcond/rcond.sock", global = true)]
    host: String,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create, join and leave a cluster
    #[command(subcommand)]
    Swarm(verb::swarm::Swarm),
    /// The hosts of the cluster
    #[command(subcommand)]
    Node(verb::node::Node),
    /// Networks
    #[command(subcommand)]
    Network(verb::network::Network),
    /// Images
    #[command(subcommand)]
    Image(verb::image::Image),
    /// Containers
    #[command(subcommand)]
    Container(verb::container::Container),
    #[command(flatten)]
    Short(Box<verb::container::Container>),
    /// List images
    Images(verb::image::ls::Args),
    /// Import a root file system as an image
    Import(verb::image::import::Args),
    /// Remove images
    Rmi(verb::image::rm::Args),
    /// The agent, its host and its place in the cluster
    Info(verb::system::info::Args),
    /// Versions of this command and of the agent
    Version(verb::system::version::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: could not start the command's runtime\n  caused by: {error}");
            return ExitCode::from(125);
        }
    };
    let outcome = runtime.block_on(dispatch(cli));
    // A blocked read of standard input must not hold the command back.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(failure.exit_code)
        }
    }
}

async fn dispatch(cli: Cli) -> report::Outcome {
    let agent = connect::Agent::new(&cli.host)?;
    match cli.command {
        Command::Swarm(verb) => verb.run(&agent).await,
        Command::Node(verb) => verb.run(&agent).await,
        Command::Network(verb) => verb.run(&agent).await,
        Command::Image(verb) => verb.run(&agent).await,
        Command::Container(verb) => verb.run(&agent).await,
        Command::Short(verb) => verb.run(&agent).await,
        Command::Images(args) => verb::image::ls::run(args, &agent).await,
        Command::Import(args) => verb::image::import::run(args, &agent).await,
        Command::Rmi(args) => verb::image::rm::run(args, &agent).await,
        Command::Info(args) => verb::system::info::run(args, &agent).await,
        Command::Version(args) => verb::system::version::run(args, &agent).await,
    }
}
