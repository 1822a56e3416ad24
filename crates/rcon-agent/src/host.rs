//! What this host says of itself.

use std::net::{IpAddr, SocketAddr};

use rcon_proto::{convert, v1::NodeDescription};
use rcon_types::Mtu;

/// The highest feature level of the replicated state that this binary knows.
pub const FEATURE_LEVEL: u32 = 1;

/// The part of a description that the host's kernel gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Host name.
    pub hostname: String,
    /// Machine, e.g. `x86_64`.
    pub architecture: String,
    /// Kernel release.
    pub kernel: String,
}

impl Facts {
    /// Asks the kernel.
    ///
    /// # Errors
    /// When `uname` fails.
    pub fn read() -> std::io::Result<Self> {
        let names = nix::sys::utsname::uname()?;
        let text = |value: &std::ffi::OsStr| value.to_string_lossy().into_owned();
        Ok(Self { hostname: text(names.nodename()), architecture: text(names.machine()), kernel: text(names.release()) })
    }

    /// The description of a node that is reached for control at `control`, for packets at `data`.
    #[must_use]
    pub fn describe(&self, control: SocketAddr, data: IpAddr, underlay: Mtu, wireguard_public_key: [u8; 32]) -> NodeDescription {
        NodeDescription {
            hostname: self.hostname.clone(),
            architecture: self.architecture.clone(),
            kernel: self.kernel.clone(),
            engine_version: env!("CARGO_PKG_VERSION").to_owned(),
            feature_level: FEATURE_LEVEL,
            data_address: convert::ip_bytes(data),
            underlay_mtu: underlay.0,
            wireguard_public_key: wireguard_public_key.to_vec().into(),
            control_address: control.to_string(),
        }
    }
}
