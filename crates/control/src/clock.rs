//! The two real clocks. The only place of the control plane that reads them.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use evenkeel_model::clock::{Mono, Wall};

/// A step of the wall clock larger than this is an event.
const STEP_MIN: Duration = Duration::from_secs(1);

/// Reads both clocks and notices when the wall clock is stepped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
    last: (Mono, Wall),
}

impl Clock {
    pub(crate) fn start() -> Self {
        let start = Instant::now();
        Self {
            start,
            last: (Mono::ZERO, wall()),
        }
    }

    /// The start, for rooms that measure against the same zero.
    pub(crate) const fn origin(&self) -> Instant {
        self.start
    }

    pub(crate) fn mono(&self) -> Mono {
        Mono(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// By how many milliseconds the wall clock was stepped since the last call, if by more than a second.
    pub(crate) fn step(&mut self) -> Option<i64> {
        let (mono, wall) = (self.mono(), wall());
        let expected = self.last.1.plus(mono.since(self.last.0));
        self.last = (mono, wall);
        let by_ms = wall.0 as i64 - expected.0 as i64;
        (by_ms.unsigned_abs() > STEP_MIN.as_millis() as u64).then_some(by_ms)
    }
}

/// The wall clock.
pub fn wall() -> Wall {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Wall(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
