//! The few hash functions that balancers place their backends by, each as its public description has it.
//!
//! Only placing is done here: how requests hash is not modelled, a hash of requests is taken to be uniform.

use evenkeel_balance::digest::take8;
pub(super) use evenkeel_balance::digest::xxh64;

/// Table of CRC-32 (ISO-HDLC, polynomial 0xEDB88320 reflected).
const CRC_TABLE: [u32; 256] = crc_table();

const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            let low = value & 1;
            value >>= 1;
            if low == 1 {
                value ^= 0xEDB8_8320;
            }
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}

/// Goes on with a CRC-32 that is not finished; start with all ones and finish by inverting.
pub(super) fn crc32_update(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, byte| {
        let place = usize::from((crc as u8) ^ byte);
        (crc >> 8) ^ CRC_TABLE.get(place).copied().unwrap_or(0)
    })
}

/// The full-avalanche integer hash of Bob Jenkins (burtleburtle.net/bob/hash/integer.html), spread by a large prime
/// near three quarters of the range: how HAProxy places a server's points.
pub(super) const fn avalanche(value: u32) -> u32 {
    let mut a = value;
    a = a.wrapping_add(0x7ed5_5d16).wrapping_add(a << 12);
    a = (a ^ 0xc761_c23c) ^ (a >> 19);
    a = a.wrapping_add(0x1656_67b1).wrapping_add(a << 5);
    a = a.wrapping_add(0xd3a2_646c) ^ (a << 9);
    a = a.wrapping_add(0xfd70_46c5).wrapping_add(a << 3);
    a = (a ^ 0xb55a_4f09) ^ (a >> 16);
    a.wrapping_mul(3_221_225_473)
}

/// Seed with which the C++ library of GCC hashes texts, and Envoy its ring.
const MURMUR_SEED: u64 = 0xc70f_6907;
const MURMUR: u64 = 0xc6a4_a793_5bd1_e995;

/// MurmurHash2, 64 bits for 64-bit machines, as `std::hash` of GCC has it.
pub(super) fn murmur2(bytes: &[u8]) -> u64 {
    let mut hash = MURMUR_SEED ^ (bytes.len() as u64).wrapping_mul(MURMUR);
    let shift = |value: u64| value ^ (value >> 47);
    let mut rest = bytes;
    while rest.len() >= 8 {
        let (word, after) = take8(rest);
        hash ^= shift(word.wrapping_mul(MURMUR)).wrapping_mul(MURMUR);
        hash = hash.wrapping_mul(MURMUR);
        rest = after;
    }
    if !rest.is_empty() {
        let tail = rest
            .iter()
            .rev()
            .fold(0, |tail, byte| (tail << 8) | u64::from(*byte));
        hash = (hash ^ tail).wrapping_mul(MURMUR);
    }
    shift(shift(hash).wrapping_mul(MURMUR))
}

#[cfg(test)]
mod tests {
    use super::{crc32_update, murmur2};

    #[test]
    fn digests_give_the_published_check_values() {
        assert_eq!(!crc32_update(!0, b"123456789"), 0xCBF4_3926);
        // From `std::hash<std::string>` of GCC.
        assert_eq!(murmur2(b"10.0.0.1:80_0"), 13_659_246_566_588_789_388);
        assert_eq!(murmur2(b"12345678"), 10_113_836_418_918_046_885);
    }
}
