//! `rconctl swarm init`

use clap::Args as ClapArgs;
use rcon_proto::v1;
use rcon_types::{Availability, id::NodeKind};

use crate::{
    connect::{Agent, answer},
    output::line,
    reference::{id_text, parse_prefix},
    report::Outcome,
};

/// Example: rconctl swarm init --advertise-addr 10.0.0.1
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Address or interface that other hosts reach this one at [:port, 2377]
    #[arg(long, value_name = "ADDR|IFACE[:PORT]", default_value = "")]
    advertise_addr: String,
    /// Address to listen on for other hosts
    #[arg(long, value_name = "ADDR[:PORT]", default_value = "")]
    listen_addr: String,
    /// Address or interface for the traffic of containers, if another
    #[arg(long, value_name = "ADDR|IFACE", default_value = "")]
    data_path_addr: String,
    /// UDP port of plain overlay networks
    #[arg(long, default_value_t = 4789, value_parser = clap::value_parser!(u16).range(1024..))]
    data_path_port: u16,
    /// UDP port of encrypted overlay networks
    #[arg(long, default_value_t = 51820, value_parser = clap::value_parser!(u16).range(1024..))]
    encrypted_port: u16,
    /// Range that overlay networks take their subnets from (repeatable)
    #[arg(long, value_name = "SUBNET")]
    default_addr_pool: Vec<String>,
    /// Length in bits of each of those subnets
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u8).range(8..=29))]
    default_addr_pool_mask_length: u8,
    /// Range of the tunnels' inner addresses, one a host
    #[arg(long, value_name = "SUBNET", default_value = "100.96.0.0/12")]
    vtep_pool: String,
    /// Whether the cluster may place work here: active, pause or drain
    #[arg(long, default_value = "active")]
    availability: Availability,
    /// Life of the nodes' certificates in hours
    #[arg(long, value_name = "HOURS", default_value_t = 2160, value_parser = clap::value_parser!(u64).range(1..=87_600))]
    cert_expiry: u64,
}

/// Runs the verb.
pub async fn run(args: Args, agent: &Agent) -> Outcome {
    let pools = args.default_addr_pool.iter().map(|pool| parse_prefix("--default-addr-pool", pool)).collect::<Result<_, _>>()?;
    let made = v1::SwarmInitRequest {
        advertise_addr: args.advertise_addr,
        listen_addr: args.listen_addr,
        data_path_addr: args.data_path_addr,
        data_path_port: args.data_path_port.into(),
        encrypted_port: args.encrypted_port.into(),
        default_address_pools: pools,
        subnet_length: args.default_addr_pool_mask_length.into(),
        vtep_pool: Some(parse_prefix("--vtep-pool", &args.vtep_pool)?),
        availability: v1::Availability::from(args.availability).into(),
        certificate_life_s: args.cert_expiry * 3600,
    };
    let made = answer(agent.swarm().init(made)).await?;
    line(format_args!(
        "Swarm initialized: current node ({}) is now a manager.\n\nTo add a worker to this swarm, run on it:\n\n    rconctl swarm join --token {} {}\n\nTo add a manager, run 'rconctl swarm join-token manager' and follow the instructions.",
        id_text::<NodeKind>(&made.node_id),
        made.worker_token,
        made.manager_address,
    ))
}
