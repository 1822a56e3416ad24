//! A user's wish for a network, normalised before it is proposed, and what the user should know about it. Pure.
//!
//! Only what is said in Docker's words is read here: the driver's name and its options. Whether name, subnets and numbers are possible is
//! the state machine's to say, in one place for all (`rcon_state`); it refuses with the names of those in the way.

use std::net::IpAddr;

use ipnet::IpNet;
use rcon_proto::{convert, v1};
use rcon_state::State;
use rcon_types::{Failure, FailureKind};
use thiserror::Error;

use crate::{
    assignments::Underlay,
    limits::{MTU_MAX, MTU_MIN, NAMED_IN_WARNING},
};

/// Docker's name for the option that sets the MTU.
pub const MTU_OPTION: &str = "com.docker.network.driver.mtu";
/// The option that encrypts an overlay; Docker gives it without a value.
pub const ENCRYPTED_OPTION: &str = "encrypted";
/// The one driver that is cluster-wide.
const OVERLAY: &str = "overlay";

/// Why a wish cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SpecError {
    /// The request has no specification.
    #[error("the request describes no network")]
    Missing,
    /// A driver of another scope, or none.
    #[error("`{0}` is no driver of cluster-wide networks")]
    Driver(String),
    /// An option that the driver does not know.
    #[error("the overlay driver has no option `{0}`")]
    UnknownOption(String),
    /// A value that the option cannot have.
    #[error("option `{option}` cannot be `{value}`: {expected}")]
    OptionValue {
        /// The option.
        option: &'static str,
        /// What was given.
        value: String,
        /// What could be.
        expected: String,
    },
    /// An MTU that leaves no room for the overheads, or for IPv6.
    #[error("an MTU of {0} is out of range: {MTU_MIN} to {MTU_MAX}")]
    Mtu(u32),
}

impl From<SpecError> for Failure {
    fn from(error: SpecError) -> Self {
        let failure = Self::from_error(FailureKind::InvalidArgument, &error);
        match error {
            SpecError::Driver(_) => failure.hint("use `--driver overlay`; networks of one host are made on that host"),
            SpecError::UnknownOption(_) => failure.hint(format!("it has `{ENCRYPTED_OPTION}` and `{MTU_OPTION}`")),
            SpecError::Missing | SpecError::OptionValue { .. } | SpecError::Mtu(_) => failure,
        }
    }
}

/// Names the driver and reads the options into the fields that the cluster goes by.
///
/// # Errors
/// Where driver or options are unknown or contradict each other: an option that is not understood is never ignored.
pub fn normalise(spec: Option<v1::NetworkSpec>) -> Result<v1::NetworkSpec, SpecError> {
    let mut spec = spec.ok_or(SpecError::Missing)?;
    if spec.driver.is_empty() {
        OVERLAY.clone_into(&mut spec.driver);
    }
    if spec.driver != OVERLAY {
        return Err(SpecError::Driver(spec.driver));
    }
    for (option, value) in &spec.options {
        match option.as_str() {
            ENCRYPTED_OPTION => spec.encrypted = encrypted(spec.encrypted, value)?,
            MTU_OPTION => spec.mtu = mtu(spec.mtu, value)?,
            _ => return Err(SpecError::UnknownOption(option.clone())),
        }
    }
    match spec.mtu {
        0 | MTU_MIN..=MTU_MAX => Ok(spec),
        mtu => Err(SpecError::Mtu(mtu)),
    }
}

/// Docker encrypts whatever the value is. Here one that says no does not encrypt, and one that says neither does not pass.
fn encrypted(asked: bool, value: &str) -> Result<bool, SpecError> {
    match value.to_ascii_lowercase().as_str() {
        "" | "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" if !asked => Ok(false),
        _ => Err(SpecError::OptionValue {
            option: ENCRYPTED_OPTION,
            value: value.to_owned(),
            expected: "no value, `true` or `false`".to_owned(),
        }),
    }
}

fn mtu(asked: u32, value: &str) -> Result<u32, SpecError> {
    let parsed = value.parse().ok().filter(|mtu| (MTU_MIN..=MTU_MAX).contains(mtu) && (asked == 0 || asked == *mtu));
    parsed.ok_or_else(|| SpecError::OptionValue {
        option: MTU_OPTION,
        value: value.to_owned(),
        expected: format!("a number of bytes from {MTU_MIN} to {MTU_MAX}"),
    })
}

