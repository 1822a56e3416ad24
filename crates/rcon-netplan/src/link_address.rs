//! The addresses of the link between the host and `rcon-overlay`, chosen so that they collide with no route of the host.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// How many pairs there are to choose from.
pub const CANDIDATES: u8 = 16;
/// The longest prefix that counts as wide.
const WIDE_PREFIX: u8 = 16;

/// Both ends' addresses of both families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkAddresses {
    /// The host's end: a link-local /30 (RFC 3927).
    pub host_v4: Ipv4Net,
    /// The end inside `rcon-overlay`.
    pub overlay_v4: Ipv4Net,
    /// The host's end: a unique local /64 (RFC 4193).
    pub host_v6: Ipv6Net,
    /// The end inside `rcon-overlay`.
    pub overlay_v6: Ipv6Net,
}

impl LinkAddresses {
    /// The `number`th choice: 169.254.213.4×number/30 and fd72:636f:6e00:number::/64.
    #[must_use]
    pub const fn candidate(number: u8) -> Self {
        let base = (number % CANDIDATES) * 4;
        Self {
            host_v4: Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 213, base + 1), 30),
            overlay_v4: Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 213, base + 2), 30),
            host_v6: Ipv6Net::new_assert(Ipv6Addr::new(0xfd72, 0x636f, 0x6e00, number as u16, 0, 0, 0, 1), 64),
            overlay_v6: Ipv6Net::new_assert(Ipv6Addr::new(0xfd72, 0x636f, 0x6e00, number as u16, 0, 0, 0, 2), 64),
        }
    }

    /// The first choice that overlaps none of the host's own routes, default routes aside.
    ///
    /// Where there is none, wide routes (a /16 of zeroconf, say) are put up with: ours is more specific.
    #[must_use]
    pub fn choose(routes: &[IpNet]) -> Option<Self> {
        [0, WIDE_PREFIX].into_iter().find_map(|wide| {
            (0..CANDIDATES).map(Self::candidate).find(|candidate| {
                let (v4, v6) = (IpNet::V4(candidate.host_v4), IpNet::V6(candidate.host_v6));
                routes.iter().filter(|route| route.prefix_len() > wide).all(|route| !overlap(route, &v4) && !overlap(route, &v6))
            })
        })
    }
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_takes_addresses_that_the_host_does_not_route() {
        let first = LinkAddresses::candidate(0);
        assert_eq!(LinkAddresses::choose(&["0.0.0.0/0".parse().unwrap(), "10.0.0.0/8".parse().unwrap()]), Some(first));
        assert_eq!(LinkAddresses::choose(&["169.254.213.0/29".parse().unwrap()]), Some(LinkAddresses::candidate(2)));
        assert_eq!(LinkAddresses::choose(&["fd72:636f:6e00::/64".parse().unwrap()]), Some(LinkAddresses::candidate(1)));
        assert_eq!(LinkAddresses::choose(&["169.254.0.0/16".parse().unwrap()]), Some(first));
        assert_eq!(LinkAddresses::choose(&["169.254.213.0/24".parse().unwrap()]), None);
    }
}
