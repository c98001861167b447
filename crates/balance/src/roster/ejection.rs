//! Passive ejection: a backend whose answers show that it is broken is out for a while, without any check.
//!
//! Three rules, each against the rest of the pool, so that what all suffer (a dependency, a poison request) ejects nobody:
//! failures in a row while others answer; a part of failed tries that is higher than that of the rest by a declared
//! distance and beyond chance; a median response time that is a declared multiple of the others'. Failures are refused
//! connections, resets and timeouts; a 5xx counts only in the comparison, and only while hardly any pick is forced by a
//! client's key or cookie, because a client that is bound to one backend could otherwise eject it.
//!
//! Bounds: never more than a third of a pool (one of a small pool), never fewer than `min_healthy` left; when checks take
//! others out meanwhile, ejected backends come back early. The time doubles with each ejection up to a limit and falls
//! back when a backend stays well for as long as that limit.
//!
//! Limits: counts come by the second, so "in a row" means seconds without a single answer: a backend that answers
//! every tenth request is found by the comparison, not by the row.

use std::collections::VecDeque;
use std::time::Duration;

use evenkeel_model::clock::Mono;
use evenkeel_model::config::{Ejection, Pool};
use evenkeel_model::ids::Name;
use evenkeel_model::tally::{BackendTally, Latency};

use super::{At, Roster, Stand, Turn, What};

/// Seconds that are looked at.
const WINDOW: usize = 10;
/// Tries on both sides below which nothing is compared.
const ENOUGH: u64 = 20;
/// Standard errors by which a difference must exceed chance.
const BEYOND_CHANCE: f64 = 3.0;
/// Part of forced picks from which on a 5xx says nothing of the backend.
const FORCED_MAX: f64 = 0.01;

/// What was counted of one backend in one second.
#[derive(Debug, Clone, Default)]
pub(super) struct Cell {
    /// Responses other than 5xx.
    fine: u64,
    /// Connect failures, resets before a head, timeouts.
    broken: u64,
    server_error: u64,
    forced: u64,
    picks: u64,
    latency: Latency,
}

impl Cell {
    /// Adds what `new` counts beyond `old`.
    pub(super) fn add(&mut self, new: &BackendTally, old: Option<&BackendTally>) {
        let none = BackendTally::default();
        let old = old.unwrap_or(&none);
        let more = new.outcomes.since(&old.outcomes);
        self.fine += more.ok + more.client_error;
        self.broken += more.connect_failed + more.reset + more.timeout;
        self.server_error += more.server_error;
        let forced = new.picks_forced.saturating_sub(old.picks_forced);
        self.forced += forced;
        self.picks += forced + new.picks_free.saturating_sub(old.picks_free);
        self.latency.add(&new.latency.since(&old.latency));
    }

    fn sum<'c>(cells: impl Iterator<Item = &'c Self>) -> Self {
        let mut sum = Self::default();
        for cell in cells {
            sum.fine += cell.fine;
            sum.broken += cell.broken;
            sum.server_error += cell.server_error;
            sum.forced += cell.forced;
            sum.picks += cell.picks;
            sum.latency.add(&cell.latency);
        }
        sum
    }

    const fn answered(&self) -> u64 {
        self.fine + self.server_error
    }

    const fn tries(&self) -> u64 {
        self.answered() + self.broken
    }
}

/// The last seconds of one backend.
#[derive(Debug, Clone, Default)]
pub(super) struct Window {
    cells: VecDeque<Cell>,
    /// The second under way.
    now: Cell,
    /// Failures since the last second with an answer.
    in_a_row: u64,
}

impl Window {
    pub(super) const fn now(&mut self) -> &mut Cell {
        &mut self.now
    }

    /// `by_clients`: clients force picks, so a 5xx says nothing of the backend.
    fn seconds(&self, by_clients: bool) -> Seconds {
        let mut seconds = Seconds::default();
        for (second, cell) in seconds.0.iter_mut().zip(self.cells.iter().rev()) {
            let failed = cell.broken + if by_clients { 0 } else { cell.server_error };
            *second = (cell.tries(), failed);
        }
        seconds
    }

    fn close(&mut self) {
        let cell = std::mem::take(&mut self.now);
        self.in_a_row = if cell.answered() > 0 {
            0
        } else {
            self.in_a_row + cell.broken
        };
        self.cells.push_back(cell);
        if self.cells.len() > WINDOW {
            self.cells.pop_front();
        }
    }
}

/// Tries, and how many of them failed, in each of the last seconds, newest first.
#[derive(Debug, Clone, Copy, Default)]
struct Seconds([(u64, u64); WINDOW]);

