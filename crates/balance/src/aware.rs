//! Choosing by load and speed: `least_request`, `peak_ewma` and `prequal`, with what a picker learns from answers.
//!
//! **Load** is the requests in flight over all workers, live, so nothing is polled and nothing is stale. **Speed** is
//! this worker's own estimate from the answers that it saw. A member without answers stands where the middle of the
//! pool stands, and an estimate that gets no answers drifts back there: never free, never written off for ever.
//!
//! **Failing is not being fast.** A backend that refuses or answers 5xx at once has nothing in flight, and choosing by
//! load alone would feed it (the sinkhole). Here a failed try stays booked for as long as [`FAILED_HOLDS`] typical
//! answers of the pool, and one that the backend turned down (4xx) for as long as two, so by Little's law a backend that
//! only fails looks ten times as busy as one that works at the same rate. Pool-wide failures are booked to everybody
//! alike. Only picks that the algorithm made may be told here, so that no client can steer it by its key.
//!
//! **Weights** decide who is drawn, and scale requests in flight; a light backend is not thought slow.
//!
//! Limits: estimates are per worker. What failed is counted per worker and scaled by the number of workers.

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel_model::clock::Mono;
use evenkeel_model::config::{Algorithm, Choices};
use evenkeel_model::ids::Name;
use evenkeel_model::rng::Rng;

use crate::member::Member;
use crate::pick::Load;
use crate::table::Table;

mod reports;

pub use reports::PROBES_AT_ONCE_MAX;

/// A failed try stays booked as in flight for as long as this many typical answers.
pub const FAILED_HOLDS: f64 = 10.0;
/// A request that was turned down stays booked for as long as this many: the typical answer is a median, below the mean.
const REJECTED_HOLDS: f64 = 2.0;
/// Who is drawn later must be quicker by this factor. Without it the smallest leftover of an old peak would lose every
/// comparison with steady backends, and a backend that got well would stay without traffic.
const CLEARLY: f64 = 0.9;
/// Memory of an answer time: an old peak is forgotten by faster answers, by e-folds of this (Finagle and Linkerd use the same).
const ANSWER_MEMORY: Duration = Duration::from_secs(10);
/// Quantile of the requests in flight from which on a backend is hot under `prequal`: the paper's 2^-0.25.
const HOT_QUANTILE: f64 = 0.840_896_415_253_714_6;
/// A cold backend is passed over when it would take so many times as long as the least loaded hot one.
const COLD_SLOWER_MAX: f64 = 2.0;
/// An estimate that gets no answers is back at the pool's by e-folds of this.
const DRIFT: Duration = Duration::from_secs(3);
/// What one answer counts in the part that fails.
const FAILING_STEP: f64 = 0.1;
/// Memory of the mean answer time that `prequal` goes by; one answer counts [`MEAN_STEP`] at least.
const MEAN_MEMORY: Duration = Duration::from_secs(1);
const MEAN_STEP: f64 = 0.05;
/// A backend is not thought to answer sooner than this quantile of its own answers, however little it holds; one answer
/// moves it by [`LOW_STEP`] of its value.
const LOW_QUANTILE: f64 = 0.25;
const LOW_STEP: f64 = 0.1;
/// Most backends that `prequal` compares: the paper's size of the probe pool.
const PREQUAL_DRAWN_MAX: usize = 16;
/// Most backends that one pick looks at; `choices = "all"` draws this many from a larger pool.
pub const LOOKED_AT_MAX: usize = 64;

/// Typical answer before the first one came, nanoseconds.
const TYPICAL_AT_FIRST_NS: f64 = 100e6;
/// Step of the running median, of its value.
const MEDIAN_STEP: f64 = 0.02;
/// Below so many requests a booking has run out, and breaks no tie any more.
const HELD_LEAST: f64 = 0.05;

/// How a try at a backend ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It answered (below 400).
    Good,
    /// It turned the request down (4xx but 429).
    Rejected,
    /// It failed: no connection, no answer, 5xx, 429.
    Failed,
    /// Nothing is known: the client left.
    Aborted,
    /// Another backend answered the same request first: it takes at least so long.
    Overtaken,
}

impl How {
    /// What a status says.
    pub const fn of_status(status: u16) -> Self {
        match status {
            0..400 => Self::Good,
            429 | 500.. => Self::Failed,
            400..500 => Self::Rejected,
        }
    }
}

