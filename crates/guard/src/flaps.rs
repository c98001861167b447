//! Health checks that change their mind again and again.
//!
//! A backend flaps when its check takes it out [`FLAPS_MIN`] times within [`WITHIN`]; a restart, a rolling
//! deployment or a planned drain does that once, at most twice. A check that fails by chance one time in fifty, with the
//! default of three failures in a row, flaps once in a thousand years; one that fails one time in ten does so
//! twice a day, and is worth a look. It is over when the check has kept still for twice the usual time between two flips.
//! Limits: flips with more than [`WITHIN`] / 2 between them are taken for single failures.

use std::collections::VecDeque;
use std::time::Duration;

use evenkeel_detect::onset::Onset;
use evenkeel_model::clock::Mono;
use evenkeel_model::config::Health;

use crate::alarm::{Alarm, AlarmKind};
use crate::watch::PoolWatch;

/// Times out of traffic within [`WITHIN`] from which on a check flaps.
const FLAPS_MIN: usize = 3;
/// Flips that count.
pub(crate) const WITHIN: Duration = Duration::from_mins(5);
/// A check that kept still for this long may flap no more.
const STILL: Duration = Duration::from_secs(30);
/// A pause between two flips this many times the shortest ends the run of flips that began the alarm.
const PAUSE: u32 = 3;

/// Flips of one backend's check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flaps {
    /// The first of the run under way, and the newest.
    first: Mono,
    last: Mono,
    /// Of the last [`WITHIN`].
    count: usize,
}

/// Whether a check that took its backend out at `downs`, ascending, flaps at `now`.
fn flaps(downs: &VecDeque<Mono>, now: Mono) -> Option<Flaps> {
    let recent: Vec<Mono> = downs
        .iter()
        .copied()
        .filter(|at| now.since(*at) <= WITHIN)
        .collect();
    let (oldest, last) = (*recent.first()?, *recent.last()?);
    if recent.len() < FLAPS_MIN {
        return None;
    }
    let pairs = || recent.iter().zip(recent.iter().skip(1)).rev();
    let usual = last.since(oldest) / u32::try_from(recent.len() - 1).ok()?;
    if now.since(last) > STILL.max(usual * 2) {
        return None;
    }
    let mut first = last;
    let mut shortest = Duration::MAX;
    for (before, after) in pairs() {
        let pause = after.since(*before);
        if pause > shortest.saturating_mul(PAUSE) {
            break;
        }
        shortest = shortest.min(pause);
        first = *before;
    }
    Some(Flaps {
        first,
        last,
        count: recent.len(),
    })
}

impl PoolWatch {
    /// Looks which checks flap, once a tick.
    pub(crate) fn look_at_flaps(&mut self, now: Mono) {
        let any = self.flaps(now).next().is_some();
        self.flapping = any;
    }

    /// Places of those whose check flaps.
    fn flaps(&self, now: Mono) -> impl Iterator<Item = (usize, Flaps)> {
        let backends = self.pool.backends.iter().enumerate();
        backends.filter_map(move |(place, backend)| {
            let health = self.health.get(&backend.name)?;
            Some((place, flaps(&health.thrown, now)?))
        })
    }

    /// The alarm about checks that flap, at the last tick.
    pub(crate) fn flap_alarm(&self) -> Option<Alarm> {
        let now = self.counts.last()?.at;
        let all: Vec<(usize, Flaps)> = self.flaps(now).collect();
        let (place, worst) = all.iter().max_by_key(|(_, flaps)| flaps.count)?;
        let first = all.iter().map(|(_, flaps)| flaps.first).min()?;
        let backend = self.pool.backends.get(*place)?;
        let more = match all.len() {
            1 => String::new(),
            n => format!(" and {} more", n - 1),
        };
        // The check failed that often before it took the backend out.
        let check = self.pool.health.as_ref();
        let lead = check.map_or(Duration::ZERO, Health::acts_within);
        let said = self.health.get(&backend.name).map(|h| h.said.as_str());
        Some(Alarm {
            kind: AlarmKind::Flapping,
            onset: Onset {
                lo: first.minus(lead),
                best: first.minus(lead / 2),
                hi: first,
            },
            title: format!(
                "the health check of {}{more} of pool `{}` flaps: out of traffic {} times in {} s",
                backend.name,
                self.pool.name,
                worst.count,
                worst.last.since(worst.first).as_secs()
            ),
            detail: format!(
                "flap rate: {} times or more within {} s; the check said: {}",
                FLAPS_MIN,
                WITHIN.as_secs(),
                said.filter(|said| !said.is_empty()).unwrap_or("nothing")
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use evenkeel_model::clock::Mono;

    use super::flaps;

    fn at(downs: &[u64], now: u64) -> Option<(u64, usize)> {
        let downs: VecDeque<Mono> = downs.iter().map(|s| Mono::from_secs(*s)).collect();
        let found = flaps(&downs, Mono::from_secs(now));
        found.map(|f| (f.first.0 / 1_000_000_000, f.count))
    }

    #[test]
    fn a_restart_and_a_deployment_that_is_taken_back_are_no_flapping() {
        assert_eq!(at(&[100], 101), None);
        assert_eq!(at(&[100, 160], 161), None);
        assert_eq!(at(&[100, 110], 111), None);
    }

    #[test]
    fn three_times_within_five_minutes_is_and_a_failure_long_before_does_not_count() {
        assert_eq!(at(&[100, 110, 120], 120), Some((100, 3)));
        assert_eq!(at(&[100, 380, 390], 402), None);
        // An old restart is not where it began.
        assert_eq!(at(&[10, 100, 110, 121], 121), Some((100, 4)));
        assert_eq!(at(&[100, 220, 340], 341), Some((100, 3)));
    }

    #[test]
    fn a_check_that_keeps_still_flaps_no_more() {
        assert_eq!(at(&[100, 110, 120], 150), Some((100, 3)));
        assert_eq!(at(&[100, 110, 120], 151), None);
        assert_eq!(at(&[100, 160, 220], 340), Some((100, 3)));
        assert_eq!(at(&[100, 160, 220], 341), None);
    }
}
