//! What this host's kernel has of what overlay networks need: found out by trying it in a namespace that is thrown away.

use std::{fs::File, io, os::fd::AsRawFd, path::Path};

use nix::sched::{CloneFlags, unshare};
use rcon_netplan::{
    EncryptedBackend, Namespace,
    firewall::{self, OverlayRules},
    kernel::{Link, LinkKind, Port},
};
use rcon_types::{Failure, FailureKind, Vni};

use crate::{firewall as nft, link_up, message, namespace, reading, socket::Netlink, sysctl, tap};

/// What this host can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// Who would encrypt here.
    pub backend: EncryptedBackend,
    /// What is not there, each with what it is needed for and how to get it.
    pub missing: Vec<MissingCapability>,
}

/// Something that the kernel or the host lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingCapability {
    /// A single word: `namespaces`, `bridge`, `port`, `veth`, `vxlan`, `tun`, `nftables`, `ipv6`.
    pub what: &'static str,
    /// Whether plain overlays need it.
    pub plain: bool,
    /// Whether encrypted overlays need it.
    pub encrypted: bool,
    /// What was tried, what came back, and the remedy.
    pub failure: Failure,
}

/// What is tried: the word, who needs it, the remedy, and the trial in a fresh namespace.
struct Trial {
    what: &'static str,
    plain: bool,
    encrypted: bool,
    remedy: &'static str,
    attempt: fn() -> io::Result<()>,
}

const TRIALS: [Trial; 7] = [
    Trial { what: "bridge", plain: true, encrypted: true, remedy: "load it with `modprobe bridge`", attempt: try_bridge },
    Trial { what: "veth", plain: true, encrypted: true, remedy: "load it with `modprobe veth`", attempt: try_veth },
    Trial {
        what: "port",
        plain: true,
        encrypted: true,
        remedy: "bridge ports need `locked` and `neigh_suppress`: Linux 5.18 or newer",
        attempt: try_port,
    },
    Trial { what: "vxlan", plain: true, encrypted: false, remedy: "load it with `modprobe vxlan`", attempt: try_vxlan },
    Trial { what: "tun", plain: false, encrypted: true, remedy: "load it with `modprobe tun`; /dev/net/tun must exist", attempt: try_tap },
    Trial {
        what: "nftables",
        plain: true,
        encrypted: true,
        remedy: "install the package `nftables`; the kernel needs nf_tables with nat, fib and the bridge family",
        attempt: try_nftables,
    },
    Trial {
        what: "ipv6",
        plain: false,
        encrypted: false,
        remedy: "networks with IPv6 do not work; boot without `ipv6.disable=1`",
        attempt: try_ipv6,
    },
];

impl Capabilities {
    /// Why networks of this sort cannot work here; empty: they can.
    pub fn obstacles(&self, encrypted: bool) -> impl Iterator<Item = &MissingCapability> {
        self.missing.iter().filter(move |missing| if encrypted { missing.encrypted } else { missing.plain })
    }
}

/// Tries everything once; takes some ten milliseconds and blocks. Leaves nothing behind.
#[must_use]
pub fn probe() -> Capabilities {
    let kernel_wireguard = in_new_namespace(try_wireguard).is_ok();
    let mut missing: Vec<MissingCapability> = Vec::new();
    if let Err(error) = in_new_namespace(|| Ok(())) {
        let failure = refused("network namespaces", &error).hint("rcond needs to run as root (CAP_SYS_ADMIN)");
        missing.push(MissingCapability { what: "namespaces", plain: true, encrypted: true, failure });
    } else {
        let backend_needs = |trial: &&Trial| !(trial.what == "tun" && kernel_wireguard);
        missing.extend(TRIALS.iter().filter(backend_needs).filter_map(|trial| {
            let error = in_new_namespace(trial.attempt).err()?;
            let (what, plain, encrypted) = (trial.what, trial.plain, trial.encrypted || (trial.what == "vxlan" && kernel_wireguard));
            Some(MissingCapability { what, plain, encrypted, failure: refused(what, &error).hint(trial.remedy) })
        }));
    }
    let backend = if kernel_wireguard { EncryptedBackend::Kernel } else { EncryptedBackend::Userspace };
    Capabilities { backend, missing }
}

fn refused(what: &str, error: &io::Error) -> Failure {
    Failure::new(FailureKind::Unimplemented, error.to_string()).during(format!("this host has no {what} that overlays could use"))
}

fn in_new_namespace(attempt: fn() -> io::Result<()>) -> io::Result<()> {
    namespace::in_own_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        link_up::loopback()?;
        attempt()
    })
}

fn create(name: &str, kind: LinkKind) -> io::Result<Netlink> {
    let here = File::open("/proc/thread-self/ns/net")?;
    let link = Link::new(kind, 1400);
    let peer = Link::new(LinkKind::Foreign, 1400);
    let request = message::create_link(name, &link, &message::Elsewhere { peer: Some((&peer, here.as_raw_fd())), ..Default::default() });
    let mut socket = Netlink::route()?;
    socket.execute(request.ok_or_else(|| io::Error::from_raw_os_error(libc::EOPNOTSUPP))?)?;
    Ok(socket)
}

fn try_bridge() -> io::Result<()> {
    create("rcb0", LinkKind::Bridge).map(drop)
}

fn try_veth() -> io::Result<()> {
    create("rcp0", LinkKind::Veth { peer_namespace: Namespace::Overlay, peer: "rcp1".into() }).map(drop)
}

fn try_port() -> io::Result<()> {
    try_bridge()?;
    let mut socket = create("rcp0", LinkKind::Veth { peer_namespace: Namespace::Overlay, peer: "rcp1".into() })?;
    let (port, bridge) = (reading::index_of(&mut socket, "rcp0")?, reading::index_of(&mut socket, "rcb0")?);
    let wanted =
        Port { bridge: "rcb0".into(), learning: false, flood: false, suppresses_neighbours: true, locked: true, stations: [].into() };
    for result in socket.batch(&message::set_port(port, bridge, &wanted))? {
        result?;
    }
    let links = reading::links(&mut socket)?;
    // An old kernel ignores what it does not know.
    match links.iter().find(|link| link.index == port) {
        Some(link) if link.port.locked && link.port.suppresses_neighbours => Ok(()),
        _ => Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP)),
    }
}

fn try_vxlan() -> io::Result<()> {
    create("rcx0", LinkKind::Vxlan { vni: Vni::FIRST, local: [192, 0, 2, 1].into(), port: 4789, socket_in_host: false }).map(drop)
}

fn try_wireguard() -> io::Result<()> {
    create("rcw0", LinkKind::Wireguard).map(drop)
}

fn try_tap() -> io::Result<()> {
    if !Path::new("/dev/net/tun").exists() {
        return Err(io::Error::from_raw_os_error(libc::ENOENT));
    }
    tap::create("rct0")
}

fn try_nftables() -> io::Result<()> {
    let rules = OverlayRules { link: Some(rcon_netplan::LinkAddresses::candidate(0)), ..OverlayRules::default() };
    let script: String = firewall::overlay_tables(&rules).iter().map(|(name, table)| firewall::load_script(name, table, None)).collect();
    let output = nft::nft(&script)?;
    if output.status.success() { Ok(()) } else { Err(io::Error::other(nft::shortened(&output.stderr))) }
}

fn try_ipv6() -> io::Result<()> {
    sysctl::read("net/ipv6/conf/all/forwarding").map(drop).ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
}
