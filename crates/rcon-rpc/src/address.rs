//! Where a node is reached: `HOST[:PORT]`.

use std::{fmt, net::IpAddr, str::FromStr};

use rcon_types::{Failure, FailureKind};
use thiserror::Error;

use crate::DEFAULT_PORT;

/// The longest host name (RFC 1035 §2.3.4).
const MAX_HOST: usize = 253;

/// A host, by name or IP address, and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    host: String,
    port: u16,
}

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is not an address: {why}")]
pub struct ParseAddressError {
    text: String,
    why: &'static str,
}

impl Address {
    /// An IP address and a port.
    #[must_use]
    pub fn from_ip(ip: IpAddr, port: u16) -> Self {
        Self { host: ip.to_string(), port }
    }

    /// The host's name or IP address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The IP address, where the host is one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl FromStr for Address {
    type Err = ParseAddressError;

    /// `10.0.0.1`, `10.0.0.1:2377`, `host`, `host:2377`, `fd00::1`, `[fd00::1]:2377`; the port is 2377 where there is none.
    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        let refuse = |why| ParseAddressError { text: text.chars().take(MAX_HOST).collect(), why };
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or_else(|| refuse("a bracket is not closed"))?;
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(refuse("brackets hold an IPv6 address"));
            }
            let port = match rest {
                "" => None,
                rest => Some(rest.strip_prefix(':').ok_or_else(|| refuse("a colon and a port come after the bracket"))?),
            };
            (host, port)
        } else if text.parse::<std::net::Ipv6Addr>().is_ok() {
            (text, None)
        } else {
            match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        let port = match port {
            None => DEFAULT_PORT,
            Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok().filter(|port| *port != 0).ok_or_else(|| refuse("a port is 1 to 65535"))?
            }
            Some(_) => return Err(refuse("a port is 1 to 65535")),
        };
        check_host(host).map_err(refuse)?;
        Ok(Self { host: host.to_owned(), port })
    }
}

fn check_host(host: &str) -> Result<(), &'static str> {
    if host.is_empty() {
        return Err("the host is missing");
    }
    if host.len() > MAX_HOST {
        return Err("the host's name is too long");
    }
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':');
    if host.bytes().all(fits) { Ok(()) } else { Err("a host is a name or an IP address") }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') { write!(f, "[{}]:{}", self.host, self.port) } else { write!(f, "{}:{}", self.host, self.port) }
    }
}

impl From<ParseAddressError> for Failure {
    fn from(error: ParseAddressError) -> Self {
        Failure::new(FailureKind::InvalidArgument, error.to_string()).hint("write HOST or HOST:PORT, e.g. 10.0.0.1:2377 or [fd00::1]:2377")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_with_and_without_ports_are_addresses() {
        for (text, shown) in [
            ("10.0.0.1", "10.0.0.1:2377"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("manager-1.example", "manager-1.example:2377"),
            ("fd00::1", "[fd00::1]:2377"),
            ("[fd00::1]", "[fd00::1]:2377"),
            ("[fd00::1]:1", "[fd00::1]:1"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(address.to_string().parse::<Address>().unwrap(), address);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "missing"),
            (":2377", "missing"),
            ("h:", "port"),
            ("h:0", "port"),
            ("h:65536", "port"),
            ("h:+1", "port"),
            ("[fd00::1", "closed"),
            ("[fd00::1]2377", "colon"),
            ("[h]:1", "IPv6"),
            ("http://h", "port"),
            ("a b", "name or an IP"),
            ("h/x", "name or an IP"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
