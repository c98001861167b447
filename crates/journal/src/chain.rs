//! The hash that ties an entry to its predecessor.

use sha2::{Digest as _, Sha256};

/// Predecessor of the first entry.
pub(crate) const GENESIS: [u8; 32] = [0; 32];

/// SHA-256 over predecessor, place, time, kind and body; each part is preceded by its length, so that no two
/// different entries give the same bytes.
pub(crate) fn hash(prev: &[u8], seq: u64, recorded_at: u64, kind: &str, body: &str) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(prev);
    digest.update(seq.to_be_bytes());
    digest.update(recorded_at.to_be_bytes());
    for part in [kind, body] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part.as_bytes());
    }
    digest.finalize().into()
}