impl Seconds {
    fn add(&mut self, other: &Self) {
        for ((tries, failed), (more, more_failed)) in self.0.iter_mut().zip(other.0) {
            *tries += more;
            *failed += more_failed;
        }
    }
}

/// Past and present ejections of one backend.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    out: Option<(Mono, String)>,
    /// Ejections that count for the length of the next.
    count: u32,
    back_at: Mono,
}

impl Record {
    /// Until when it is out; `None`: it is not.
    pub(super) fn until(&self) -> Option<Mono> {
        self.out.as_ref().map(|(until, _)| *until)
    }

    pub(super) fn why(&self) -> &str {
        self.out.as_ref().map_or("", |(_, why)| why)
    }

    fn eject(&mut self, ejection: &Ejection, why: String, now: Mono) {
        if now.since(self.back_at) >= ejection.time_max {
            self.count = 0;
        }
        let time = ejection
            .time
            .saturating_mul(1 << self.count.min(16))
            .min(ejection.time_max);
        self.count += 1;
        self.out = Some((now.plus(time), why));
    }

    fn bring_back(&mut self, now: Mono) {
        self.out = None;
        self.back_at = now;
    }
}

/// A backend that a rule wants out.
struct Charge {
    name: Name,
    why: String,
    /// By how much it is worse, to take the worst first.
    weight: f64,
}

impl Roster {
    /// Closes the second: ends ejections, and ejects who shows to be broken, within the bounds.
    pub(super) fn judge(&mut self, pool: &Pool, at: At) -> Vec<Turn> {
        let Some(ejection) = &pool.ejection else {
            return Vec::new();
        };
        self.seats.values_mut().for_each(|seat| seat.window.close());
        let mut turns = self.returning(pool, at);
        let mut charges = self.charges(pool, ejection);
        charges.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        for charge in charges {
            // Those that a check took out meanwhile count too: they may come back up at any moment.
            let ejected = |seat: &&super::Seat| seat.record.until().is_some();
            let out = self.seats.values().filter(ejected).count();
            let left = self.count(pool, Stand::Up).saturating_sub(1);
            if out >= pool.ejections_max() || left < (pool.min_healthy as usize).max(1) {
                break;
            }
            let Some(seat) = self.seats.get_mut(&charge.name) else {
                continue;
            };
            seat.record.eject(ejection, charge.why.clone(), at.mono);
            seat.window = Window::default();
            let time = seat.record.until().unwrap_or(at.mono).since(at.mono);
            turns.push(Turn {
                backend: charge.name,
                what: What::Ejected,
                detail: format!("ejected for {} s: {}", time.as_secs(), charge.why),
                moves_traffic: true,
            });
        }
        turns
    }

    /// Who comes back: by time, or early because too few others are left.
    fn returning(&mut self, pool: &Pool, at: At) -> Vec<Turn> {
        let mut turns = Vec::new();
        loop {
            let up = self.count(pool, Stand::Up);
            let is_short = up < (pool.min_healthy as usize).max(1);
            let out = self.seats.iter().filter(|(_, seat)| seat.drain.is_none());
            let out = out.filter_map(|(name, seat)| Some((seat.record.until()?, name)));
            let Some((until, name)) = out.min() else {
                break;
            };
            let name = name.clone();
            let is_over = until <= at.mono;
            let is_needed = is_short && self.stands(pool, &name) == Stand::Ejected;
            if !is_over && !is_needed {
                break;
            }
            if let Some(seat) = self.seats.get_mut(&name) {
                seat.record.bring_back(at.mono);
                seat.window = Window::default();
                seat.begin_warm(pool, at);
            }
            let detail = if is_over {
                "its ejection is over"
            } else {
                "back before its time: too few others are healthy"
            };
            turns.push(Turn {
                what: What::Returned,
                detail: detail.to_owned(),
                // Its check may have found it down meanwhile.
                moves_traffic: self.stands(pool, &name) == Stand::Up,
                backend: name,
            });
        }
        turns
    }

    fn stands(&self, pool: &Pool, name: &Name) -> Stand {
        let found = pool.backend(name.as_str());
        found.map_or(Stand::Up, |(index, _)| self.stand(pool, index))
    }

    /// Backends with weight that stand so.
    pub(super) fn count(&self, pool: &Pool, stand: Stand) -> usize {
        let backends = pool.backends.iter().enumerate();
        backends
            .filter(|(index, b)| b.weight > 0 && self.stand(pool, *index) == stand)
            .count()
    }

