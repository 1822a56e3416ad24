//! Foreign fields are checked here once, on their way in.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use rcon_proto::{convert, v1};
use rcon_types::{ContainerId, ContainerName, NodeName};

use crate::{
    error::Refusal,
    limits::{MAX_ALIASES, MAX_LABEL_KEY, MAX_LABEL_VALUE, MAX_LABELS, MAX_TEXT},
};

/// A field that must have exactly `length` bytes.
pub(crate) fn bytes(field: &str, value: &[u8], length: usize) -> Result<(), Refusal> {
    if value.len() == length {
        Ok(())
    } else {
        Err(Refusal::invalid(format!("field `{field}` is malformed: it has {} bytes instead of {length}", value.len())))
    }
}

/// A free text of at most [`MAX_TEXT`] bytes without control characters.
pub(crate) fn text(field: &str, value: &str) -> Result<(), Refusal> {
    if value.len() > MAX_TEXT {
        return Err(Refusal::invalid(format!("field `{field}` has {} bytes, at most {MAX_TEXT} are allowed", value.len())));
    }
    if value.chars().any(char::is_control) {
        return Err(Refusal::invalid(format!("field `{field}` has control characters")));
    }
    Ok(())
}

/// HOST:PORT, with an IPv6 host in brackets.
pub(crate) fn address(field: &str, value: &str) -> Result<(), Refusal> {
    text(field, value)?;
    let refuse = || Refusal::invalid(format!("`{value}` in `{field}` is not HOST:PORT"));
    let (host, port) = value.rsplit_once(':').ok_or_else(refuse)?;
    let bare_ipv6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    if host.is_empty() || bare_ipv6 || port.parse::<u16>().unwrap_or(0) == 0 {
        return Err(refuse());
    }
    Ok(())
}

/// Labels or options.
pub(crate) fn labels(field: &str, labels: &BTreeMap<String, String>) -> Result<(), Refusal> {
    if labels.len() > MAX_LABELS {
        return Err(Refusal::invalid(format!("`{field}` has {} entries, at most {MAX_LABELS} are allowed", labels.len())));
    }
    for (key, value) in labels {
        if key.is_empty() || key.len() > MAX_LABEL_KEY || value.len() > MAX_LABEL_VALUE {
            let why = format!("keys have 1 to {MAX_LABEL_KEY} bytes, values at most {MAX_LABEL_VALUE}");
            return Err(Refusal::invalid(format!("`{field}` has an entry that is too long or has no key")).hint(why));
        }
    }
    Ok(())
}

/// What a node says of itself.
pub(crate) fn description(description: &v1::NodeDescription) -> Result<(), Refusal> {
    description.hostname.parse::<NodeName>().map_err(|e| Refusal::invalid(e.to_string()))?;
    text("architecture", &description.architecture)?;
    text("kernel", &description.kernel)?;
    text("engine_version", &description.engine_version)?;
    convert::ip("data_address", &description.data_address)?;
    if !description.wireguard_public_key.is_empty() {
        bytes("wireguard_public_key", &description.wireguard_public_key, 32)?;
    }
    if !description.control_address.is_empty() {
        address("control_address", &description.control_address)?;
    }
    Ok(())
}

/// The role of a node or token; it must be set.
pub(crate) fn role(field: &str, wire: i32) -> Result<(), Refusal> {
    convert::role(wire).map(|_| ()).ok_or_else(|| Refusal::invalid(format!("field `{field}` has no known role")))
}

/// Availability; unset is active.
pub(crate) fn availability(wire: i32) -> Result<(), Refusal> {
    v1::Availability::try_from(wire).map(|_| ()).map_err(|_| Refusal::invalid("field `availability` has no known value"))
}

/// Names of an endpoint, and its container.
pub(crate) fn endpoint_names(endpoint: &v1::Endpoint) -> Result<(), Refusal> {
    endpoint.name.parse::<ContainerName>().map_err(|e| Refusal::invalid(e.to_string()))?;
    endpoint.container_id.parse::<ContainerId>().map_err(|e| Refusal::invalid(e.to_string()))?;
    if endpoint.aliases.len() > MAX_ALIASES {
        return Err(Refusal::invalid(format!("{} aliases are given, at most {MAX_ALIASES} are allowed", endpoint.aliases.len())));
    }
    for alias in &endpoint.aliases {
        alias.parse::<ContainerName>().map_err(|e| Refusal::invalid(format!("alias: {e}")))?;
    }
    Ok(())
}

/// Whether hosts can have addresses of this prefix: not loopback, link-local, multicast, reserved or unspecified.
pub(crate) fn is_for_hosts(prefix: IpNet) -> bool {
    let never: &[&str] = match prefix {
        // RFC 6890: this network, loopback, link-local, multicast, reserved.
        IpNet::V4(_) => &["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4"],
        // RFC 4291: unspecified, loopback and mapped addresses, link-local, multicast.
        IpNet::V6(_) => &["::/8", "fe80::/10", "ff00::/8"],
    };
    never.iter().filter_map(|text| text.parse().ok()).all(|other| !overlap(prefix, other))
}

/// Whether two prefixes have an address in common.
pub(crate) fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

/// A prefix of a message; it must be set and have no host bits.
pub(crate) fn prefix(field: &'static str, wire: Option<&v1::Prefix>) -> Result<IpNet, Refusal> {
    let wire = wire.ok_or_else(|| Refusal::invalid(format!("field `{field}` is missing")))?;
    let net = convert::prefix(field, wire)?;
    match convert::ip(field, &wire.address)? {
        Some(address) if address == net.network() => Ok(net),
        Some(address) => {
            Err(Refusal::invalid(format!("{address}/{} has host bits set", net.prefix_len())).hint(format!("did you mean {net}?")))
        }
        None => Err(Refusal::invalid(format!("field `{field}` is missing"))),
    }
}

/// An address of the same family as `prefix` within it.
pub(crate) fn within(what: &str, address: IpAddr, prefix: IpNet) -> Result<(), Refusal> {
    if prefix.contains(&address) { Ok(()) } else { Err(Refusal::invalid(format!("{what} {address} is not in subnet {prefix}"))) }
}
