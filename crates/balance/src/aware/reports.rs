//! What backends say that they hold, in answers and to probes, and how `prequal` chooses by it (section 4 of the paper).
//!
//! A balancer that is one of many sees a part of what a backend holds; the backend knows all of it. Its word is fresh
//! for [`AGE_MAX`], serves a few picks and is then thrown away, so that nobody goes to the same place for long. One
//! report per member is kept: a newer one takes the place of the older. What this balancer sent or got back since then
//! is added from its own count over all workers.
//!
//! **A report is believed within bounds.** A backend holds at least what this balancer has with it, and what failed is
//! booked as without reports. A probe that failed takes the report away: silence never looks idle.
//!
//! **Only the load is taken, not the latency** that the paper's servers report. All who hear that a server is quick go
//! there at once, and its latency says so only when the first of them are answered; docs/balancing.md has what came of
//! it. How quick a server is each balancer knows from its own answers, which are not the same as those of the others.
//!
//! **Who does not report** must neither be forgotten nor avoided: a pick in which the draw by weight names such a member
//! is made as if nobody reported. So those who report get at most twice their part when only few of them do.

use std::time::Duration;

use evenkeel_model::clock::Mono;
use evenkeel_model::rng::Rng;

use super::{Aware, Drawn, Field, Lane, Quantile, draw, hot_or_cold};
use crate::pick::Load;
use crate::table::Table;

/// A report older than this is not gone by.
const AGE_MAX: Duration = Duration::from_secs(1);
/// Reports kept at most, and at most half of the members, so that there is always somebody else.
const KEPT_MAX: usize = 16;
/// With fewer reports the choice is made without them.
const USABLE_MIN: usize = 2;
/// The delta of the paper: how much faster reports come in than they are used up.
const SURPLUS: f64 = 1.0;
/// Part of the reports that come in that is thrown away unused, one per pick at most: the paper's 1 of 3.
const REMOVED: f64 = 1.0 / 3.0;
/// Picks that a report serves at most; in a small pool the rule of the paper has no bound.
const USES_MAX: f64 = 64.0;
/// What one pick counts in the number of reports that come in per pick.
const INFLOW_STEP: f64 = 1.0 / 64.0;
/// Who was not heard for so long does not report.
const SILENT_AFTER: Duration = Duration::from_secs(10);
/// Probes that one pick can ask for.
pub const PROBES_AT_ONCE_MAX: usize = 8;

/// A report as it is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    at: Mono,
    /// Picks that it still serves.
    uses: u32,
}

/// The reports that there are.
#[derive(Debug, Clone, Default)]
pub(super) struct Reports {
    /// Members with a report, oldest first.
    list: Vec<usize>,
    /// Requests in flight from which on a backend is hot, by what reports said.
    hot_from: Quantile,
    /// Reports that come in per pick, and those since the last pick.
    inflow: f64,
    new: f64,
    /// Parts of a removal and of a probe that are due.
    removal: f64,
    probe: f64,
    is_worst_next: bool,
}

impl Reports {
    /// The members have other places now.
    pub(super) fn place(&mut self, mut list: Vec<(Mono, usize)>) {
        list.sort_unstable();
        self.list = list.into_iter().map(|(_, index)| index).collect();
    }
}

impl Kept {
    pub(super) const fn at(&self) -> Mono {
        self.at
    }
}

impl Lane {
    /// Whether it said lately what it holds.
    fn reports(&self, now: Mono) -> bool {
        let silence = self.heard_at.map(|at| now.since(at));
        silence.is_some_and(|silence| silence <= SILENT_AFTER)
    }
}

impl Aware {
    /// Takes in how many requests a member says that it holds; `own`: how many it has of this balancer. O(1).
    pub(crate) fn reported(
        &mut self,
        member: usize,
        now: Mono,
        (in_flight, own): (u32, u32),
        table: &Table,
        rng: &mut Rng,
    ) {
        let room = kept_max(self.lanes.len());
        let uses = self.uses(room);
        let Some(lane) = self.lanes.get_mut(member) else {
            return;
        };
        let weight = table.weight(member);
        if weight == 0 {
            return;
        }
        lane.heard_at = Some(now);
        lane.others = f64::from(in_flight.saturating_sub(own));
        lane.report = Some(Kept {
            at: now,
            // Rounded by chance, so that the mean is kept.
            uses: (uses + rng.unit()) as u32,
        });
        let load = f64::from(in_flight.max(own)) * self.mean_weight / weight as f64;
        self.reports.hot_from.see(load);
        self.reports.new += 1.0;
        self.reports.list.retain(|index| *index != member);
        self.reports.list.push(member);
        while self.reports.list.len() > room {
            self.remove(0);
        }
    }

    /// What the member said does not stand any more. O(1).
    pub(crate) fn forget(&mut self, member: usize) {
        let place = self.reports.list.iter().position(|index| *index == member);
        if let Some(place) = place {
            self.remove(place);
        }
    }

