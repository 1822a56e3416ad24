//! The header that a TAP with `IFF_VNET_HDR` puts before each frame (`struct virtio_net_hdr`, `include/uapi/linux/virtio_net.h`).
//!
//! Its numbers are in the byte order of the host, as TUN has them unless told otherwise.

use thiserror::Error;

/// Bytes of the header (`TUNSETVNETHDRSZ`'s default).
pub const LEN: usize = 10;

const NEEDS_CSUM: u8 = 1;
const GSO_ECN: u8 = 0x80;

/// How the kernel left a frame to be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Gso {
    /// It is one packet.
    #[default]
    None,
    /// TCP over IPv4.
    TcpV4,
    /// TCP over IPv6.
    TcpV6,
    /// UDP datagrams of one size (`VIRTIO_NET_HDR_GSO_UDP_L4`).
    Udp,
}

/// What is said about one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VnetHeader {
    /// How to cut it.
    pub gso: Gso,
    /// Where the transport header starts and how far behind that its checksum lies, where that is still to be computed.
    pub checksum: Option<(u16, u16)>,
    /// Bytes of all headers; a hint that is never trusted when reading.
    pub header_len: u16,
    /// Bytes of payload in each segment.
    pub segment_size: u16,
}

/// Why a header is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum VnetError {
    /// Fewer than [`LEN`] bytes.
    #[error("shorter than a virtio header")]
    Truncated,
    /// A kind of offload that was not offered to the kernel.
    #[error("an unknown kind of segmentation, {0}")]
    UnknownGso(u8),
}

impl VnetHeader {
    /// The header and the frame behind it.
    ///
    /// # Errors
    /// When there is none, or it announces an offload that is not known.
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), VnetError> {
        let Some((header, frame)) = bytes.split_first_chunk::<LEN>() else {
            return Err(VnetError::Truncated);
        };
        let number = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let gso = match header[1] & !GSO_ECN {
            0 => Gso::None,
            1 => Gso::TcpV4,
            4 => Gso::TcpV6,
            5 => Gso::Udp,
            _ => return Err(VnetError::UnknownGso(header[1])),
        };
        let checksum = (header[0] & NEEDS_CSUM != 0).then(|| (number(6), number(8)));
        Ok((Self { gso, checksum, header_len: number(2), segment_size: number(4) }, frame))
    }

    /// The bytes to write before a frame.
    #[must_use]
    pub fn encode(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[1] = match self.gso {
            Gso::None => 0,
            Gso::TcpV4 => 1,
            Gso::TcpV6 => 4,
            Gso::Udp => 5,
        };
        bytes[2..4].copy_from_slice(&self.header_len.to_ne_bytes());
        bytes[4..6].copy_from_slice(&self.segment_size.to_ne_bytes());
        if let Some((start, offset)) = self.checksum {
            bytes[0] = NEEDS_CSUM;
            bytes[6..8].copy_from_slice(&start.to_ne_bytes());
            bytes[8..10].copy_from_slice(&offset.to_ne_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_header_survives_its_bytes(gso in 0_usize..4, checksum: Option<(u16, u16)>, header_len: u16, segment_size: u16) {
            let gso = [Gso::None, Gso::TcpV4, Gso::TcpV6, Gso::Udp][gso];
            let header = VnetHeader { gso, checksum, header_len, segment_size };
            let bytes = header.encode();
            prop_assert_eq!(VnetHeader::parse(&bytes), Ok((header, &[][..])));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            let _ = VnetHeader::parse(&bytes);
        }
    }

    #[test]
    fn fragmentation_offload_is_refused() {
        assert_eq!(VnetHeader::parse(&[1, 3, 0, 0, 0, 0, 0, 0, 0, 0]), Err(VnetError::UnknownGso(3)));
    }
}
