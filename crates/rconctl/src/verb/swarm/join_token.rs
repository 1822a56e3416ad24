//! `rconctl swarm join-token`

use clap::Args as ClapArgs;
use rcon_proto::v1;
use rcon_types::Role;

use crate::{
    connect::{Agent, answer},
    output::line,
    report::Outcome,
};

/// Example: rconctl swarm join-token manager
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// What the token lets a host become: worker or manager
    role: Role,
    /// Replace the standing token; the old one is worth nothing from then on
    #[arg(long, conflicts_with_all = ["expires", "uses"])]
    rotate: bool,
    /// Print only the token
    #[arg(short, long)]
    quiet: bool,
    /// Make one more token that is good for so many minutes
    #[arg(long, value_name = "MINUTES")]
    expires: Option<u64>,
    /// Make one more token that lets so many hosts join
    #[arg(long, value_name = "N")]
    uses: Option<u32>,
}

/// Runs the verb.
pub async fn run(args: Args, agent: &Agent) -> Outcome {
    let asked = v1::GetJoinTokenRequest {
        role: v1::Role::from(args.role).into(),
        rotate: args.rotate,
        expires_in_s: args.expires.unwrap_or(0).saturating_mul(60),
        uses: args.uses.unwrap_or(0),
    };
    let given = answer(agent.control().get_join_token(asked)).await?;
    if args.quiet {
        return line(given.token);
    }
    let address = given.manager_addresses.first().map_or("MANAGER:2377", String::as_str);
    line(format_args!("To add a {} to this swarm, run on it:\n\n    rconctl swarm join --token {} {address}\n", args.role, given.token))
}
