//! `rconctl network create`

use clap::Args as ClapArgs;
use rcon_proto::{convert, v1};
use rcon_types::id::NetworkKind;

use crate::{
    connect::{Agent, answer},
    output::{line, warnings},
    reference::{id_text, parse_ip, parse_pairs, parse_prefix},
    report::{Outcome, Report, invalid},
};

/// The driver option that asks for encryption, as in Docker.
const ENCRYPTED: &str = "encrypted";

/// Example: rconctl network create --driver overlay --opt encrypted --attachable backend
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Name of the network
    name: String,
    /// Driver; only overlay networks can be created in this version
    #[arg(short, long, default_value = "overlay")]
    driver: String,
    /// Driver option KEY[=VALUE] (repeatable): encrypted
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    opt: Vec<String>,
    /// Let containers that are no task of a service join
    #[arg(long)]
    attachable: bool,
    /// No way out of the network
    #[arg(long)]
    internal: bool,
    /// Give IPv6 addresses too
    #[arg(long)]
    ipv6: bool,
    /// Subnet in CIDR form (repeatable: one of IPv4, one of IPv6)
    #[arg(long)]
    subnet: Vec<String>,
    /// Gateway of the subnet that has this address (repeatable)
    #[arg(long)]
    gateway: Vec<String>,
    /// Part of the subnet that containers get addresses from (repeatable)
    #[arg(long, value_name = "SUBNET")]
    ip_range: Vec<String>,
    /// KEY=VALUE (repeatable)
    #[arg(long)]
    label: Vec<String>,
}

/// Runs the verb.
pub async fn run(args: Args, agent: &Agent) -> Outcome {
    let subnets = subnets(&args)?;
    let mut options: std::collections::BTreeMap<String, String> = parse_pairs(&args.opt);
    let encrypted = match options.remove(ENCRYPTED).as_deref() {
        None | Some("false") => false,
        Some("" | "true") => true,
        Some(other) => return Err(invalid(format!("option `encrypted` is true or false, not `{other}`"))),
    };
    let spec = v1::NetworkSpec {
        name: args.name,
        driver: args.driver,
        labels: parse_pairs(&args.label),
        options,
        attachable: args.attachable,
        encrypted,
        internal: args.internal,
        ipv6: args.ipv6,
        subnets,
        mtu: 0,
    };
    let created = answer(agent.control().create_network(v1::CreateNetworkRequest { spec: Some(spec) })).await?;
    warnings(&created.warnings);
    line(created.network.map(|network| id_text::<NetworkKind>(&network.id)).unwrap_or_default())
}

fn subnets(args: &Args) -> Result<Vec<v1::Subnet>, Report> {
    let mut subnets = Vec::new();
    for text in &args.subnet {
        subnets.push((parse_prefix("--subnet", text)?, v1::Subnet::default()));
    }
    for text in &args.gateway {
        let gateway = parse_ip("--gateway", text)?;
        let subnet = subnets
            .iter_mut()
            .find(|(prefix, _)| convert::prefix("subnet", prefix).is_ok_and(|net| net.contains(&gateway)))
            .ok_or_else(|| invalid(format!("gateway {gateway} lies in none of the subnets; give --subnet too")))?;
        subnet.1.gateway = convert::ip_bytes(gateway);
    }
    for text in &args.ip_range {
        let wire = parse_prefix("--ip-range", text)?;
        let range = convert::prefix("range", &wire).map_err(|e| invalid(e.to_string()))?;
        let subnet = subnets
            .iter_mut()
            .find(|(prefix, _)| convert::prefix("subnet", prefix).is_ok_and(|net| net.contains(&range)))
            .ok_or_else(|| invalid(format!("range {range} lies in none of the subnets; give --subnet too")))?;
        subnet.1.range = Some(wire);
    }
    Ok(subnets.into_iter().map(|(prefix, subnet)| v1::Subnet { prefix: Some(prefix), ..subnet }).collect())
}