/// What one worker knows of the members of one pool. Empty under algorithms that do not ask.
#[derive(Debug, Clone, Default)]
pub(crate) struct Aware {
    lanes: Vec<Lane>,
    /// Running median of good answers, nanoseconds; `None`: none yet.
    typical_ns: Option<f64>,
    /// The same of the members' estimates by peaks, which lie above the answers: where a member without one stands.
    peak_ns: Option<f64>,
    /// Requests in flight (at mean weight) from which on a member is hot, over the members looked at.
    hot_from: Quantile,
    /// What members said of themselves.
    reports: reports::Reports,
    /// Mean weight of those who have one.
    mean_weight: f64,
}

/// One member.
#[derive(Debug, Clone)]
struct Lane {
    name: Name,
    /// Estimated time to answer; `None`: no answer yet.
    answer: Option<Answer>,
    /// Its load when it was picked last.
    load: f64,
    /// Picks under `prequal` while it has never answered, as of `asked_at`.
    asked: f64,
    asked_at: Mono,
    /// Requests that failed and are still booked, as of `held_at`.
    held: f64,
    held_at: Mono,
    /// Part of its answers that failed lately, as of `failing_at`.
    failing: f64,
    failing_at: Mono,
    /// When it last said how many requests it holds, and how many of these were not this balancer's.
    heard_at: Option<Mono>,
    others: f64,
    /// What it said, while that stands.
    report: Option<reports::Kept>,
}

#[derive(Debug, Clone, Copy)]
struct Answer {
    /// By peaks.
    ns: f64,
    at: Mono,
    /// Mean, with the mean load that it was seen at.
    mean_ns: f64,
    load: f64,
    /// Running [`LOW_QUANTILE`].
    low_ns: f64,
}

/// What a choice is made from.
pub(crate) struct Field<'a, L> {
    pub(crate) algorithm: Algorithm,
    pub(crate) choices: Choices,
    pub(crate) table: &'a Table,
    pub(crate) load: &'a L,
    pub(crate) now: Mono,
}

/// The running [`HOT_QUANTILE`] of what it sees.
#[derive(Debug, Clone, Copy, Default)]
struct Quantile {
    at: f64,
}

impl Quantile {
    /// Up by q and down by 1 - q of a step, so it rests where a part q lies below.
    fn see(&mut self, load: f64) {
        let step = 0.05 * self.at.max(1.0);
        if load > self.at {
            self.at += step * HOT_QUANTILE;
        } else if load < self.at {
            self.at = (self.at - step * (1.0 - HOT_QUANTILE)).max(0.0);
        }
    }
}

/// Members in the order in which they were drawn.
#[derive(Debug, Clone, Copy)]
pub struct Drawn {
    list: [usize; LOOKED_AT_MAX],
    length: usize,
}

impl Default for Drawn {
    fn default() -> Self {
        Self {
            list: [0; LOOKED_AT_MAX],
            length: 0,
        }
    }
}

impl Drawn {
    /// Their indices in file order.
    pub fn members(&self) -> &[usize] {
        self.list.get(..self.length).unwrap_or_default()
    }

    fn push(&mut self, member: usize) {
        if let Some(place) = self.list.get_mut(self.length) {
            *place = member;
            self.length += 1;
        }
    }
}

impl Aware {
    /// For `members` of a pool; what is known of them is carried over by name. O(n log n).
    pub(crate) fn carry(&mut self, algorithm: Algorithm, members: &[Member]) {
        if !algorithm.follows_load() {
            *self = Self::default();
            return;
        }
        let mut known: BTreeMap<Name, Lane> = std::mem::take(&mut self.lanes)
            .into_iter()
            .map(|lane| (lane.name.clone(), lane))
            .collect();
        let lane = |member: &Member| {
            known.remove(&member.name).unwrap_or_else(|| Lane {
                name: member.name.clone(),
                answer: None,
                load: 0.0,
                asked: 0.0,
                asked_at: Mono::ZERO,
                held: 0.0,
                held_at: Mono::ZERO,
                failing: 0.0,
                failing_at: Mono::ZERO,
                heard_at: None,
                others: 0.0,
                report: None,
            })
        };
        self.lanes = members.iter().map(lane).collect();
        let kept = self.lanes.iter().enumerate();
        let kept = kept.filter_map(|(index, lane)| Some((lane.report?.at(), index)));
        self.reports.place(kept.collect());
        let weights = members.iter().map(Member::effective_weight);
        let (sum, count) = weights
            .filter(|weight| *weight > 0)
            .fold((0.0, 0.0), |(sum, count), w| {
                (sum + f64::from(w), count + 1.0)
            });
        self.mean_weight = if count > 0.0 { sum / count } else { 1.0 };
    }

