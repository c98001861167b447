//! What of HTTP/2 frames can be seen without decoding them, counted before the library sees the bytes.
//!
//! The library bounds what it holds. What merely makes it work (settings and pings to answer, resets of requests that
//! were begun, empty frames) it takes as fast as it comes, so that is counted here, by the nine bytes before each frame.
//! Buckets and not totals: a connection may live for days.

use std::time::{Duration, Instant};

use h2::Reason;

/// The bytes that a connection begins with.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes before a frame's payload.
const HEADER: usize = 9;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const WINDOW_UPDATE: u8 = 0x8;
const CONTINUATION: u8 = 0x9;
/// Of SETTINGS.
const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// Requests that a client may take back at once, and per second from then on. A browser that leaves a page takes back
/// as many as it may have open; rapid reset takes back thousands a second.
const RESETS: Bucket = Bucket::new(200, 50);
/// Frames that carry nothing. Clients that measure their path send a ping per round trip.
const EMPTY: Bucket = Bucket::new(1_000, 250);
/// Each SETTINGS frame must be applied and acknowledged.
const SETTINGS_COST: u32 = 10;

/// Tokens that come back with time.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    size: u32,
    per_second: u32,
    left: u32,
    at: Option<Instant>,
}

impl Bucket {
    const fn new(size: u32, per_second: u32) -> Self {
        Self {
            size,
            per_second,
            left: size,
            at: None,
        }
    }

    /// Whether there was so much in it.
    fn take(&mut self, cost: u32, now: Instant) -> bool {
        let at = *self.at.get_or_insert(now);
        let per_token = Duration::from_secs(1) / self.per_second;
        let passed = now.saturating_duration_since(at).as_nanos() / per_token.as_nanos();
        let back = u32::try_from(passed).unwrap_or(u32::MAX);
        if back > 0 {
            self.left = self.left.saturating_add(back).min(self.size);
            // What does not make a whole token counts next time.
            self.at = Some(
                at.checked_add(per_token.saturating_mul(back))
                    .unwrap_or(now),
            );
        }
        let enough = self.left >= cost;
        self.left = self.left.saturating_sub(cost);
        enough
    }
}

/// Follows the frames of one connection.
#[derive(Debug)]
pub(super) struct Scanner {
    /// Bytes up to the next frame header.
    skip: usize,
    header: [u8; HEADER],
    filled: usize,
    resets: Bucket,
    empty: Bucket,
    /// Since when a header block is not complete.
    pub(super) block_since: Option<Instant>,
    /// Whether it is complete with the frame that is being skipped.
    block_ends: bool,
    /// Whether a frame has come.
    begun: bool,
    /// Why the connection is to end.
    pub(super) refused: Option<Reason>,
}

impl Scanner {
    pub(super) fn new() -> Self {
        Self {
            skip: PREFACE.len(),
            header: [0; HEADER],
            filled: 0,
            resets: RESETS,
            empty: EMPTY,
            block_since: None,
            block_ends: false,
            begun: false,
            refused: None,
        }
    }

