//! `rconctl image rm`

use clap::Args as ClapArgs;
use rcon_proto::v1;

use crate::{
    connect::{Agent, answer},
    output::line,
    report::Outcome,
};

/// Example: rconctl rmi busybox
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Names or ids
    #[arg(required = true)]
    images: Vec<String>,
    /// Remove an image also when a stopped container uses it
    #[arg(short, long)]
    force: bool,
}

/// Runs the verb.
pub async fn run(args: Args, agent: &Agent) -> Outcome {
    let mut images = agent.images();
    for image in args.images {
        let removed = answer(images.remove(v1::RemoveImageRequest { image, force: args.force })).await?;
        for reference in removed.untagged {
            line(format_args!("Untagged: {reference}"))?;
        }
        for id in removed.deleted {
            line(format_args!("Deleted: {id}"))?;
        }
    }
    Ok(std::process::ExitCode::SUCCESS)
}
