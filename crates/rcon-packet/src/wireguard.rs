//! What can be told about a WireGuard message without a key.

/// The four kinds of messages (paper §5.4), each with its length checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// Type 1.
    HandshakeInitiation,
    /// Type 2, for the handshake with this index.
    HandshakeResponse {
        /// The receiver's index.
        receiver: u32,
    },
    /// Type 3, for the handshake with this index.
    CookieReply {
        /// The receiver's index.
        receiver: u32,
    },
    /// Type 4, for the session with this index.
    Data {
        /// The receiver's index.
        receiver: u32,
    },
}

/// Bytes of a message of type 1.
pub const INITIATION_LEN: usize = 148;
/// Bytes of a message of type 2.
pub const RESPONSE_LEN: usize = 92;
/// Bytes of a message of type 3.
pub const COOKIE_LEN: usize = 64;
/// Bytes of a data message before the sealed packet.
pub const DATA_HEADER: usize = 16;
/// Bytes of a data message behind the sealed packet.
pub const DATA_TAG: usize = 16;

impl Message {
    /// What a datagram is, or `None` where it is no WireGuard message.
    #[must_use]
    pub fn of(datagram: &[u8]) -> Option<Self> {
        let (kind, rest) = datagram.split_first_chunk::<4>()?;
        let index = |at: usize| rest.get(at..)?.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes));
        match (u32::from_le_bytes(*kind), datagram.len()) {
            (1, INITIATION_LEN) => Some(Self::HandshakeInitiation),
            (2, RESPONSE_LEN) => Some(Self::HandshakeResponse { receiver: index(4)? }),
            (3, COOKIE_LEN) => Some(Self::CookieReply { receiver: index(0)? }),
            (4, len) if len >= DATA_HEADER + DATA_TAG => Some(Self::Data { receiver: index(0)? }),
            _ => None,
        }
    }
}

/// The length that a packet of `len` bytes is padded to: a multiple of 16, but never beyond what the tunnel carries (§5.4.6).
#[must_use]
pub const fn padded(len: usize, largest: usize) -> usize {
    let rounded = len.next_multiple_of(16);
    if rounded <= largest {
        rounded
    } else if len <= largest {
        largest
    } else {
        len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_length() {
        let message = |kind: u8, len: usize| {
            let mut bytes = vec![0; len];
            bytes[0] = kind;
            bytes[4] = 7;
            if kind == 2 {
                bytes[8] = 9;
            }
            Message::of(&bytes)
        };
        assert_eq!(message(1, 148), Some(Message::HandshakeInitiation));
        assert_eq!(message(2, 92), Some(Message::HandshakeResponse { receiver: 9 }));
        assert_eq!(message(3, 64), Some(Message::CookieReply { receiver: 7 }));
        assert_eq!(message(4, 32), Some(Message::Data { receiver: 7 }));
        for (kind, len) in [(1, 147), (2, 148), (3, 65), (4, 31), (0, 64), (5, 64)] {
            assert_eq!(message(kind, len), None, "{kind} {len}");
        }
        assert_eq!(Message::of(&[4, 0, 0]), None);
        assert_eq!(Message::of(&[4, 0, 1, 0].repeat(16)), None);
    }

    #[test]
    fn padding_stops_at_the_mtu() {
        assert_eq!(padded(0, 1420), 0);
        assert_eq!(padded(1, 1420), 16);
        assert_eq!(padded(1408, 1420), 1408);
        assert_eq!(padded(1410, 1420), 1420);
        assert_eq!(padded(1430, 1420), 1430);
    }
}
