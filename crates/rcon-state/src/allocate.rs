//! What to give out next: pure functions of what is in use.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rcon_types::Vni;

/// The first VNI from `next` on that is not in use, starting over at [`Vni::FIRST`] after the last one.
pub(crate) fn vni(next: Vni, in_use: impl Fn(Vni) -> bool) -> Option<Vni> {
    let start = next.max(Vni::FIRST);
    let mut candidate = start;
    loop {
        if !in_use(candidate) {
            return Some(candidate);
        }
        candidate = following_vni(candidate);
        if candidate == start {
            return None;
        }
    }
}

/// The VNI after this one, in a circle.
pub(crate) fn following_vni(vni: Vni) -> Vni {
    Vni::new(vni.get() + 1).unwrap_or(Vni::FIRST)
}

/// The first subnet of `length` bits in `pool` that overlaps with nothing; `overlapping` says what a candidate overlaps with.
pub(crate) fn subnet(pool: IpNet, length: u8, overlapping: impl Fn(IpNet) -> Option<IpNet>) -> Option<IpNet> {
    let mut candidate = IpNet::new(pool.network(), length).ok()?;
    while pool.contains(&candidate) {
        let Some(other) = overlapping(candidate) else { return Some(candidate) };
        // Whichever of the two is larger ends on a boundary of the smaller, so the next address starts a candidate.
        let end = candidate.broadcast().max(other.broadcast());
        candidate = IpNet::new(following(end)?, length).ok()?;
    }
    None
}

/// Where addresses may be taken from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AddressSpace {
    /// The prefix on the wire, whose network and broadcast addresses nobody gets.
    pub(crate) prefix: IpNet,
    /// The part of it that is given out.
    pub(crate) range: IpNet,
    /// Nobody gets this one either.
    pub(crate) gateway: Option<IpAddr>,
}

impl AddressSpace {
    /// Whether an endpoint may have this address, requested or allocated.
    pub(crate) fn is_usable(&self, address: IpAddr) -> bool {
        let broadcast = address.is_ipv4() && address == self.prefix.broadcast();
        self.prefix.contains(&address) && address != self.prefix.network() && !broadcast && Some(address) != self.gateway
    }

    /// The first free address after `last`, in a circle through the range.
    pub(crate) fn allocate(&self, last: Option<IpAddr>, in_use: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
        let start = last.filter(|a| self.range.contains(a)).map_or(self.range.network(), |a| self.after(a));
        let mut candidate = start;
        loop {
            if self.is_usable(candidate) && !in_use(candidate) {
                return Some(candidate);
            }
            candidate = self.after(candidate);
            if candidate == start {
                return None;
            }
        }
    }

    fn after(&self, address: IpAddr) -> IpAddr {
        following(address).filter(|a| self.range.contains(a)).unwrap_or(self.range.network())
    }
}

/// The address after this one, or `None` after the last of its family.
fn following(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(a) => u32::from(a).checked_add(1).map(|n| Ipv4Addr::from(n).into()),
        IpAddr::V6(a) => u128::from(a).checked_add(1).map(|n| Ipv6Addr::from(n).into()),
    }
}

/// The first address of a prefix after the network's own: the gateway unless one is asked for.
pub(crate) fn first_host(prefix: IpNet) -> Option<IpAddr> {
    following(prefix.network()).filter(|a| prefix.contains(a))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }
    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }
    fn overlaps(a: IpNet, b: IpNet) -> bool {
        a.contains(&b.network()) || b.contains(&a.network())
    }

    #[test]
    fn subnets_come_one_after_the_other_and_skip_what_overlaps() {
        let taken = [net("10.0.0.0/24"), net("10.0.1.128/25"), net("10.0.2.0/23"), net("10.0.5.0/24")];
        let find = |candidate: IpNet| taken.iter().copied().find(|t| overlaps(*t, candidate));
        assert_eq!(subnet(net("10.0.0.0/8"), 24, find), Some(net("10.0.4.0/24")));
        assert_eq!(subnet(net("10.0.0.0/8"), 24, |_| None), Some(net("10.0.0.0/24")));
        assert_eq!(subnet(net("10.0.0.0/8"), 24, |c| Some(c).filter(|c| overlaps(*c, net("0.0.0.0/0")))), None);
        assert_eq!(subnet(net("255.255.255.0/24"), 24, Some), None);
        assert_eq!(subnet(net("10.0.0.0/8"), 24, |c| overlaps(c, net("10.0.0.0/8")).then(|| net("10.0.0.0/8"))), None);
    }

    #[test]
    fn a_freed_address_is_not_given_out_again_at_once() {
        let space = AddressSpace { prefix: net("10.0.0.0/29"), range: net("10.0.0.0/29"), gateway: Some(ip("10.0.0.1")) };
        assert_eq!(space.allocate(None, |_| false), Some(ip("10.0.0.2")));
        assert_eq!(space.allocate(Some(ip("10.0.0.2")), |_| false), Some(ip("10.0.0.3")));
        assert_eq!(space.allocate(Some(ip("10.0.0.6")), |_| false), Some(ip("10.0.0.2")), "broadcast and gateway are skipped");
        assert_eq!(space.allocate(Some(ip("10.0.0.6")), |_| true), None);
        assert_eq!(space.allocate(Some(ip("10.0.0.5")), |a| a != ip("10.0.0.5")), Some(ip("10.0.0.5")));
    }

    #[test]
    fn a_range_limits_what_is_given_out_but_not_what_may_be_asked_for() {
        let space = AddressSpace { prefix: net("10.0.0.0/24"), range: net("10.0.0.128/30"), gateway: Some(ip("10.0.0.1")) };
        assert_eq!(space.allocate(None, |_| false), Some(ip("10.0.0.128")));
        assert_eq!(space.allocate(Some(ip("10.0.0.131")), |a| a == ip("10.0.0.128")), Some(ip("10.0.0.129")));
        assert!(space.is_usable(ip("10.0.0.5")));
        for never in ["10.0.0.0", "10.0.0.1", "10.0.0.255", "10.0.1.1"] {
            assert!(!space.is_usable(ip(never)), "{never}");
        }
    }

    #[test]
    fn ipv6_has_no_broadcast_address() {
        let space = AddressSpace { prefix: net("fd00::/126"), range: net("fd00::/126"), gateway: Some(ip("fd00::1")) };
        assert_eq!(space.allocate(Some(ip("fd00::2")), |_| false), Some(ip("fd00::3")));
        assert_eq!(space.allocate(Some(ip("fd00::3")), |_| false), Some(ip("fd00::2")));
    }

    #[test]
    fn vnis_go_round() {
        assert_eq!(vni(Vni::FIRST, |_| false), Some(Vni::FIRST));
        assert_eq!(vni(Vni::MAX, |v| v == Vni::MAX), Some(Vni::FIRST));
        assert_eq!(vni(Vni::FIRST, |v| v == Vni::FIRST), Vni::new(4097));
    }
}
