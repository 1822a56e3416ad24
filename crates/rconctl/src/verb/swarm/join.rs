//! `rconctl swarm join`

use clap::Args as ClapArgs;
use rcon_proto::v1;
use rcon_types::{Availability, Role};

use crate::{
    connect::{Agent, answer},
    output::line,
    report::Outcome,
};

/// Example: rconctl swarm join --token RCTKN-1-… 10.0.0.1:2377
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Managers of the cluster, tried in turn
    #[arg(required = true, value_name = "HOST[:PORT]")]
    managers: Vec<String>,
    /// Token that `rconctl swarm join-token` printed on a manager
    #[arg(long)]
    token: String,
    /// Address or interface that other hosts reach this one at [:port, 2377]
    #[arg(long, value_name = "ADDR|IFACE[:PORT]", default_value = "")]
    advertise_addr: String,
    /// Address to listen on for other hosts
    #[arg(long, value_name = "ADDR[:PORT]", default_value = "")]
    listen_addr: String,
    /// Address or interface for the traffic of containers, if another
    #[arg(long, value_name = "ADDR|IFACE", default_value = "")]
    data_path_addr: String,
    /// Whether the cluster may place work here: active, pause or drain
    #[arg(long, default_value = "active")]
    availability: Availability,
}

/// Runs the verb.
pub async fn run(args: Args, agent: &Agent) -> Outcome {
    let joined = v1::SwarmJoinRequest {
        token: args.token,
        manager_addresses: args.managers,
        advertise_addr: args.advertise_addr,
        listen_addr: args.listen_addr,
        data_path_addr: args.data_path_addr,
        availability: v1::Availability::from(args.availability).into(),
    };
    let joined = answer(agent.swarm().join(joined)).await?;
    let role = rcon_proto::convert::role(joined.role).unwrap_or(Role::Worker);
    line(format_args!("This node joined a swarm as a {role}."))
}
