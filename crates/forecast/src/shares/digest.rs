//! The few hash functions that balancers place their backends by, each as its public description has it.
//!
//! Only placing is done here: how requests hash is not modelled, a hash of requests is taken to be uniform.

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

const P1: u64 = 0x9E37_79B1_85EB_CA87;
const P2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const P3: u64 = 0x1656_67B1_9E37_79F9;
const P4: u64 = 0x85EB_CA77_C2B2_AE63;
const P5: u64 = 0x27D4_EB2F_1656_67C5;

/// xxHash, 64 bits (xxhash.com, specification 0.1.1).
pub(super) fn xxh64(bytes: &[u8], seed: u64) -> u64 {
    let round = |lane: u64, word: u64| {
        let mixed = lane.wrapping_add(word.wrapping_mul(P2));
        mixed.rotate_left(31).wrapping_mul(P1)
    };
    let mut rest = bytes;
    let mut hash = seed.wrapping_add(P5);
    if bytes.len() >= 32 {
        let mut lanes = [
            seed.wrapping_add(P1).wrapping_add(P2),
            seed.wrapping_add(P2),
            seed,
            seed.wrapping_sub(P1),
        ];
        while rest.len() >= 32 {
            for lane in &mut lanes {
                let (word, after) = take8(rest);
                *lane = round(*lane, word);
                rest = after;
            }
        }
        let turns = [1, 7, 12, 18];
        let turned = lanes.iter().zip(turns);
        hash = turned.fold(0, |sum: u64, (lane, turn)| {
            sum.wrapping_add(lane.rotate_left(turn))
        });
        for lane in lanes {
            hash = (hash ^ round(0, lane)).wrapping_mul(P1).wrapping_add(P4);
        }
    }
    hash = hash.wrapping_add(bytes.len() as u64);
    while rest.len() >= 8 {
        let (word, after) = take8(rest);
        hash ^= round(0, word);
        hash = hash.rotate_left(27).wrapping_mul(P1).wrapping_add(P4);
        rest = after;
    }
    if let Some((word, after)) = rest.split_first_chunk::<4>() {
        hash ^= u64::from(u32::from_le_bytes(*word)).wrapping_mul(P1);
        hash = hash.rotate_left(23).wrapping_mul(P2).wrapping_add(P3);
        rest = after;
    }
    for byte in rest {
        hash ^= u64::from(*byte).wrapping_mul(P5);
        hash = hash.rotate_left(11).wrapping_mul(P1);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(P2);
    hash = (hash ^ (hash >> 29)).wrapping_mul(P3);
    hash ^ (hash >> 32)
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

/// The first eight bytes as a little-endian word and what follows; zero when there are fewer.
fn take8(bytes: &[u8]) -> (u64, &[u8]) {
    let split = bytes.split_first_chunk::<8>();
    split.map_or((0, &[]), |(word, rest)| (u64::from_le_bytes(*word), rest))
}

#[cfg(test)]
mod tests {
    use super::{crc32_update, murmur2, xxh64};

    #[test]
    fn digests_give_the_published_check_values() {
        assert_eq!(!crc32_update(!0, b"123456789"), 0xCBF4_3926);
        assert_eq!(xxh64(b"", 0), 0xEF46_DB37_51D8_E999);
        assert_eq!(xxh64(b"a", 0), 0xD24E_C4F1_A98C_6E5B);
        assert_eq!(xxh64(b"abc", 0), 0x44BC_2CF5_AD77_0999);
        // Longer than a stripe, with a tail of every kind.
        let long = b"Nobody inspects the spammish repetition";
        assert_eq!(xxh64(long, 0), 0xFBCE_A83C_8A37_8BF1);
        // From `std::hash<std::string>` of GCC.
        assert_eq!(murmur2(b"10.0.0.1:80_0"), 13_659_246_566_588_789_388);
        assert_eq!(murmur2(b"12345678"), 10_113_836_418_918_046_885);
    }
}
