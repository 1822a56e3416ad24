//! `rconctl exec`

use clap::Args as ClapArgs;
use rcon_proto::v1;

use super::{spec::environment, stream};
use crate::{
    connect::Agent,
    report::{Outcome, Report},
};

/// Example: rconctl exec -i web cat
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Pass standard input on
    #[arg(short, long)]
    interactive: bool,
    /// KEY=VALUE, or KEY to pass this shell's value on (repeatable)
    #[arg(short, long)]
    env: Vec<String>,
    /// User[:group], by name or number
    #[arg(short, long, default_value = "")]
    user: String,
    /// Working directory inside
    #[arg(short, long, default_value = "")]
    workdir: String,
    /// Name or id of the container
    container: String,
    /// Command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Runs the verb.
pub async fn run(args: Args, agent: &Agent) -> Outcome {
    let head = v1::ExecHead {
        container: args.container,
        command: args.command,
        env: environment(&args.env),
        user: args.user,
        workdir: args.workdir,
        tty: false,
        stdin: args.interactive,
        size: None,
    };
    let mut containers = agent.containers();
    let attached = stream::open(&mut containers, v1::stream_up::Up::Exec(head), args.interactive).await.map_err(Report::of_run)?;
    attached.run_until_exit(None).await.map_err(Report::of_run)
}