/// What the user should know about a network that was made, and may ignore.
#[must_use]
pub fn warnings(network: &v1::Network, state: &State, underlay: Underlay) -> Vec<String> {
    let spec = network.spec.clone().unwrap_or_default();
    let mut out = Vec::new();
    let derived = underlay.mtu_of(&v1::NetworkSpec { mtu: 0, ..spec.clone() });
    if spec.mtu > derived.0 {
        out.push(format!("an MTU of {} is more than the nodes' underlay leaves ({derived}): full packets will not arrive", spec.mtu));
    }
    if derived.0 < MTU_MIN {
        let smallest = underlay.smallest_mtu;
        out.push(format!("the smallest underlay has an MTU of {smallest}, which leaves {derived}: IPv6 needs {MTU_MIN}"));
    }
    if spec.internal && spec.subnets.iter().any(|s| !s.gateway.is_empty()) {
        out.push("an internal network has no gateway: the one given is not used".to_owned());
    }
    out.extend(prefixes(network).filter_map(|net| out_of_reach(net, state)));
    if spec.encrypted {
        out.extend(keyless(state));
    }
    out
}

/// The prefixes of a stored network.
pub fn prefixes(network: &v1::Network) -> impl Iterator<Item = IpNet> + '_ {
    network.subnets.iter().filter_map(|s| s.prefix.as_ref()).filter_map(|p| convert::prefix("prefix", p).ok())
}

/// Hosts whose addresses are inside the subnet: the containers will take them for their neighbours.
fn out_of_reach(net: IpNet, state: &State) -> Option<String> {
    let hosts: Vec<String> = state
        .nodes()
        .filter_map(|(_, node)| node.description.as_ref())
        .filter_map(|d| Some((convert::ip("data_address", &d.data_address).ok()??, &d.hostname)))
        .filter(|(address, _): &(IpAddr, _)| net.contains(address))
        .map(|(address, hostname)| format!("{hostname} ({address})"))
        .take(NAMED_IN_WARNING)
        .collect();
    let list = hosts.join(", ");
    (!hosts.is_empty()).then(|| format!("subnet {net} holds addresses of hosts, which will be out of its containers' reach: {list}"))
}

fn keyless(state: &State) -> Option<String> {
    let nodes: Vec<String> = state
        .nodes()
        .filter_map(|(_, node)| node.description.as_ref())
        .filter(|d| d.wireguard_public_key.len() != 32)
        .map(|d| d.hostname.clone())
        .take(NAMED_IN_WARNING)
        .collect();
    (!nodes.is_empty()).then(|| format!("these nodes have no tunnel key and cannot take part: {}", nodes.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(options: &[(&str, &str)]) -> v1::NetworkSpec {
        let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        v1::NetworkSpec { name: "backend".to_owned(), options, ..Default::default() }
    }

    #[test]
    fn options_in_dockers_words_become_fields() {
        let read = normalise(Some(spec(&[("encrypted", ""), (MTU_OPTION, "1400")]))).unwrap();
        assert_eq!((read.driver.as_str(), read.encrypted, read.mtu), ("overlay", true, 1400));
        for (value, encrypted) in [("true", true), ("1", true), ("False", false), ("0", false)] {
            assert_eq!(normalise(Some(spec(&[("encrypted", value)]))).unwrap().encrypted, encrypted, "{value}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let refused: [(v1::NetworkSpec, &str); 7] = [
            (spec(&[("encripted", "")]), "no option `encripted`"),
            (spec(&[("encrypted", "perhaps")]), "cannot be `perhaps`"),
            (v1::NetworkSpec { encrypted: true, ..spec(&[("encrypted", "false")]) }, "cannot be `false`"),
            (spec(&[(MTU_OPTION, "9k")]), "cannot be `9k`"),
            (spec(&[(MTU_OPTION, "576")]), "cannot be `576`"),
            (v1::NetworkSpec { mtu: 65_535, ..spec(&[]) }, "out of range"),
            (v1::NetworkSpec { driver: "bridge".to_owned(), ..spec(&[]) }, "no driver of cluster-wide"),
        ];
        for (spec, expected) in refused {
            let failure = Failure::from(normalise(Some(spec)).unwrap_err());
            assert_eq!(failure.kind, FailureKind::InvalidArgument);
            assert!(failure.message.contains(expected), "{failure}");
        }
        assert_eq!(normalise(None), Err(SpecError::Missing));
    }
}
