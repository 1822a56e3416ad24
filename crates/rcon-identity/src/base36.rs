//! Numbers of a fixed size as base 36 of a fixed width: what join tokens are written in.

/// The digits, lower case, as in the ids of `rcon-types`.
const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// `bytes`, a big-endian number, as exactly `width` digits. The width must hold every number of that size.
pub(crate) fn encode(bytes: &[u8], width: usize) -> String {
    let mut rest = bytes.to_vec();
    let mut text = vec![b'0'; width];
    for slot in text.iter_mut().rev() {
        *slot = DIGITS[usize::from(divide_by_36(&mut rest))];
    }
    debug_assert!(rest.iter().all(|b| *b == 0), "the width does not hold the number");
    text.into_iter().map(char::from).collect()
}

/// Long division in place; returns the remainder.
fn divide_by_36(number: &mut [u8]) -> u8 {
    let mut remainder: u16 = 0;
    for byte in number {
        let dividend = remainder * 256 + u16::from(*byte);
        *byte = (dividend / 36) as u8;
        remainder = dividend % 36;
    }
    remainder as u8
}

/// The number that `text` writes, big-endian in `N` bytes; `None` for other characters or a number that is too large.
pub(crate) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut number = [0u8; N];
    for byte in text.bytes() {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'z' => byte - b'a' + 10,
            _ => return None,
        };
        let mut carry = u16::from(digit);
        for slot in number.iter_mut().rev() {
            let product = u16::from(*slot) * 36 + carry;
            *slot = (product & 0xff) as u8;
            carry = product >> 8;
        }
        if carry != 0 {
            return None;
        }
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_survives_its_text() {
        for bytes in [[0u8; 32], [0xff; 32], std::array::from_fn(|i| i as u8), std::array::from_fn(|i| 255 - 7 * i as u8)] {
            let text = encode(&bytes, 50);
            assert_eq!(text.len(), 50);
            assert_eq!(decode::<32>(&text), Some(bytes));
        }
        assert_eq!(encode(&[1, 0], 4), "0074");
    }

    #[test]
    fn what_is_too_large_or_no_digit_is_refused() {
        assert_eq!(decode::<16>(&"z".repeat(25)), None);
        assert_eq!(decode::<1>("74"), None);
        assert_eq!(decode::<1>("73"), Some([255]));
        for text in ["A", "-", "é", " "] {
            assert_eq!(decode::<16>(text), None, "{text}");
        }
    }
}
