//! CRC-32C (Castagnoli), bit by bit: at most 4 KiB once per connection, and only where the header carries one.

const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The checksum of `bytes`.
pub(crate) fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            let low = crc & 1;
            crc = (crc >> 1) ^ (POLYNOMIAL * low);
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    #[test]
    fn the_check_value_of_the_castagnoli_polynomial_comes_out() {
        assert_eq!(crc32c(b"123456789".iter().copied()), 0xe306_9283);
        assert_eq!(crc32c(std::iter::empty()), 0);
    }
}
