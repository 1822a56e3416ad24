//! What users ask of a container's networks, checked as far as that needs nobody else.

use std::collections::BTreeSet;

use rcon_proto::{convert, v1};
use rcon_types::{ContainerName, Failure, FailureKind};

use crate::{attachments::Requested, limits};

/// The network that is none.
const NONE: &str = "none";
/// Words that name networks of later versions; taken now, they would change their meaning then.
const LATER: [&str; 3] = ["bridge", "host", "default"];

fn invalid(message: String) -> Failure {
    Failure::new(FailureKind::InvalidArgument, message)
}

/// Refuses what cannot be: `none` beside others, a network twice, malformed addresses and aliases.
///
/// # Errors
/// With what is wrong.
pub fn parse(wire: Vec<v1::NetworkAttachment>) -> Result<Vec<Requested>, Failure> {
    if wire.len() > limits::NETWORKS_A_CONTAINER {
        return Err(invalid(format!("a container joins at most {} networks, not {}", limits::NETWORKS_A_CONTAINER, wire.len())));
    }
    if wire.iter().any(|attachment| attachment.network == NONE) {
        if wire.len() > 1 {
            return Err(invalid("`none` cannot be combined with other networks".to_owned()));
        }
        return Ok(Vec::new());
    }
    let mut names = BTreeSet::new();
    wire.into_iter()
        .map(|attachment| {
            let requested = one(attachment)?;
            if !names.insert(requested.network.clone()) {
                return Err(invalid(format!("network `{}` is named twice", requested.network)));
            }
            Ok(requested)
        })
        .collect()
}

fn one(wire: v1::NetworkAttachment) -> Result<Requested, Failure> {
    if LATER.contains(&wire.network.as_str()) || wire.network.starts_with("container:") {
        return Err(Failure::new(FailureKind::Unimplemented, format!("network `{}` is not available in this version", wire.network))
            .hint("use `none` or an overlay network of the cluster"));
    }
    if wire.aliases.len() > limits::ALIASES_A_NETWORK {
        return Err(invalid(format!("a container has at most {} aliases on a network", limits::ALIASES_A_NETWORK)));
    }
    for alias in &wire.aliases {
        alias.parse::<ContainerName>().map_err(|error| invalid(format!("alias: {error}")))?;
    }
    let malformed = |error: convert::Malformed| Failure::from_error(FailureKind::InvalidArgument, &error);
    Ok(Requested {
        network: wire.network,
        aliases: wire.aliases,
        ipv4: convert::ipv4("ip", &wire.ipv4).map_err(malformed)?,
        ipv6: convert::ipv6("ip6", &wire.ipv6).map_err(malformed)?,
    })
}

/// The refusal of a network that was not made for standalone containers.
#[must_use]
pub fn not_attachable(network: &str) -> Failure {
    Failure::new(FailureKind::FailedPrecondition, format!("network `{network}` was not created with --attachable"))
        .hint("only services may use it; create it again with --attachable")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Vec<v1::NetworkAttachment> {
        names.iter().map(|name| v1::NetworkAttachment { network: (*name).to_owned(), ..Default::default() }).collect()
    }

    #[test]
    fn none_means_none_and_stands_alone() {
        assert!(parse(named(&["none"])).unwrap().is_empty());
        assert!(parse(named(&["none", "backend"])).is_err());
        assert_eq!(parse(named(&["backend", "front"])).unwrap().len(), 2);
    }

    #[test]
    fn what_cannot_be_is_refused_before_anything_is_made() {
        assert!(parse(named(&["backend", "backend"])).is_err());
        assert_eq!(parse(named(&["bridge"])).unwrap_err().kind, FailureKind::Unimplemented);
        let bad = v1::NetworkAttachment { network: "backend".into(), aliases: vec!["a b".into()], ..Default::default() };
        assert!(parse(vec![bad]).is_err());
        let bad = v1::NetworkAttachment { network: "backend".into(), ipv4: vec![1, 2].into(), ..Default::default() };
        assert!(parse(vec![bad]).is_err());
    }
}