    fn charges(&self, pool: &Pool, ejection: &Ejection) -> Vec<Charge> {
        let mut seats = Vec::new();
        for (index, backend) in pool.backends.iter().enumerate() {
            let stands = self.stand(pool, index) == Stand::Up && backend.weight > 0;
            if let Some(seat) = self.seats.get(&backend.name).filter(|_| stands) {
                let sum = Cell::sum(seat.window.cells.iter());
                seats.push((&backend.name, &seat.window, sum));
            }
        }
        if seats.len() < 2 {
            return Vec::new();
        }
        let all = Cell::sum(seats.iter().map(|(_, _, cell)| cell));
        let by_clients = all.forced as f64 > FORCED_MAX * all.picks as f64;
        let seconds = seats.iter().map(|(_, w, _)| w.seconds(by_clients));
        let seconds: Vec<Seconds> = seconds.collect();
        let mut pool_seconds = Seconds::default();
        for theirs in &seconds {
            pool_seconds.add(theirs);
        }
        let medians: Vec<Option<u64>> = seats
            .iter()
            .map(|(_, _, cell)| {
                let enough = cell.latency.count() >= ENOUGH;
                enough.then(|| cell.latency.quantile_us(0.5)).flatten()
            })
            .collect();
        let mut charges = Vec::new();
        for (index, ((name, window, mine), seconds)) in seats.iter().zip(&seconds).enumerate() {
            let found = in_a_row_of(ejection, window.in_a_row, mine, &all)
                .or_else(|| worse_than_rest(ejection, seconds, &pool_seconds))
                .or_else(|| slower_than_rest(ejection, index, &medians));
            charges.extend(found.map(|(weight, why)| Charge {
                name: (*name).clone(),
                why,
                weight,
            }));
        }
        charges
    }
}

/// Failures in a row, while the rest of the pool answers more than it fails.
fn in_a_row_of(
    ejection: &Ejection,
    in_a_row: u64,
    mine: &Cell,
    all: &Cell,
) -> Option<(f64, String)> {
    let rest_answered = all.answered() - mine.answered();
    let rest_broken = all.broken - mine.broken;
    let fails = in_a_row >= u64::from(ejection.consecutive) && rest_broken <= rest_answered;
    fails.then(|| {
        let why = format!("{in_a_row} failures in a row, the rest of the pool answers");
        (2.0, why)
    })
}

/// A part of failed tries that is worse than that of the rest by the declared distance, and beyond chance.
///
/// Each second is compared with the same second of the rest, and only the differences are added up (Mantel and Haenszel):
/// windows that began at different times would else compare a fault that all shared with the quiet after it.
fn worse_than_rest(ejection: &Ejection, mine: &Seconds, pool: &Seconds) -> Option<(f64, String)> {
    let (mut tries, mut rest_tries, mut failed) = (0.0, 0.0, 0.0);
    let (mut weight, mut excess, mut variance) = (0.0, 0.0, 0.0);
    for ((n, bad), (all, all_bad)) in mine.0.iter().zip(&pool.0) {
        let (n, bad, all, all_bad) = (*n as f64, *bad as f64, *all as f64, *all_bad as f64);
        let rest = all - n;
        if n < 1.0 || rest < 1.0 {
            continue;
        }
        tries += n;
        rest_tries += rest;
        failed += bad;
        weight += n * rest / all;
        excess += bad - n * all_bad / all;
        variance += n * rest * all_bad * (all - all_bad) / (all * all * (all - 1.0));
    }
    if tries < ENOUGH as f64 || rest_tries < ENOUGH as f64 {
        return None;
    }
    let apart = excess / weight;
    let is_worse =
        apart >= ejection.success_rate.as_f64() && excess > BEYOND_CHANCE * variance.sqrt();
    is_worse.then(|| {
        let bad = failed / tries;
        let why = format!(
            "{:.0} % of its requests fail, {:.0} % on the rest of the pool",
            bad * 100.0,
            (bad - apart).max(0.0) * 100.0
        );
        (1.0 + apart, why)
    })
}

/// A median response time that is a multiple of the others'.
fn slower_than_rest(
    ejection: &Ejection,
    index: usize,
    medians: &[Option<u64>],
) -> Option<(f64, String)> {
    let (factor, mine) = (ejection.latency?, (*medians.get(index)?)?);
    let others = medians.iter().enumerate().filter(|(i, _)| *i != index);
    let mut others: Vec<u64> = others.filter_map(|(_, median)| *median).collect();
    others.sort_unstable();
    let typical = *others.get(others.len() / 2)?;
    let times = mine as f64 / (typical as f64).max(1.0);
    (times > factor).then(|| {
        let us = |us: u64| Duration::from_micros(us).as_secs_f64() * 1e3;
        let why = format!(
            "a median of {:.0} ms, {:.0} ms on the rest of the pool",
            us(mine),
            us(typical)
        );
        (1.0 - 1.0 / times, why)
    })
}
