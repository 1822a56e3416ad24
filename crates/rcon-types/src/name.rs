//! Names that people give to things, checked once at the edge.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

/// Why a text cannot be a name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// Empty, or longer than the kind of name allows.
    #[error("a {what} has 1 to {max} characters, this one has {len}")]
    Length {
        /// What kind of name it was to be.
        what: &'static str,
        /// The most characters it may have.
        max: usize,
        /// How many it had.
        len: usize,
    },
    /// A character outside the allowed set.
    #[error("`{text}` cannot be a {what}: it starts with a letter or digit and has only letters, digits, `_`, `.` and `-`")]
    Characters {
        /// What kind of name it was to be.
        what: &'static str,
        /// The text that was refused.
        text: String,
    },
}

fn check(what: &'static str, max: usize, text: &str) -> Result<(), NameError> {
    if text.is_empty() || text.len() > max {
        return Err(NameError::Length { what, max, len: text.chars().count() });
    }
    let starts = text.as_bytes()[0].is_ascii_alphanumeric();
    if starts && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')) {
        Ok(())
    } else {
        Err(NameError::Characters { what, text: text.to_owned() })
    }
}

/// The name of a network: up to 63 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct NetworkName(String);

/// The name of a container, and so a DNS label on its networks: up to 63 characters (RFC 1035 §2.3.4).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ContainerName(String);

/// The name of a node, its host name: up to 253 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct NodeName(String);

impl NetworkName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
impl ContainerName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
impl NodeName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NetworkName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        check("network name", 63, text).map(|()| Self(text.to_owned()))
    }
}
impl FromStr for ContainerName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        check("container name", 63, text).map(|()| Self(text.to_owned()))
    }
}
impl FromStr for NodeName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        check("node name", 253, text).map(|()| Self(text.to_owned()))
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<'de> Deserialize<'de> for NetworkName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
impl<'de> Deserialize<'de> for ContainerName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
impl<'de> Deserialize<'de> for NodeName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_docker_are_names_here() {
        for text in ["web", "a", "my_app-1.2", "0x", &"n".repeat(63)] {
            assert!(text.parse::<ContainerName>().is_ok(), "{text}");
        }
    }

    #[test]
    fn names_that_would_hurt_are_refused() {
        for text in ["", "-x", ".x", "_x", "a/b", "a b", "a\0", "naïve", "a\n", &"n".repeat(64)] {
            assert!(text.parse::<ContainerName>().is_err(), "{text:?}");
            assert!(text.parse::<NetworkName>().is_err(), "{text:?}");
        }
    }
}
