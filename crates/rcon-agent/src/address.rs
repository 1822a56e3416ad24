//! Which of this host's addresses other hosts reach it at: what `--advertise-addr` and its kin mean.
//!
//! The choice is a pure function of what was typed and of the host's interfaces; [`interfaces`] alone looks at the host.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use nix::ifaddrs::getifaddrs;
use thiserror::Error;

/// The control port of every node.
pub const CONTROL_PORT: u16 = 2377;

/// Addresses by interface, in the host's order. Loopback and link-local addresses are left out.
pub type Interfaces = BTreeMap<String, Vec<IpAddr>>;

/// Why no address can be chosen.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AddressError {
    /// Neither an address nor an interface of this host.
    #[error("`{text}` is neither an IP address nor an interface with one; this host has {have}")]
    Unknown {
        /// What was typed.
        text: String,
        /// The host's interfaces and addresses.
        have: String,
    },
    /// More than one could be meant.
    #[error("this host has several addresses ({have}), and it is not clear which one other hosts reach")]
    Ambiguous {
        /// The host's interfaces and addresses.
        have: String,
    },
    /// The host is not on a network.
    #[error("this host has no address but loopback ones")]
    None,
    /// A port that is none.
    #[error("`{text}` has no valid port")]
    Port {
        /// What was typed.
        text: String,
    },
    /// An address that stands for all of them.
    #[error("`{text}` stands for every address, other hosts cannot reach this one at it")]
    Unspecified {
        /// What was typed.
        text: String,
    },
}

impl AddressError {
    /// How to mend it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::None => "bring up a network interface, or give --advertise-addr",
            _ => "give --advertise-addr ADDRESS[:PORT] or --advertise-addr INTERFACE[:PORT]",
        }
    }
}

/// The address and port to advertise.
///
/// `text` is an address or interface with an optional port; empty: the host's only address.
///
/// # Errors
/// When that is nothing, unknown, or more than one.
pub fn advertised(text: &str, interfaces: &Interfaces) -> Result<SocketAddr, AddressError> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return specific(text, address);
    }
    if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return specific(text, SocketAddr::new(address, CONTROL_PORT));
    }
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().map_err(|_| AddressError::Port { text: text.to_owned() })?),
        None => (text, CONTROL_PORT),
    };
    let candidates: Vec<IpAddr> = if name.is_empty() {
        interfaces.values().flatten().copied().collect()
    } else {
        let known = interfaces.get(name).cloned();
        known.ok_or_else(|| AddressError::Unknown { text: text.to_owned(), have: listed(interfaces) })?
    };
    pick(&candidates).map(|address| SocketAddr::new(address, port)).ok_or_else(|| match candidates.is_empty() {
        true => AddressError::None,
        false => AddressError::Ambiguous { have: listed(interfaces) },
    })
}

/// The address to listen on: ADDRESS[:PORT]; empty: every address, with the advertised port.
///
/// # Errors
/// When it is neither.
pub fn listening(text: &str, advertised: SocketAddr) -> Result<SocketAddr, AddressError> {
    if text.is_empty() {
        let any: IpAddr = if advertised.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
        return Ok(SocketAddr::new(any, advertised.port()));
    }
    text.parse()
        .or_else(|_| text.trim_matches(['[', ']']).parse().map(|ip| SocketAddr::new(ip, advertised.port())))
        .map_err(|_| AddressError::Unknown { text: text.to_owned(), have: "the form ADDRESS[:PORT]".to_owned() })
}

/// One IPv4 address wins over any number of IPv6 ones, as hosts with one of each are usual; else there must be exactly one.
fn pick(candidates: &[IpAddr]) -> Option<IpAddr> {
    let mut v4 = candidates.iter().filter(|address| address.is_ipv4());
    match (v4.next(), v4.next(), candidates) {
        (Some(only), None, _) | (None, None, [only]) => Some(*only),
        _ => None,
    }
}

fn specific(text: &str, address: SocketAddr) -> Result<SocketAddr, AddressError> {
    if address.ip().is_unspecified() {
        return Err(AddressError::Unspecified { text: text.to_owned() });
    }
    Ok(address)
}

fn listed(interfaces: &Interfaces) -> String {
    let each = interfaces.iter().map(|(name, addresses)| {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        format!("{name}: {}", addresses.join(" "))
    });
    let all: Vec<String> = each.collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

/// The interfaces of this process's network namespace.
///
/// # Errors
/// When the kernel does not tell.
pub fn interfaces() -> std::io::Result<Interfaces> {
    let mut found = Interfaces::new();
    for interface in getifaddrs()? {
        let Some(address) = interface.address.and_then(|a| {
            let v4 = a.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            v4.or_else(|| a.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
        }) else {
            continue;
        };
        let local = match address {
            IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
        };
        // Our own ends of the overlay's link are nobody's way to this host.
        if !local && !interface.interface_name.starts_with("rc") {
            found.entry(interface.interface_name).or_default().push(address);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(entries: &[(&str, &[&str])]) -> Interfaces {
        entries.iter().map(|(name, list)| ((*name).to_owned(), list.iter().map(|a| a.parse().unwrap()).collect())).collect()
    }

    #[test]
    fn what_was_typed_or_the_only_address_is_advertised() {
        let one = host(&[("eth0", &["10.0.0.1", "fd00::1"])]);
        let two = host(&[("eth0", &["10.0.0.1"]), ("eth1", &["192.168.0.1"])]);
        for (text, interfaces, expected) in [
            ("", &one, "10.0.0.1:2377"),
            ("10.9.9.9", &one, "10.9.9.9:2377"),
            ("10.9.9.9:99", &one, "10.9.9.9:99"),
            ("[fd00::9]:99", &one, "[fd00::9]:99"),
            ("fd00::9", &one, "[fd00::9]:2377"),
            ("eth1", &two, "192.168.0.1:2377"),
            ("eth1:5", &two, "192.168.0.1:5"),
        ] {
            assert_eq!(advertised(text, interfaces).unwrap(), expected.parse().unwrap(), "{text}");
        }
    }

    #[test]
    fn a_choice_that_is_not_clear_is_refused_with_what_there_is() {
        let two = host(&[("eth0", &["10.0.0.1"]), ("eth1", &["192.168.0.1"])]);
        assert!(matches!(advertised("", &two), Err(AddressError::Ambiguous { have }) if have.contains("eth1: 192.168.0.1")));
        assert!(matches!(advertised("eth7", &two), Err(AddressError::Unknown { .. })));
        assert!(matches!(advertised("eth1:x", &two), Err(AddressError::Port { .. })));
        assert!(matches!(advertised("0.0.0.0", &two), Err(AddressError::Unspecified { .. })));
        assert_eq!(advertised("", &host(&[])), Err(AddressError::None));
    }

    #[test]
    fn every_address_is_listened_on_unless_one_is_named() {
        let advertised = "10.0.0.1:99".parse().unwrap();
        assert_eq!(listening("", advertised).unwrap(), "0.0.0.0:99".parse().unwrap());
        assert_eq!(listening("10.0.0.1", advertised).unwrap(), "10.0.0.1:99".parse().unwrap());
        assert_eq!(listening("10.0.0.1:7", advertised).unwrap(), "10.0.0.1:7".parse().unwrap());
        assert!(listening("x", advertised).is_err());
    }
}
