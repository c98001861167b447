//! A check that fails for every backend of a pool while what they serve is fine.
//!
//! Then all of them take traffic and nobody is harmed, but nothing tells any more who is well: the next backend that dies
//! stays in traffic. Raised when the requests that ended since, at least [`ENOUGH`], were answered well. Limits: pools of one
//! backend, whose check fails at each restart; a check that fails for all but one overloads that one, which is
//! found as harm.

use std::time::Duration;

use evenkeel_detect::onset::Onset;
use evenkeel_model::clock::Mono;

use crate::alarm::{Alarm, AlarmKind};
use crate::counts::Cell;
use crate::watch::{ENOUGH, Health, PoolWatch};

/// Backends from which on it is the check rather than the backend.
const BACKENDS_MIN: usize = 2;
/// While the checks fail one after the other, those that are left are overloaded; that goes by.
const LASTS: Duration = Duration::from_secs(3);
/// One in so many of the requests that end may fail.
const WELL: u64 = 10;

impl PoolWatch {
    /// Looks whether every check fails, once a tick.
    pub(crate) fn look_at_checks(&mut self, now: Mono) {
        let since = self.all_thrown_out();
        self.blind = since.filter(|since| now.since(*since) >= LASTS && self.serves_well(*since));
    }

    /// When the last of all backends that are not drained was taken out by its check; `None` when one of them was not.
    fn all_thrown_out(&self) -> Option<Mono> {
        self.pool.health.as_ref()?;
        let members = &self.epoch()?.fact.members;
        let checked = members.iter().filter(|m| !m.drained);
        let thrown = |health: &Health| {
            let by_check = health.thrown.back() == health.downs.back();
            let at = health.downs.back().copied();
            at.filter(|_| !health.up && health.was_up && by_check)
        };
        let moments = checked.map(|m| self.health.get(&m.name).and_then(thrown));
        let moments: Vec<Mono> = moments.collect::<Option<_>>()?;
        let last = moments.iter().max().copied();
        last.filter(|_| moments.len() >= BACKENDS_MIN)
    }

    fn serves_well(&self, since: Mono) -> bool {
        let rows = self.counts.rows().iter().rev();
        let rows = rows.take_while(|row| row.at > since);
        let cells = rows.flat_map(|row| &row.cells);
        let (ended, failed) = cells.fold((0, 0), |(ended, failed), cell: &Cell| {
            (ended + cell.ended(), failed + cell.failed())
        });
        ended >= ENOUGH && failed * WELL <= ended
    }

    /// The alarm about it, at the last tick.
    pub(crate) fn blind_alarm(&self) -> Option<Alarm> {
        let since = self.blind?;
        let lead = self.pool.health.as_ref()?.acts_within();
        let mut said = self.health.values().map(|h| h.said.as_str());
        let said = said.find(|said| !said.is_empty());
        Some(Alarm {
            kind: AlarmKind::Blind,
            onset: Onset {
                lo: since.minus(lead + Duration::from_secs(1)),
                best: since.minus(lead / 2),
                hi: since,
            },
            title: format!(
                "the health check of pool `{}` fails for every backend, and they serve well",
                self.pool.name
            ),
            detail: format!(
                "all of them take traffic, checked by nothing; the check said: {}",
                said.unwrap_or("nothing")
            ),
        })
    }
}