    /// Takes in how a try ended that the algorithm had chosen. O(1).
    pub(crate) fn answered(&mut self, member: usize, now: Mono, took: Duration, how: How) {
        let typical = self.typical_ns.unwrap_or(TYPICAL_AT_FIRST_NS);
        let peak_typical = self.peak_ns.unwrap_or(typical);
        let Some(lane) = self.lanes.get_mut(member) else {
            return;
        };
        let took = took.as_nanos() as f64;
        match how {
            How::Aborted => {}
            How::Overtaken => {
                if took > lane.answer_ns(peak_typical, now) {
                    lane.observe(peak_typical, now, took);
                }
            }
            How::Good => {
                let peak = lane.observe(peak_typical, now, took);
                lane.fail(now, 0.0);
                self.typical_ns = Some(stepped(self.typical_ns, took));
                self.peak_ns = Some(stepped(self.peak_ns, peak));
            }
            How::Failed | How::Rejected => {
                // A time-out says how slow it is; a fast failure says nothing of its speed.
                if took > lane.answer_ns(peak_typical, now) {
                    lane.observe(peak_typical, now, took);
                }
                let more = if how == How::Failed {
                    1.0
                } else {
                    REJECTED_HOLDS / FAILED_HOLDS
                };
                lane.held = lane.held(typical, now) + more;
                lane.held_at = now;
                lane.fail(now, more);
            }
        }
    }

    /// Chooses a member that `may` be picked.
    pub(crate) fn choose<L: Load>(
        &mut self,
        field: &Field<'_, L>,
        rng: &mut Rng,
        may: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        match field.algorithm {
            Algorithm::PeakEwma => {
                let drawn = draw(field.table, rng, 2, may);
                least(&drawn, CLEARLY, |index| self.busy_time(field, index))
            }
            Algorithm::Prequal => {
                let chosen = match self.by_reports(field, rng, &may) {
                    Some(chosen) => chosen,
                    None => self.by_own_counts(field, rng, may)?,
                };
                let load = self.known_load(field, chosen);
                if let Some(lane) = self.lanes.get_mut(chosen) {
                    lane.load = load;
                    if lane.answer.is_none() {
                        lane.asked = lane.asked(field.now) + 1.0;
                        lane.asked_at = field.now;
                    }
                }
                Some(chosen)
            }
            _ => match field.choices {
                Choices::All if self.lanes.len() <= LOOKED_AT_MAX => {
                    self.least_of_all(field, rng, may)
                }
                choices => {
                    let drawn = draw(field.table, rng, choices.count(), may);
                    least(&drawn, 1.0, |index| self.load(field, index))
                }
            },
        }
    }

    /// Requests in flight at a member, what failed included, as they would be at mean weight.
    fn load<L: Load>(&self, field: &Field<'_, L>, index: usize) -> f64 {
        let own = field.load.in_flight(index);
        let weight = field.table.weight(index).max(1) as f64;
        let Some(lane) = self.lanes.get(index) else {
            return f64::from(own);
        };
        let held = if lane.held > 0.0 {
            let typical = self.typical_ns.unwrap_or(TYPICAL_AT_FIRST_NS);
            lane.held(typical, field.now) * f64::from(field.load.workers())
        } else {
            0.0
        };
        (f64::from(own) + held) * self.mean_weight / weight
    }

    fn answer_ns(&self, index: usize, now: Mono) -> f64 {
        let typical = self.peak_ns.unwrap_or(TYPICAL_AT_FIRST_NS);
        let lane = self.lanes.get(index);
        lane.map_or(typical, |lane| {
            lane.answer_ns(typical, now) * lane.dearness(now)
        })
    }

    fn mean_ns_at(&self, index: usize, load: f64, now: Mono) -> f64 {
        let typical = self.typical_ns.unwrap_or(TYPICAL_AT_FIRST_NS);
        let lane = self.lanes.get(index);
        lane.map_or(typical, |lane| {
            lane.mean_ns_at(load, typical, now) * lane.dearness(now)
        })
    }

