//! Names of kernel objects: functions of ids and numbers alone, at most 15 bytes (`IFNAMSIZ` in `linux/if.h`, less its zero).
//!
//! The third letter says what a thing is, so that firewall rules can match a kind by `rcx*`.

use rcon_types::{EndpointId, Vni};

/// The namespace that holds all overlays, as a file below `<run-dir>/netns/`.
pub const OVERLAY_NAMESPACE: &str = "rcon-overlay";
/// The host's end of the pair of links that carries egress and published ports.
pub const HOST_LINK: &str = "rcon-link";
/// The other end, inside `rcon-overlay`.
pub const OVERLAY_LINK: &str = "rcl0";
/// The kernel's WireGuard device inside `rcon-overlay`.
pub const WIREGUARD: &str = "rcw0";
/// Bridges, as a pattern of nftables.
pub const ANY_BRIDGE: &str = "rcb*";
/// VXLAN ports, as a pattern of nftables.
pub const ANY_VXLAN: &str = "rcx*";
/// TAP ports, as a pattern of nftables.
pub const ANY_TAP: &str = "rct*";

/// The bridge of a network: `rcb4096`.
#[must_use]
pub fn bridge(vni: Vni) -> String {
    format!("rcb{vni}")
}

/// The VXLAN device of a network: `rcx4096`.
#[must_use]
pub fn vxlan(vni: Vni) -> String {
    format!("rcx{vni}")
}

/// The TAP of an encrypted network with the userspace backend: `rct4096`.
#[must_use]
pub fn tap(vni: Vni) -> String {
    format!("rct{vni}")
}

/// The bridge's end of a container's link: `rcp` and the first 12 characters (62 bits) of the endpoint's id.
#[must_use]
pub fn container_port(endpoint: EndpointId) -> String {
    format!("rcp{}", endpoint.short())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_fits_the_kernel() {
        let endpoint = EndpointId::from_bytes([0xff; 16]);
        for name in [bridge(Vni::MAX), vxlan(Vni::MAX), tap(Vni::MAX), container_port(endpoint), HOST_LINK.into(), OVERLAY_LINK.into()] {
            assert!(name.len() <= 15 && !name.is_empty(), "{name}");
        }
        assert_eq!(bridge(Vni::FIRST), "rcb4096");
    }
}
