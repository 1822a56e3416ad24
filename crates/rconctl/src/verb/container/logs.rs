//! `rconctl logs`

use clap::Args as ClapArgs;
use rcon_proto::v1;
use rcon_rpc::tonic::Request;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    connect::{Agent, answer},
    report::{Outcome, invalid},
    stdio::Output,
};

/// Example: rconctl logs -f --tail 10 web
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Name or id
    container: String,
    /// Go on printing until the container ends
    #[arg(short, long)]
    follow: bool,
    /// Only so many of the last lines, or all
    #[arg(short = 'n', long, default_value = "all")]
    tail: String,
    /// Print the time of each line
    #[arg(short, long)]
    timestamps: bool,
}

/// Runs the verb.
pub async fn run(args: Args, agent: &Agent) -> Outcome {
    let tail = match args.tail.as_str() {
        "all" => None,
        number => Some(number.parse().map_err(|_| invalid(format!("--tail: `{number}` is neither a number nor all")))?),
    };
    let asked =
        v1::LogsRequest { container: args.container, follow: args.follow, tail, timestamps: args.timestamps, since_ms: 0, until_ms: 0 };
    let mut lines = answer(agent.containers().logs(Request::new(asked))).await?;
    let mut output = Output::default();
    while let Some(chunk) = lines.message().await? {
        let data = if args.timestamps { [stamp(chunk.time_ns).as_bytes(), &chunk.data].concat().into() } else { chunk.data };
        if chunk.stream == 2 {
            output.stderr(&data)?
        } else {
            output.stdout(&data)?
        }
        if output.is_closed() {
            break;
        }
    }
    Ok(std::process::ExitCode::SUCCESS)
}

fn stamp(time_ns: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(time_ns.into()).ok().and_then(|t| t.format(&Rfc3339).ok());
    format!("{} ", time.unwrap_or_default())
}
