//! The fabric: a bridge in a namespace of its own, with one port a host, addresses, and something outside to reach.
//!
//! Every address here exists only inside the lab's namespaces, so each lab has the same ones.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command;
use crate::error::LabError;
use crate::faults::Faults;
use crate::record::HostRecord;

/// The bridge that joins the hosts.
pub const BRIDGE: &str = "fabric0";
/// A host's interface.
pub const INTERFACE: &str = "eth0";
/// The hosts' default gateway.
pub const GATEWAY_IPV4: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// The hosts' default gateway.
pub const GATEWAY_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x99, 0, 0, 0, 0, 0, 1);
/// An address beyond the gateway, for what leaves the cluster (RFC 5737).
pub const OUTSIDE_IPV4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// An address beyond the gateway, for what leaves the cluster (RFC 3849).
pub const OUTSIDE_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 1);

/// The network namespace of a process.
pub(crate) fn namespace_of(pid: i32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/ns/net"))
}

/// The addresses of host number `number`, from 1: both end in the same digits.
pub(crate) fn addresses(number: usize) -> (Ipv4Addr, Ipv6Addr) {
    let last = 10 + number as u8;
    // Decimal digits written as hexadecimal ones, so that `.12` and `::12` are the same host.
    let same_digits = u16::from(last / 100) << 8 | u16::from(last / 10 % 10) << 4 | u16::from(last % 10);
    (Ipv4Addr::new(10, 99, 0, last), Ipv6Addr::new(0xfd00, 0x99, 0, 0, 0, 0, 0, same_digits))
}

/// Kernel settings of a host; said explicitly, since namespaces inherit some from the machine.
pub(crate) fn host_sysctls() -> Vec<(String, String)> {
    settings(&[("net/ipv4/ip_forward", "0"), ("net/ipv6/conf/all/forwarding", "0"), ("net/ipv6/conf/default/accept_ra", "0")])
}

/// Kernel settings of the fabric: it forwards frames and nothing else, past all firewalls but the lab's own faults.
pub(crate) fn fabric_sysctls() -> Vec<(String, String)> {
    let mut all = host_sysctls();
    for family in ["iptables", "ip6tables", "arptables"] {
        let key = format!("net/bridge/bridge-nf-call-{family}");
        if Path::new("/proc/sys").join(&key).exists() {
            all.push((key, "0".into()));
        }
    }
    all
}

fn settings(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Makes the bridge and the addresses beyond it.
pub(crate) fn lay_fabric(fabric: i32, mtu: u32) -> Result<(), LabError> {
    ip(
        fabric,
        &format!(
            "link set lo up\n\
             addr add {OUTSIDE_IPV4}/32 dev lo\n\
             addr add {OUTSIDE_IPV6}/128 dev lo nodad\n\
             link add {BRIDGE} mtu {mtu} type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
             link set {BRIDGE} up\n\
             addr add {GATEWAY_IPV4}/24 dev {BRIDGE}\n\
             addr add {GATEWAY_IPV6}/64 dev {BRIDGE} nodad\n"
        ),
    )
}

/// Plugs a host in.
pub(crate) fn plug(fabric: i32, host: &HostRecord, init: i32, mtu: u32) -> Result<(), LabError> {
    let (name, mtu) = (&host.name, host.options.mtu.unwrap_or(mtu));
    ip(
        fabric,
        &format!(
            "link add {name} mtu {mtu} type veth peer name {INTERFACE} mtu {mtu} netns {init}\n\
             link set {name} master {BRIDGE}\n\
             link set {name} up\n"
        ),
    )?;
    ip(
        init,
        &format!(
            "link set lo up\n\
             link set {INTERFACE} up\n\
             addr add {}/24 dev {INTERFACE}\n\
             addr add {}/64 dev {INTERFACE} nodad\n\
             route add default via {GATEWAY_IPV4}\n\
             route add ::/0 via {GATEWAY_IPV6}\n",
            host.ipv4, host.ipv6
        ),
    )
}

/// Takes a host's port away; fine when it is gone already.
pub(crate) fn unplug(fabric: i32, name: &str) -> Result<(), LabError> {
    match ip(fabric, &format!("link delete {name}\n")) {
        // The kernel takes it away with the host's namespace: before `ip` looks, or between its look and its request.
        Err(LabError::Command { output, .. }) if output.contains("Cannot find device") || output.contains("No such device") => Ok(()),
        outcome => outcome,
    }
}

/// Makes the fabric suffer `faults` and no others.
pub(crate) fn inflict(fabric: i32, faults: &Faults) -> Result<(), LabError> {
    let mut nft = Command::new("nft");
    nft.args(["-f", "-"]);
    command::in_network_namespace(&mut nft, &namespace_of(fabric))?;
    command::run_with_input(&mut nft, &faults.ruleset()).map(drop)
}

fn ip(pid: i32, batch: &str) -> Result<(), LabError> {
    let mut ip = Command::new("ip");
    ip.args(["-batch", "-"]);
    command::in_network_namespace(&mut ip, &namespace_of(pid))?;
    command::run_with_input(&mut ip, batch).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_addresses_of_a_host_end_in_the_same_digits() {
        for (number, ipv4, ipv6) in
            [(1, "10.99.0.11", "fd00:99::11"), (9, "10.99.0.19", "fd00:99::19"), (200, "10.99.0.210", "fd00:99::210")]
        {
            assert_eq!(addresses(number), (ipv4.parse().unwrap(), ipv6.parse().unwrap()));
        }
    }
}
