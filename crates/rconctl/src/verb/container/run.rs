//! `rconctl run`

use clap::Args as ClapArgs;
use rcon_proto::v1;

use super::{spec::ContainerFlags, stream};
use crate::{
    connect::{Agent, answer},
    output::{line, warnings},
    report::{Outcome, Report},
};

/// Example: rconctl run -d --name web --network backend busybox httpd -f -h /www
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Print the id and leave the container running
    #[arg(short, long)]
    detach: bool,
    /// Pass standard input on
    #[arg(short, long, conflicts_with = "detach")]
    interactive: bool,
    #[command(flatten)]
    container: ContainerFlags,
}

/// Runs the verb.
pub async fn run(args: Args, agent: &Agent) -> Outcome {
    start(args, agent).await.map_err(Report::of_run)
}

async fn start(args: Args, agent: &Agent) -> Outcome {
    let asked = args.container.into_request(args.interactive)?;
    let auto_remove = asked.auto_remove;
    let mut containers = agent.containers();
    let created = answer(containers.create(asked)).await?;
    warnings(&created.warnings);
    let container = v1::ContainerReference { container: created.id.clone() };
    // Attached before it starts, so that not a byte is lost.
    let attached = if args.detach {
        None
    } else {
        let head = v1::AttachHead { container: created.id.clone(), stdin: args.interactive };
        Some(stream::open(&mut containers, v1::stream_up::Up::Attach(head), args.interactive).await?)
    };
    match answer(containers.start(container)).await {
        Ok(started) => warnings(&started.warnings),
        Err(report) => {
            if auto_remove {
                let gone = v1::RemoveContainerRequest { container: created.id, force: true };
                // The failure to start is what the user must read; a left-over is removed by the agent's next pass.
                let _ = answer(containers.remove(gone)).await;
            }
            return Err(report);
        }
    }
    match attached {
        None => line(created.id),
        Some(attached) => {
            let code = attached.run_until_exit(Some((&mut containers, &created.id))).await?;
            if auto_remove {
                // Its name is free when this command returns, as with Docker. That it is gone already is the answer, too.
                let _ = answer(containers.wait(v1::ContainerReference { container: created.id })).await;
            }
            Ok(code)
        }
    }
}
