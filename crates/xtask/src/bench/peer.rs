//! The peers of the overlay: kernel VXLAN made by hand, bare or inside of a userspace WireGuard, between the same two hosts.
//!
//! Each has a bridge and a container's namespace of its own, as ours has. All of it goes with the hosts.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use rcon_lab::wait;

use super::path::Endpoint;
use super::site::Site;

const HOSTS: [&str; 2] = ["h1", "h2"];
/// A userspace WireGuard, started, with its control socket.
const READY: Duration = Duration::from_secs(10);
/// Of an interface whose outer packets have 60 bytes of WireGuard (and 20 of IPv4) in 1,500.
const WIREGUARD_MTU: u32 = 1420;
/// IPv4, UDP, VXLAN and the inner Ethernet header.
const VXLAN_OVERHEAD: u32 = 50;

/// A userspace WireGuard that peers run on.
#[derive(Clone, Copy, Debug)]
pub struct Wireguard {
    /// The program.
    pub program: &'static str,
    /// Its arguments before the interface's name.
    pub arguments: &'static [&'static str],
    /// Tells its interfaces, ports and addresses from those of others.
    pub number: u8,
}

/// Debian's.
pub const WIREGUARD_GO: Wireguard = Wireguard { program: "wireguard-go", arguments: &["-f"], number: 1 };
/// Cloudflare's, as people install it.
pub const BORINGTUN: Wireguard = Wireguard { program: "boringtun-cli", arguments: &["-f", "--disable-drop-privileges"], number: 2 };

/// The hosts' own namespaces, without any overlay.
pub fn hosts() -> [Endpoint; 2] {
    ends("/proc/1/ns/net", |side| format!("10.99.0.1{side}"))
}

/// Kernel VXLAN between the hosts' own addresses.
pub fn kernel_vxlan(site: &Site) -> anyhow::Result<[Endpoint; 2]> {
    eprintln!("peer kernel-vxlan: ip link add vxp0 type vxlan id 7000 local … remote … dstport 14789; MTU {}", 1500 - VXLAN_OVERHEAD);
    vxlan(site, 0, 1500, |side| format!("10.99.0.1{side}"))
}

/// Brings the WireGuard up between the hosts; its ends are the tunnel's own addresses, without VXLAN.
pub fn wireguard(site: &Site, kind: Wireguard) -> anyhow::Result<[Endpoint; 2]> {
    let program = installed(kind.program).with_context(|| format!("`{}` is not installed", kind.program))?;
    let program = program.to_str().context("its path is not text")?;
    let version = site.lab.run("h1", &[program, "--version"])?;
    let line = kind.arguments.join(" ");
    eprintln!("peer {}: {}; {} {line} wgp{}", kind.program, version.stdout.lines().next().unwrap_or_default(), kind.program, kind.number);
    let device = format!("wgp{}", kind.number);
    let mut keys = Vec::new();
    for host in HOSTS {
        keys.push(site.lab.run(host, &["sh", "-c", "key=$(wg genkey); echo $key; echo $key | wg pubkey"])?.success()?);
        let mut daemon = site.lab.command(host, program)?;
        // It ends with its host; there is nothing to wait for.
        daemon.args(kind.arguments).arg(&device).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        wait::until(&format!("{} answers", kind.program), READY, || {
            Ok(site.lab.run(host, &["wg", "show", &device])?.status.success().then_some(()))
        })?;
    }
    for (side, host) in HOSTS.iter().enumerate() {
        let other = 1 - side;
        let private = keys[side].lines().next().unwrap_or_default();
        let public = keys[other].lines().nth(1).unwrap_or_default();
        let port = 51900 + u32::from(kind.number);
        let script = format!(
            "set -e; echo {private} | wg set {device} private-key /dev/stdin listen-port {port} \
             peer {public} endpoint 10.99.0.1{}:{port} allowed-ips 0.0.0.0/0\n\
             ip addr add {}/24 dev {device}; ip link set {device} mtu {WIREGUARD_MTU} up",
            other + 1,
            inner_address(kind, side + 1)
        );
        site.lab.run(host, &["sh", "-c", &script])?.success()?;
    }
    Ok(ends("/proc/1/ns/net", |side| inner_address(kind, side)))
}

/// Kernel VXLAN over a WireGuard that is up.
pub fn vxlan_over(site: &Site, kind: Wireguard) -> anyhow::Result<[Endpoint; 2]> {
    vxlan(site, kind.number, WIREGUARD_MTU, |side| inner_address(kind, side))
}

fn inner_address(kind: Wireguard, side: usize) -> String {
    format!("192.168.{}.{side}", 200 + u32::from(kind.number))
}

fn vxlan(site: &Site, number: u8, under_mtu: u32, under: impl Fn(usize) -> String) -> anyhow::Result<[Endpoint; 2]> {
    let mtu = under_mtu - VXLAN_OVERHEAD;
    let (device, bridge, container) = (format!("vxp{number}"), format!("peer-bridge{number}"), format!("peer{number}"));
    for (side, host) in HOSTS.iter().enumerate() {
        let (local, remote) = (under(side + 1), under(2 - side));
        let script = format!(
            "set -e; ip netns add {bridge}; ip netns add {container}\n\
             ip netns exec {bridge} sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 \
             net.bridge.bridge-nf-call-arptables=0\n\
             ip link add {device} type vxlan id 70{number:02} local {local} remote {remote} dstport {}\n\
             ip link set {device} netns {bridge}\n\
             ip -n {bridge} link add bridge0 type bridge\n\
             ip -n {bridge} link set {device} mtu {mtu} master bridge0 up\n\
             ip link add eth0 netns {container} mtu {mtu} type veth peer name port0 mtu {mtu} netns {bridge}\n\
             ip -n {bridge} link set port0 master bridge0 up\n\
             ip -n {bridge} link set bridge0 up\n\
             ip -n {container} addr add 192.168.{}.{}/24 dev eth0\n\
             ip -n {container} link set lo up; ip -n {container} link set eth0 up",
            14789 + u32::from(number),
            210 + u32::from(number),
            side + 1
        );
        site.lab.run(host, &["sh", "-c", &script])?.success()?;
    }
    Ok(ends(&format!("/run/netns/{container}"), |side| format!("192.168.{}.{side}", 210 + u32::from(number))))
}

fn ends(namespace: &str, address: impl Fn(usize) -> String) -> [Endpoint; 2] {
    [1, 2].map(|side| Endpoint { host: HOSTS[side - 1], namespace: namespace.to_owned(), address: address(side) })
}

/// Where a program is: on the PATH, or where cargo installs.
fn installed(program: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let cargo = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo/bin"));
    match std::env::split_paths(&path).chain(cargo).map(|directory| directory.join(program)).find(|file| file.is_file()) {
        Some(file) => Ok(file),
        None => bail!("it is not on the PATH"),
    }
}