    /// The members to probe for a request that was picked, `rate` of them in the mean, different ones, drawn by weight.
    pub(crate) fn draw_to_probe(&mut self, rate: f64, table: &Table, rng: &mut Rng) -> Drawn {
        self.reports.probe += rate;
        let due = (self.reports.probe as usize).min(PROBES_AT_ONCE_MAX);
        self.reports.probe = (self.reports.probe - due as f64).min(1.0);
        if due == 0 {
            return Drawn::default();
        }
        draw(table, rng, due, |_| true)
    }

    /// Chooses by reports; `None`: there are too few, or it is the turn of those who do not report.
    pub(super) fn by_reports<L: Load>(
        &mut self,
        field: &Field<'_, L>,
        rng: &mut Rng,
        may: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let new = std::mem::take(&mut self.reports.new);
        self.reports.inflow += (new - self.reports.inflow) * INFLOW_STEP;
        let oldest = |aware: &Self| {
            let lane = aware.lanes.get(*aware.reports.list.first()?)?;
            lane.report.map(|report| field.now.since(report.at))
        };
        while oldest(self).is_some_and(|age| age > AGE_MAX) {
            self.remove(0);
        }
        if self.reports.list.len() < USABLE_MIN {
            return None;
        }
        let drawn = field.table.draw(rng, None, &may)?;
        if !self.lanes.get(drawn)?.reports(field.now) {
            return None;
        }
        let newest_first = self.reports.list.iter().rev().copied();
        let usable = |index: &usize| field.table.weight(*index) > 0 && may(*index);
        let mut list = Drawn::default();
        newest_first.filter(usable).for_each(|i| list.push(i));
        if list.members().len() < USABLE_MIN {
            return None;
        }
        let from = self.reports.hot_from.at;
        let load = |index| self.known_load(field, index);
        let ns = |index, load| self.mean_ns_at(index, load, field.now);
        let chosen = hot_or_cold(&list, from, load, ns)?;
        self.use_up(field, chosen);
        Some(chosen)
    }

    /// What a pick costs: a use of the report that it went by, and a part of a removal.
    fn use_up<L: Load>(&mut self, field: &Field<'_, L>, chosen: usize) {
        let report = self.lanes.get_mut(chosen).and_then(|l| l.report.as_mut());
        if let Some(report) = report {
            report.uses = report.uses.saturating_sub(1);
            if report.uses == 0 {
                self.forget(chosen);
            }
        }
        self.reports.removal += (self.reports.inflow * REMOVED).min(1.0);
        if self.reports.removal < 1.0 {
            return;
        }
        self.reports.removal -= 1.0;
        let is_worst = self.reports.is_worst_next;
        self.reports.is_worst_next = !is_worst;
        let worst = is_worst.then(|| self.worst(field)).flatten();
        self.remove(worst.unwrap_or(0));
    }

    /// The place of the worst report: the hot one with the most in flight, else the slowest member.
    fn worst<L: Load>(&self, field: &Field<'_, L>) -> Option<usize> {
        let rank = |index: usize| {
            let load = self.known_load(field, index);
            if load >= self.reports.hot_from.at {
                (true, load)
            } else {
                (false, self.mean_ns_at(index, load, field.now))
            }
        };
        let ranks = self.reports.list.iter().map(|index| rank(*index));
        let worst = ranks.enumerate().max_by(|(_, a), (_, b)| {
            let by_heat = a.0.cmp(&b.0);
            by_heat.then(a.1.total_cmp(&b.1))
        });
        worst.map(|(place, _)| place)
    }

    fn remove(&mut self, place: usize) {
        if place < self.reports.list.len() {
            let index = self.reports.list.remove(place);
            if let Some(lane) = self.lanes.get_mut(index) {
                lane.report = None;
            }
        }
    }

    /// Requests in flight at a member as far as they are known, what failed included, as they would be at mean weight:
    /// with what it said last of those that are not this balancer's.
    pub(super) fn known_load<L: Load>(&self, field: &Field<'_, L>, index: usize) -> f64 {
        let own = self.load(field, index);
        match self.lanes.get(index) {
            Some(lane) if lane.reports(field.now) => {
                own + lane.others * self.mean_weight / field.table.weight(index).max(1) as f64
            }
            _ => own,
        }
    }

    /// Picks that a report serves: as many as keep [`SURPLUS`] more coming in than are used up.
    fn uses(&self, room: usize) -> f64 {
        let part = room as f64 / self.lanes.len().max(1) as f64;
        let inflow = self.reports.inflow;
        let left = (1.0 - part) * inflow - (inflow * REMOVED).min(1.0);
        if left <= 0.0 {
            return USES_MAX;
        }
        ((1.0 + SURPLUS) / left).clamp(1.0, USES_MAX)
    }
}

fn kept_max(members: usize) -> usize {
    (members / 2).clamp(USABLE_MIN, KEPT_MAX)
}