    /// Cost of `peak_ewma`. The request itself is not scaled by weight: else whoever is heavier would win every
    /// comparison of idle backends, and the weights would count twice.
    fn busy_time<L: Load>(&self, field: &Field<'_, L>, index: usize) -> f64 {
        self.answer_ns(index, field.now) * (1.0 + self.load(field, index))
    }

    /// The rule of Prequal among some that are drawn, by what this balancer sees of them.
    fn by_own_counts<L: Load>(
        &mut self,
        field: &Field<'_, L>,
        rng: &mut Rng,
        may: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let drawn = draw(field.table, rng, prequal_drawn(self.lanes.len()), may);
        let from = self.hot_from.at;
        for &index in drawn.members() {
            let load = self.load(field, index);
            self.hot_from.see(load);
        }
        let (load, ns) = (
            |index| self.load(field, index),
            |index, _| self.mean_ns_at(index, self.known_load(field, index), field.now),
        );
        hot_or_cold(&drawn, from, load, ns)
    }

    /// The least loaded of all; among equals one drawn by weight.
    fn least_of_all<L: Load>(
        &self,
        field: &Field<'_, L>,
        rng: &mut Rng,
        may: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let (mut best, mut sum) = (None, 0u64);
        let mut least = f64::INFINITY;
        for index in 0..self.lanes.len() {
            let weight = field.table.weight(index);
            if weight == 0 || !may(index) {
                continue;
            }
            let load = self.load(field, index);
            if load < least {
                (least, sum) = (load, 0);
            }
            if load <= least {
                sum += weight;
                if rng.below(sum) < weight {
                    best = Some(index);
                }
            }
        }
        best
    }
}

impl Lane {
    fn held(&self, typical_ns: f64, now: Mono) -> f64 {
        let passed = now.since(self.held_at).as_nanos() as f64;
        let left = self.held * libm::exp(-passed / (FAILED_HOLDS * typical_ns.max(1.0)));
        if left < HELD_LEAST { 0.0 } else { left }
    }

    fn fail(&mut self, now: Mono, how_much: f64) {
        let before = self.failing * fade_in(self.failing_at, now, DRIFT);
        self.failing = before + FAILING_STEP * (how_much - before);
        self.failing_at = now;
    }

    /// What its answer times are multiplied by: a failed answer is as dear as [`FAILED_HOLDS`] good ones.
    fn dearness(&self, now: Mono) -> f64 {
        if self.failing <= 0.0 {
            return 1.0;
        }
        1.0 + FAILED_HOLDS * self.failing * fade_in(self.failing_at, now, DRIFT)
    }

    fn answer_ns(&self, typical_ns: f64, now: Mono) -> f64 {
        self.answer.map_or(typical_ns, |answer| {
            typical_ns + (answer.ns - typical_ns) * fade_in(answer.at, now, DRIFT)
        })
    }

    fn asked(&self, now: Mono) -> f64 {
        self.asked * fade_in(self.asked_at, now, DRIFT)
    }

    /// Peak-sensitive: a slower answer counts at once, a faster one by and by.
    /// Returns the estimate.
    fn observe(&mut self, typical_ns: f64, now: Mono, took: f64) -> f64 {
        let before = self.answer_ns(typical_ns, now);
        let answer = match self.answer {
            None => Answer {
                ns: took,
                at: now,
                mean_ns: took,
                load: self.load,
                low_ns: took,
            },
            Some(old) => {
                let keep = fade(old.at, now);
                let mean_keep = fade_in(old.at, now, MEAN_MEMORY).min(1.0 - MEAN_STEP);
                let peak = if took >= before {
                    took
                } else {
                    before * keep + took * (1.0 - keep)
                };
                Answer {
                    ns: peak,
                    at: now,
                    mean_ns: old.mean_ns * mean_keep + took * (1.0 - mean_keep),
                    load: old.load * mean_keep + self.load * (1.0 - mean_keep),
                    low_ns: if took > old.low_ns {
                        old.low_ns * (1.0 + LOW_STEP * LOW_QUANTILE)
                    } else {
                        old.low_ns * (1.0 - LOW_STEP * (1.0 - LOW_QUANTILE))
                    },
                }
            }
        };
        self.answer = Some(answer);
        answer.ns
    }

