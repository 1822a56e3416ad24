//! The Internet checksum (RFC 1071).
//!
//! The sum does not depend on the byte order it is taken in, so words are added as they lie in memory, 32 bits at a time into
//! 64-bit lanes that a compiler can turn into vectors, and folded once at the end.

/// A sum that is not folded yet. Every part but the last must have an even length.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum(u64);

/// Bytes that one round of the inner loop adds.
const BLOCK: usize = 32;

impl Sum {
    /// The sum of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(0).and(bytes)
    }

    /// This sum and that of these bytes, which start at an even offset.
    #[must_use]
    pub fn and(self, bytes: &[u8]) -> Self {
        let mut lanes = [0_u64; BLOCK / 4];
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        for block in blocks {
            for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<4>().0) {
                *lane += u64::from(u32::from_ne_bytes(*word));
            }
        }
        let (words, tail) = rest.as_chunks::<4>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane += u64::from(u32::from_ne_bytes(*word));
        }
        let mut last = [0; 4];
        last[..tail.len()].copy_from_slice(tail);
        let sum = lanes.iter().fold(u64::from(u32::from_ne_bytes(last)), |sum, lane| sum + lane);
        // Folded to 33 bits, so that no number of parts overflows.
        Self((self.0 & 0xffff_ffff) + (self.0 >> 32) + (sum & 0xffff_ffff) + (sum >> 32))
    }

    /// This sum and a 16-bit number.
    #[must_use]
    pub fn add_number(self, number: u16) -> Self {
        self.and(&number.to_be_bytes())
    }

    /// The sum in 16 bits as it lies in a packet, not complemented: what a pseudo-header leaves in the field for an offload.
    #[must_use]
    pub const fn folded(self) -> [u8; 2] {
        let mut sum = self.0;
        sum = (sum & 0xffff_ffff) + (sum >> 32);
        sum = (sum & 0xffff_ffff) + (sum >> 32);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        // Folded to 16 bits above.
        let folded = sum as u16;
        folded.to_ne_bytes()
    }

    /// The checksum as it lies in a packet.
    #[must_use]
    pub const fn checksum(self) -> [u8; 2] {
        let [a, b] = self.folded();
        [!a, !b]
    }

    /// Whether this is the sum of something that contains its own checksum.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        matches!(self.folded(), [0xff, 0xff])
    }
}

/// The checksum for TCP and UDP, where zero is written as all ones (RFC 768; for TCP the two mean the same).
#[must_use]
pub const fn never_zero(checksum: [u8; 2]) -> [u8; 2] {
    match checksum {
        [0, 0] => [0xff, 0xff],
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 §1 as written: 16-bit words in network order, carries added back.
    fn by_the_book(bytes: &[u8]) -> [u8; 2] {
        let mut sum = 0_u64;
        for pair in bytes.chunks(2) {
            sum += u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
        }
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        (!u16::try_from(sum).unwrap()).to_be_bytes()
    }

    #[test]
    fn the_example_of_the_rfc_comes_out() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::of(&bytes).folded(), [0xdd, 0xf2]);
    }

    #[test]
    fn a_large_buffer_of_ones_does_not_overflow() {
        let bytes = vec![0xff; 70_001];
        assert_eq!(Sum::of(&bytes).checksum(), by_the_book(&bytes));
    }

    proptest! {
        #[test]
        fn the_sum_is_that_of_the_book(bytes in prop::collection::vec(any::<u8>(), 0..3000), cut in 0_usize..1500) {
            prop_assert_eq!(Sum::of(&bytes).checksum(), by_the_book(&bytes));
            let (first, second) = bytes.split_at((cut * 2).min(bytes.len() & !1));
            prop_assert_eq!(Sum::of(first).and(second).checksum(), by_the_book(&bytes));
        }

        #[test]
        fn a_packet_with_its_checksum_is_valid(mut bytes in prop::collection::vec(any::<u8>(), 2..100)) {
            bytes[..2].fill(0);
            let checksum = Sum::of(&bytes).checksum();
            bytes[..2].copy_from_slice(&checksum);
            prop_assert!(Sum::of(&bytes).is_valid());
        }
    }
}
