//! Small conversions between the wire and what people read and write.

use std::net::IpAddr;

use rcon_proto::{Bytes, convert, v1};
use rcon_types::{Id, id::Kind};
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::report::{Report, invalid};

/// An id's bytes as text; empty where there is none.
pub fn id_text<K: Kind>(bytes: &[u8]) -> String {
    Id::<K>::from_slice(bytes).map(|id| id.to_string()).unwrap_or_default()
}

/// The first 12 characters where ids are shortened.
pub fn shorten(id: String, no_trunc: bool) -> String {
    let bare = id.strip_prefix("sha256:").unwrap_or(&id);
    if no_trunc { id } else { bare.chars().take(12).collect() }
}

/// An address of either family; empty where there is none.
pub fn ip_text(bytes: &[u8]) -> String {
    convert::ip("address", bytes).ok().flatten().map(|ip| ip.to_string()).unwrap_or_default()
}

/// A MAC address; empty where there is none.
pub fn mac_text(bytes: &[u8]) -> String {
    convert::mac("mac", bytes).map(|mac| mac.to_string()).unwrap_or_default()
}

/// A prefix; empty where it is malformed.
pub fn prefix_text(prefix: Option<&v1::Prefix>) -> String {
    prefix.and_then(|p| convert::prefix("prefix", p).ok()).map(|net| net.to_string()).unwrap_or_default()
}

/// Parses a prefix that a user typed.
pub fn parse_prefix(flag: &str, text: &str) -> Result<v1::Prefix, Report> {
    let net = text.parse().map_err(|_| invalid(format!("{flag}: `{text}` is not a subnet such as 10.1.0.0/24")))?;
    Ok(convert::prefix_to_wire(net))
}

/// Parses an address that a user typed.
pub fn parse_ip(flag: &str, text: &str) -> Result<IpAddr, Report> {
    text.parse().map_err(|_| invalid(format!("{flag}: `{text}` is not an IP address")))
}

/// The wire form of an address that may be absent.
pub fn optional_ip(address: Option<IpAddr>) -> Bytes {
    address.map(convert::ip_bytes).unwrap_or_default()
}

/// KEY=VALUE pairs; a key alone has an empty value.
pub fn parse_pairs<C: FromIterator<(String, String)>>(pairs: &[String]) -> C {
    pairs
        .iter()
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None => (pair.clone(), String::new()),
        })
        .collect()
}

/// A time as RFC 3339, in UTC; the zero of Docker where it is unset.
pub fn time_text(ms: u64) -> String {
    if ms == 0 {
        return "0001-01-01T00:00:00Z".to_owned();
    }
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok().and_then(|t| t.format(&Rfc3339).ok()).unwrap_or_default()
}

/// How long ago, in one unit, as Docker's tables say it.
pub fn age_text(ms: u64) -> String {
    let now = u64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
    let seconds = now.saturating_sub(ms) / 1000;
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

/// Bytes in decimal units, as Docker's tables say them.
pub fn size_text(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut unit = 0;
    let mut tenths = bytes * 10;
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths /= 1000;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]) }
}

/// A map of strings as JSON.
pub fn map_json(map: &std::collections::BTreeMap<String, String>) -> Value {
    Value::Object(map.iter().map(|(k, v)| (k.clone(), Value::String(v.clone()))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        for (bytes, text) in [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (5_242_880, "5.2 MB")] {
            assert_eq!(size_text(bytes), text);
        }
    }
}