    /// The mean as it would be at this load: in proportion to what was held when it was seen, but not below what its
    /// quick answers take. A backend that works on several requests at once is no faster for holding none, and without
    /// that bound a slow one that is left alone would look as fast as the others under load.
    fn mean_ns_at(&self, load: f64, typical_ns: f64, now: Mono) -> f64 {
        // Who has never answered may be slow: each pick without an answer speaks for that, not its load, which lifts the bound
        // between cold and hot with it.
        let unknown = typical_ns * (1.0 + self.asked(now));
        self.answer.map_or(unknown, |answer| {
            let at_load = answer.mean_ns * (1.0 + load) / (1.0 + answer.load);
            let at_load = at_load.max(answer.low_ns.min(answer.mean_ns));
            typical_ns + (at_load - typical_ns) * fade_in(answer.at, now, DRIFT)
        })
    }
}

fn fade_in(since: Mono, now: Mono, memory: Duration) -> f64 {
    libm::exp(-now.since(since).as_secs_f64() / memory.as_secs_f64())
}

/// A running median moved by one value.
fn stepped(median: Option<f64>, value: f64) -> f64 {
    match median {
        None => value,
        Some(median) if value > median => median * (1.0 + MEDIAN_STEP),
        Some(median) => median * (1.0 - MEDIAN_STEP),
    }
}

fn fade(since: Mono, now: Mono) -> f64 {
    fade_in(since, now, ANSWER_MEMORY)
}

/// Backends that `prequal` compares: half of them, at least two, at most the paper's 16. In a small pool the paper's
/// pool of probes would be the whole pool, and whoever looks best for a moment would get everything.
const fn prequal_drawn(members: usize) -> usize {
    let half = members / 2;
    if half < 2 {
        2
    } else if half > PREQUAL_DRAWN_MAX {
        PREQUAL_DRAWN_MAX
    } else {
        half
    }
}

/// So many different members, drawn by weight.
fn draw(table: &Table, rng: &mut Rng, count: usize, may: impl Fn(usize) -> bool) -> Drawn {
    let mut drawn = Drawn::default();
    let Some(first) = table.draw(rng, None, &may) else {
        return drawn;
    };
    drawn.push(first);
    while drawn.length < count.min(LOOKED_AT_MAX) {
        let next = table.draw(rng, Some(first), |index| {
            !drawn.members().contains(&index) && may(index)
        });
        let Some(next) = next else {
            break;
        };
        drawn.push(next);
    }
    drawn
}

/// The rule of Prequal: the fastest of those that are not hot, else the one with the least in flight. Fast is who
/// would answer soonest with what it holds now: without that, all go to whoever was fast while it held little.
/// Unlike there, a cold one that would take [`COLD_SLOWER_MAX`] times as long as the least loaded hot one is passed
/// over: of the few that a small pool has to compare, the slow one is often the only cold one.
fn hot_or_cold(
    drawn: &Drawn,
    hot_from: f64,
    load: impl Fn(usize) -> f64,
    ns: impl Fn(usize, f64) -> f64,
) -> Option<usize> {
    let mut cold: Option<(f64, usize)> = None;
    let mut hot: Option<(f64, usize)> = None;
    for &index in drawn.members() {
        let load = load(index);
        if load >= hot_from {
            if hot.is_none_or(|(least, _)| load < least) {
                hot = Some((load, index));
            }
        } else {
            let ns = ns(index, load);
            if cold.is_none_or(|(least, _)| ns < least * CLEARLY) {
                cold = Some((ns, index));
            }
        }
    }
    let is_worth = |(cold_ns, _): &(f64, usize)| {
        hot.is_none_or(|(load, index)| *cold_ns < ns(index, load) * COLD_SLOWER_MAX)
    };
    let chosen = cold.filter(is_worth).or(hot);
    chosen.map(|(_, index)| index)
}

/// The first drawn of those with the least cost; a later one must have less than `part` of the best before it.
fn least(drawn: &Drawn, part: f64, cost: impl Fn(usize) -> f64) -> Option<usize> {
    let mut best: Option<(f64, usize)> = None;
    for &index in drawn.members() {
        let mine = cost(index);
        if best.is_none_or(|(least, _)| mine < least * part) {
            best = Some((mine, index));
        }
    }
    best.map(|(_, index)| index)
}
