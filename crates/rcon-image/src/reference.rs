//! Names of images, `[HOST[:PORT]/]PATH[:TAG]`, normalised as Docker's are.
//!
//! `busybox`, `library/busybox` and `docker.io/library/busybox:latest` are one name. The grammar is that of
//! the OCI distribution specification ("Pulling manifests") and of Docker's reference format.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::limits::REFERENCE_BYTES;

const DEFAULT_HOST: &str = "docker.io";
const DEFAULT_HOST_ALIAS: &str = "index.docker.io";
const OFFICIAL: &str = "library";
const DEFAULT_TAG: &str = "latest";
/// Longest tag (OCI distribution specification: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`).
const TAG_BYTES: usize = 128;

/// Why a text is no name of an image.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReferenceError {
    /// Empty, or longer than the limit.
    #[error("a name has 1 to {REFERENCE_BYTES} bytes, this one has {0}")]
    Length(usize),
    /// A part that the grammar does not allow.
    #[error("`{text}` is no image name: its {part} is not allowed")]
    Part {
        /// The text that was refused.
        text: String,
        /// `host`, `path` or `tag`.
        part: &'static str,
    },
    /// 64 hexadecimal digits would be taken for an id.
    #[error("`{0}` is an id, not a name")]
    LooksLikeId(String),
    /// A name by digest cannot be given to an image.
    #[error("`{0}` names content by its digest; only NAME[:TAG] is a name here")]
    ByDigest(String),
}

/// A normalised name with its tag.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    host: String,
    path: String,
    tag: String,
}

impl Reference {
    /// The whole name, e.g. `docker.io/library/busybox:latest`.
    #[must_use]
    pub fn canonical(&self) -> String {
        format!("{}/{}:{}", self.host, self.path, self.tag)
    }
}

/// The name as people write it: without the default host and `library/`, always with the tag.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host != DEFAULT_HOST {
            return write!(f, "{}/{}:{}", self.host, self.path, self.tag);
        }
        let short = self.path.strip_prefix("library/").filter(|rest| !rest.contains('/')).unwrap_or(&self.path);
        write!(f, "{short}:{}", self.tag)
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical())
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() || text.len() > REFERENCE_BYTES {
            return Err(ReferenceError::Length(text.len()));
        }
        if text.contains('@') {
            return Err(ReferenceError::ByDigest(text.to_owned()));
        }
        if text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(ReferenceError::LooksLikeId(text.to_owned()));
        }
        let refuse = |part| ReferenceError::Part { text: text.to_owned(), part };
        let (name, tag) = split_tag(text);
        let tag = tag.unwrap_or(DEFAULT_TAG);
        if !is_tag(tag) {
            return Err(refuse("tag"));
        }
        let (host, path) = split_host(name);
        if !is_host(host) {
            return Err(refuse("host"));
        }
        let path = if host == DEFAULT_HOST && !path.contains('/') { format!("{OFFICIAL}/{path}") } else { path.to_owned() };
        if !path.split('/').all(is_path_component) {
            return Err(refuse("path"));
        }
        Ok(Self { host: host.to_owned(), path, tag: tag.to_owned() })
    }
}

/// The tag follows the last colon behind the last slash; a colon before that belongs to the host's port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    let path_start = text.rfind('/').map_or(0, |slash| slash + 1);
    match text[path_start..].find(':') {
        Some(colon) => (&text[..path_start + colon], Some(&text[path_start + colon + 1..])),
        None => (text, None),
    }
}

/// The first component is a host when it has a dot or a colon, is `localhost`, or has an upper-case letter (Docker's rule).
fn split_host(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((DEFAULT_HOST_ALIAS, rest)) => (DEFAULT_HOST, rest),
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase()) => {
            (first, rest)
        }
        _ => (DEFAULT_HOST, name),
    }
}

fn is_host(text: &str) -> bool {
    let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            let known = address.parse::<std::net::Ipv6Addr>().is_ok();
            return known && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port));
        }
        None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
    };
    port.is_none_or(is_port)
        && name.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit())
}

/// `[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*`
fn is_path_component(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    if !bytes.first().copied().is_some_and(word) || !bytes.last().copied().is_some_and(word) {
        return false;
    }
    bytes.split(|b| word(*b)).filter(|gap| !gap.is_empty()).all(|gap| matches!(gap, b"." | b"_" | b"__") || gap.iter().all(|b| *b == b'-'))
}

fn is_tag(text: &str) -> bool {
    text.len() <= TAG_BYTES
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.canonical())
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised_as_docker_does() {
        for (text, canonical, familiar) in [
            ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
            ("library/busybox:1", "docker.io/library/busybox:1", "busybox:1"),
            ("index.docker.io/library/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
            ("team/web", "docker.io/team/web:latest", "team/web:latest"),
            ("example.org/web:1.2", "example.org/web:1.2", "example.org/web:1.2"),
            ("localhost:5000/a/b", "localhost:5000/a/b:latest", "localhost:5000/a/b:latest"),
            ("[fe80::1]:5000/a", "[fe80::1]:5000/a:latest", "[fe80::1]:5000/a:latest"),
            ("Upper/a", "Upper/a:latest", "Upper/a:latest"),
            ("a__b-c.d:_x", "docker.io/library/a__b-c.d:_x", "a__b-c.d:_x"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.canonical(), canonical);
            assert_eq!(reference.to_string(), familiar);
            assert_eq!(canonical.parse::<Reference>().unwrap(), reference);
            assert_eq!(familiar.parse::<Reference>().unwrap(), reference);
        }
    }

    #[test]
    fn names_that_docker_refuses_are_refused() {
        let long = "a".repeat(256);
        let id = "0".repeat(64);
        for text in ["", "Busybox", "a:", "a:b c", "a//b", "/a", "a/", "../a", "a___b", "a.", "a:-x", "a@sha256:0", "ho st.x/a", &long, &id]
        {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