    /// Looks at the next bytes of the connection.
    pub(super) fn scan(&mut self, mut bytes: &[u8], now: Instant) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            self.end_block();
            let wanted = (HEADER - self.filled).min(bytes.len());
            let (head, rest) = bytes.split_at(wanted);
            if let Some(place) = self.header.get_mut(self.filled..self.filled + wanted) {
                place.copy_from_slice(head);
            }
            self.filled += wanted;
            bytes = rest;
            if self.filled == HEADER {
                self.filled = 0;
                let [a, b, c, kind, flags, ..] = self.header;
                self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                self.frame(kind, flags, now);
                // Nothing may follow a frame without a payload.
                self.end_block();
            }
        }
    }

    /// A header block is complete once its last frame is.
    const fn end_block(&mut self) {
        if self.skip == 0 && self.block_ends {
            self.block_ends = false;
            self.block_since = None;
        }
    }

    /// A request that was begun is over without an answer.
    pub(super) fn reset(&mut self, now: Instant) {
        if !self.resets.take(1, now) {
            self.flooded();
        }
    }

    fn flooded(&mut self) {
        self.refused.get_or_insert(Reason::ENHANCE_YOUR_CALM);
    }

    fn frame(&mut self, kind: u8, flags: u8, now: Instant) {
        // The library does not insist on what RFC 9113 section 3.4 does: settings of the client's come first.
        if !std::mem::replace(&mut self.begun, true) && (kind != SETTINGS || flags & ACK != 0) {
            self.refused.get_or_insert(Reason::PROTOCOL_ERROR);
        }
        let cost = match kind {
            RST_STREAM => return self.reset(now),
            HEADERS | CONTINUATION => {
                self.block_since = self.block_since.or(Some(now));
                self.block_ends = flags & END_HEADERS != 0;
                u32::from(kind == CONTINUATION && self.skip == 0)
            }
            // Flow control is the client's own business, and cheap.
            WINDOW_UPDATE => 0,
            DATA => u32::from(self.skip == 0 && flags & END_STREAM == 0),
            SETTINGS => SETTINGS_COST,
            // PING, PRIORITY, GOAWAY, and what the library skips or refuses.
            _ => 1,
        };
        if cost > 0 && !self.empty.take(cost, now) {
            self.flooded();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PREFACE, Reason, Scanner};
    use std::time::{Duration, Instant};

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut out = length[1..].to_vec();
        out.extend([kind, flags, 0, 0, 0, 1]);
        out.extend(payload);
        out
    }

    /// Behind the preface and settings that cost nothing yet.
    fn begun(now: Instant) -> Scanner {
        let mut scanner = Scanner::new();
        scanner.scan(PREFACE, now);
        scanner.begun = true;
        scanner
    }

    #[test]
    fn settings_come_first() {
        let settings = frame(4, 0, &[0, 4, 0, 0, 0, 9]);
        for (first, refused) in [
            (settings, None),
            (frame(4, 1, &[]), Some(Reason::PROTOCOL_ERROR)),
            (frame(6, 0, &[0; 8]), Some(Reason::PROTOCOL_ERROR)),
            (frame(1, 5, &[0x82]), Some(Reason::PROTOCOL_ERROR)),
        ] {
            let mut scanner = Scanner::new();
            let now = Instant::now();
            scanner.scan(PREFACE, now);
            scanner.scan(&first, now);
            scanner.scan(&frame(6, 0, &[0; 8]), now);
            assert_eq!(scanner.refused, refused);
        }
    }

    /// Whether so many of these frames, `gap` apart, are too many.
    fn floods(bytes: &[u8], count: u32, gap: Duration, piece: usize) -> bool {
        let mut now = Instant::now();
        let mut scanner = begun(now);
        for _ in 0..count {
            bytes
                .chunks(piece)
                .for_each(|bytes| scanner.scan(bytes, now));
            now += gap;
        }
        scanner.refused == Some(Reason::ENHANCE_YOUR_CALM)
    }

    #[test]
    fn what_carries_nothing_is_too_much_at_once_but_not_at_a_measured_pace() {
        let pace = Duration::from_millis(50);
        for (what, bytes, most) in [
            ("reset", frame(3, 0, &[0, 0, 0, 8]), 200),
            ("ping", frame(6, 0, &[0; 8]), 1_000),
            ("priority", frame(2, 0, &[0; 5]), 1_000),
            ("settings", frame(4, 0, &[]), 100),
            ("empty data", frame(0, 0, &[]), 1_000),
            ("unknown", frame(0x42, 0, &[1]), 1_000),
        ] {
            for piece in [1, 7, 4_096] {
                assert!(!floods(&bytes, most, Duration::ZERO, piece), "{what}");
                assert!(floods(&bytes, most + 1, Duration::ZERO, piece), "{what}");
            }
            assert!(!floods(&bytes, 3 * most, pace, 4_096), "{what}");
        }
    }

    #[test]
    fn data_windows_and_requests_are_never_too_many() {
        for bytes in [
            frame(0, 0, b"x"),
            frame(0, 1, &[]),
            frame(8, 0, &[0, 0, 0, 1]),
            frame(1, 5, &[0x82]),
        ] {
            assert!(!floods(&bytes, 50_000, Duration::ZERO, 4_096));
        }
    }

    #[test]
    fn a_header_block_is_open_from_its_first_frame_to_its_last() {
        let start = Instant::now();
        let mut scanner = begun(start);
        let later = start + Duration::from_secs(1);
        scanner.scan(&frame(1, 1, &[0x82]), start);
        scanner.scan(&frame(9, 0, &[0x86]), later);
        assert_eq!(scanner.block_since, Some(start));
        let last = frame(9, 4, &[0x84, 0x86]);
        let (most, rest) = last.split_at(last.len() - 1);
        scanner.scan(most, later);
        assert_eq!(scanner.block_since, Some(start));
        scanner.scan(rest, later);
        assert_eq!(scanner.block_since, None);
        // A frame that has no payload is complete with its header.
        scanner.scan(&frame(1, 1, &[0x82]), later);
        scanner.scan(&frame(9, 4, &[]), later);
        assert_eq!(scanner.block_since, None);
    }
}
