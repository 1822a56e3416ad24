//! Numbers that every part of a host's network must agree on.

use std::net::Ipv4Addr;

use rcon_types::MacAddr;

/// UDP port of plain overlays unless set at init (RFC 7348 §8).
pub const DEFAULT_DATA_PORT: u16 = 4789;
/// UDP port of encrypted overlays unless set at init.
pub const DEFAULT_ENCRYPTED_PORT: u16 = 51820;
/// UDP port of VXLAN inside the tunnels; never seen on the underlay (RFC 7348 §8).
pub const INNER_VXLAN_PORT: u16 = 4789;

/// The resolver that containers are told in `/etc/resolv.conf`, as Docker's.
pub const DNS_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
/// Where `rcond dns` really listens on [`DNS_ADDRESS`]; port 53 is redirected there, so that a container may serve it itself.
pub const DNS_PORT: u16 = 20053;

/// The Ethernet address of every gateway on every host (anycast): locally administered, and no function of an IP address
/// gives it (`MacAddr::for_ip` starts with 02:42 or 06:42).
pub const GATEWAY_MAC: MacAddr = MacAddr([0x0a, 0x42, 0x72, 0x63, 0x6f, 0x6e]);

/// The all-zero address under which a VXLAN device keeps the hosts that get broadcast and multicast (`bridge-fdb(8)`).
pub const REPLICATION_MAC: MacAddr = MacAddr([0; 6]);

/// Smallest MTU that is ever set: the least that IPv6 demands (RFC 8200 §5).
pub const MIN_MTU: u32 = 1280;
