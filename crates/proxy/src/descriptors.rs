//! How many client connections the file descriptors of this process leave room for.
//!
//! A client connection may need a second descriptor for its backend. If clients could take all of them, health
//! checks, backends and the admin address would have none, and a crowd of idle clients would look like the loss of
//! every backend.
//!
//! Limits: read from `/proc`, once, at the start; elsewhere than on Linux no limit is known and none is kept.

/// Descriptors kept for everything that is not a client and its backend: journal, logs, listeners, health checks,
/// at most 128 connections to the admin address.
const RESERVED: u64 = 256;

/// Most client connections of the whole process.
pub(crate) fn client_room() -> u32 {
    std::fs::read_to_string("/proc/self/limits")
        .ok()
        .and_then(|limits| open_files(&limits))
        .map_or(u32::MAX, room)
}

/// The soft limit on open files; `None`: not limited.
fn open_files(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Half of what is left beside the reserve, which is at most half itself.
fn room(limit: u64) -> u32 {
    let left = limit - RESERVED.min(limit / 2);
    u32::try_from(left / 2).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::{client_room, open_files, room};

    #[test]
    fn clients_and_their_backends_never_take_every_descriptor() {
        for limit in [1, 8, 64, 256, 1_024, 20_000, 1 << 20] {
            let clients = u64::from(room(limit));
            assert!(
                clients >= 1 && (limit < 8 || 2 * clients < limit),
                "{limit}"
            );
        }
        assert_eq!(room(1_024), 384);
        assert_eq!(room(20_000), 9_872);
    }

    #[test]
    fn the_soft_limit_is_read() {
        let text = "Limit Soft Hard Units\nMax processes 1 2 processes\nMax open files            1024                 524288               files\n";
        assert_eq!(open_files(text), Some(1_024));
        assert_eq!(open_files(&text.replace("1024", "unlimited")), None);
        assert_eq!(open_files(""), None);
        #[cfg(target_os = "linux")]
        assert!(client_room() < u32::MAX);
    }
}
