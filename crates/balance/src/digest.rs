//! The hash functions that requests and backends are placed by: fixed, without a seed that differs between
//! processes, so that every worker, every instance and every restart sends a key to the same backend.
//!
//! The price is that a client who knows the names of the backends can find keys that meet on one of them. A bounded
//! load limits what that does; a keyed hash would not help where several instances must agree.

const P1: u64 = 0x9E37_79B1_85EB_CA87;
const P2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const P3: u64 = 0x1656_67B1_9E37_79F9;
const P4: u64 = 0x85EB_CA77_C2B2_AE63;
const P5: u64 = 0x27D4_EB2F_1656_67C5;

/// Step of the splitmix64 generator (Steele, Lea, Flood 2014): the golden ratio.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// What a request is known by: xxHash of its key with seed 0.
pub fn key(bytes: &[u8]) -> u64 {
    xxh64(bytes, 0)
}

/// The finishing step of splitmix64: every bit of the input changes half of the bits of the output.
pub(crate) const fn mix(value: u64) -> u64 {
    let mut z = value;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The `n`-th value of the sequence that starts at `seed`.
pub(crate) const fn nth(seed: u64, n: u64) -> u64 {
    mix(seed.wrapping_add(n.wrapping_add(1).wrapping_mul(GOLDEN)))
}

/// `hash` as a whole number below `below`, all alike to 1 in 2^64 / `below`.
pub(crate) const fn below(hash: u64, below: u64) -> u64 {
    ((hash as u128 * below as u128) >> 64) as u64
}

/// xxHash, 64 bits (xxhash.com, specification 0.1.1).
pub fn xxh64(bytes: &[u8], seed: u64) -> u64 {
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

/// The first eight bytes as a little-endian word and what follows; zero when there are fewer.
pub fn take8(bytes: &[u8]) -> (u64, &[u8]) {
    let split = bytes.split_first_chunk::<8>();
    split.map_or((0, &[]), |(word, rest)| (u64::from_le_bytes(*word), rest))
}

#[cfg(test)]
mod tests {
    use super::{below, nth, xxh64};

    #[test]
    fn digests_give_the_published_check_values() {
        assert_eq!(xxh64(b"", 0), 0xEF46_DB37_51D8_E999);
        assert_eq!(xxh64(b"a", 0), 0xD24E_C4F1_A98C_6E5B);
        assert_eq!(xxh64(b"abc", 0), 0x44BC_2CF5_AD77_0999);
        // Longer than a stripe, with a tail of every kind.
        let long = b"Nobody inspects the spammish repetition";
        assert_eq!(xxh64(long, 0), 0xFBCE_A83C_8A37_8BF1);
        // splitmix64 from seed 0.
        assert_eq!(nth(0, 0), 0xE220_A839_7B1D_CDAF);
        assert_eq!(nth(0, 1), 0x6E78_9E6A_A1B9_65F4);
    }

    #[test]
    fn a_hash_is_cut_down_to_its_range() {
        assert_eq!((below(0, 7), below(u64::MAX, 7)), (0, 6));
        assert_eq!(below(1 << 63, 10), 5);
    }
}
