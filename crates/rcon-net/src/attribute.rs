//! Netlink attributes, written and read by hand where no crate has the message: nf_tables, conntrack, WireGuard.

/// `NLA_F_NESTED` in `include/uapi/linux/netlink.h`.
const NESTED: u16 = 1 << 15;
/// Both flags above the type.
const TYPE_MASK: u16 = 0x3fff;
/// Length of `struct nlattr`.
const HEADER: usize = 4;

/// Attributes in the making, behind whatever header the message has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attributes {
    bytes: Vec<u8>,
}

impl Attributes {
    /// Behind `header`.
    pub(crate) fn after(header: &[u8]) -> Self {
        Self { bytes: header.to_vec() }
    }

    /// Adds raw bytes.
    pub(crate) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(HEADER + value.len()).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    /// Adds a text with its zero.
    pub(crate) fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    /// Adds a number in network order, as nf_tables has all of them.
    pub(crate) fn be32(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Adds attributes within one.
    pub(crate) fn nest(self, kind: u16, inner: Self) -> Self {
        self.bytes(kind | NESTED, &inner.bytes)
    }

    /// What was made.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// The attributes in `bytes`: types and values. Ends at the first that does not fit.
pub(crate) fn read(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let header = rest.get(..HEADER)?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & TYPE_MASK;
        let value = rest.get(HEADER..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of this type.
pub(crate) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    read(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let bytes = Attributes::after(&[]).text(1, "rcon").nest(2, Attributes::default().be32(3, 7)).bytes(4, &[9]).finish();
        assert_eq!(find(&bytes, 1), Some(&b"rcon\0"[..]));
        assert_eq!(find(&bytes, 2).and_then(|inner| find(inner, 3)), Some(&[0, 0, 0, 7][..]));
        assert_eq!(find(&bytes, 4), Some(&[9][..]));
        assert_eq!(find(&bytes, 5), None);
    }

    #[test]
    fn damaged_attributes_end_the_reading() {
        for bytes in [&[][..], &[3, 0, 1, 0], &[255, 0, 1, 0, 0], &[8, 0, 1]] {
            assert_eq!(read(bytes).count(), 0, "{bytes:?}");
        }
    }
}
