//! How many requests at once a backend bears, found out from its response times.
//!
//! What is asked is: does the backend answer sooner when it holds half as many? If it works on everything at once that it
//! holds, half as many take as long each. If requests queue in it, half as many wait half as long. So the limit goes in
//! turns: for one cohort of requests it is whole, for the next it is halved, and then
//!
//! `limit' = GAIN x limit x (mean time under half the limit / mean time under the whole limit) + SPARE`
//!
//! With `c` slots in the backend that settles near `GAIN x c`, with half of it near `c`: the turns at half the limit cost
//! next to nothing. By Little's law the ratio is that of throughput per request held; the limit stops growing where a tenth
//! more of it would bring less than about a fiftieth more throughput.
//!
//! This is the gradient of Envoy's adaptive concurrency, with one difference: the time of the backend without load is not
//! remembered. Both times are of the last few hundred requests, so a backend that slows down (all at once, for every
//! request) does not look loaded, and the limit does not fall to the floor until somebody measures anew.
//!
//! Both times are means over fixed cohorts: those that *began* under that limit, all of them. The first to *end* would be
//! the quick ones. Who did not end by [`CUT`] times the mean counts as so long, in both cohorts alike. A cohort takes only
//! requests that find the limit nearly used; without pressure nothing is learnt and nothing changes.
//!
//! Failures let the limit fall and never grow, and count for at least as long as an answer.
//!
//! Limits: what it learns in one turn is a ratio of means of [`SAMPLES`] and more requests. Where service times vary as
//! much as 200 ms in one of ten and 10 ms else, that is within a fifth, and the limit wanders by as much. Below
//! `SPARE / (1 - GAIN x HALF)` = 10 it hardly falls, so a backend with one slot holds up to ten. A few requests a second
//! take minutes to learn from.

use std::time::Duration;

use evenkeel_model::clock::Mono;
use evenkeel_model::config::Adaptive;

use crate::How;

/// The limit at the start, before anything is known.
pub const START: u32 = 8;
/// Requests in a cohort, at least.
pub const SAMPLES: u32 = 100;
/// Once the limit has settled the cohort under the whole of it is so many times as large: the other costs throughput.
pub const REST: u32 = 12;
/// Part of the limit for the other cohort.
pub const HALF: f64 = 0.5;
/// Requests held for each that is worked on. `GAIN x HALF` is below 1, else a limit that is far too high would stay.
pub const GAIN: f64 = 1.8;
/// Held beyond that, so that a backend with few slots never waits for the next request.
pub const SPARE: f64 = 1.0;
/// The limit changes at most by these factors in one turn.
pub const STEP: (f64, f64) = (0.5, 2.0);
/// A step farther from 1 than this, either way, is taken for the way to another limit; the next turn is a short one.
pub const SETTLED: f64 = 1.35;
/// A request counts that finds so much of the limit in use, itself included.
pub const PRESSED: f64 = 0.8;
/// Times the mean response time at which a request is counted as it stands.
pub const CUT: f64 = 5.0;
/// The same before anything is known, and at most.
pub const CUT_MAX: Duration = Duration::from_secs(10);
/// A mean above this part of the cut tells nothing.
pub const CUT_TELLS: f64 = 0.5;
/// From such a part of failures on the limit does not grow.
pub const FAILED_STOPS: f64 = 0.1;
/// From such a part of failures on it is halved.
pub const FAILED_HALVES: f64 = 0.5;

/// Which cohort a request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    turn: u32,
    is_half: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Whole,
    Half,
    /// Under the whole limit again, until all have ended or this moment.
    Wait(Mono),
}

/// The requests that began under one limit.
#[derive(Debug, Clone, Copy, Default)]
struct Cohort {
    begun: u32,
    ended: u32,
    failed: u32,
    sum_ns: f64,
    /// `ended` and `failed` at the last whole [`SAMPLES`].
    looked: (u32, u32),
}

impl Cohort {
    /// Mean time; whoever is still out counts as `cut_ns`.
    fn mean_ns(&self, cut_ns: f64) -> f64 {
        let out = f64::from(self.begun.saturating_sub(self.ended));
        (self.sum_ns + out * cut_ns) / f64::from(self.begun.max(1))
    }

    fn ended(&mut self, ns: f64, cut_ns: f64, how: How) {
        let least = match how {
            How::Good | How::Rejected => 0.0,
            // They would have taken longer, or gain nothing by being quick.
            How::Failed | How::Aborted | How::Overtaken => {
                self.sum_ns / f64::from(self.ended.max(1))
            }
        };
        self.ended += 1;
        self.failed += u32::from(how == How::Failed);
        self.sum_ns += ns.max(least).min(cut_ns);
    }

    const fn is_complete(&self) -> bool {
        self.ended >= self.begun
    }

    /// Whether the last [`SAMPLES`] mostly failed; looks whenever so many more have ended.
    fn mostly_fails(&mut self) -> bool {
        let (ended, failed) = self.looked;
        let (ended, failed) = (self.ended - ended, self.failed.saturating_sub(failed));
        if ended < SAMPLES {
            return false;
        }
        self.looked = (self.ended, self.failed);
        f64::from(failed) >= FAILED_HALVES * f64::from(ended)
    }
}

/// The limit of one backend.
#[derive(Debug, Clone)]
pub struct Limiter {
    bounds: Adaptive,
    limit: f64,
    turn: u32,
    phase: Phase,
    whole: Cohort,
    half: Cohort,
    cut_ns: f64,
    is_settled: bool,
}

impl Default for Limiter {
    fn default() -> Self {
        Self::new(Adaptive::default())
    }
}

impl Limiter {
    /// One that knows nothing yet.
    pub fn new(bounds: Adaptive) -> Self {
        let mut limiter = Self {
            bounds,
            limit: f64::from(START),
            turn: 0,
            phase: Phase::Whole,
            whole: Cohort::default(),
            half: Cohort::default(),
            cut_ns: CUT_MAX.as_nanos() as f64,
            is_settled: false,
        };
        limiter.bound(bounds);
        limiter
    }

    /// Keeps within `bounds` from now on.
    pub fn bound(&mut self, bounds: Adaptive) {
        self.bounds = bounds;
        self.limit = self.held_to(self.limit);
    }

    fn held_to(&self, limit: f64) -> f64 {
        let (min, max) = (self.bounds.min, self.bounds.max);
        limit.min(f64::from(max)).max(f64::from(min))
    }

    /// The limit that was found.
    pub fn limit(&self) -> u32 {
        self.limit.round() as u32
    }

    /// What may be in flight now: the limit, or half of it in its turn, though at least 1 and the lower bound.
    pub fn level(&self) -> u32 {
        match self.phase {
            Phase::Half => {
                let half = (self.limit * HALF).round() as u32;
                half.max(self.bounds.min).max(1).min(self.limit())
            }
            Phase::Whole | Phase::Wait(_) => self.limit(),
        }
    }

    /// A request begins, with `in_flight` at the backend, itself included. `None`: nothing is learnt from it.
    pub fn begun(&mut self, in_flight: u32) -> Option<Ticket> {
        let is_pressed = f64::from(in_flight) >= PRESSED * f64::from(self.level());
        let (cohort, is_half) = match self.phase {
            Phase::Whole => (&mut self.whole, false),
            Phase::Half => (&mut self.half, true),
            Phase::Wait(_) => return None,
        };
        is_pressed.then(|| {
            cohort.begun += 1;
            Ticket {
                turn: self.turn,
                is_half,
            }
        })
    }

    /// A request was answered, failed or was given up after `took`. Returns whether more may be in flight than before.
    pub fn ended(&mut self, now: Mono, ticket: Ticket, took: Duration, how: How) -> bool {
        let cut_ns = self.cut_ns;
        let mut fails = false;
        if let Some(cohort) = self.cohort(ticket) {
            cohort.ended(took.as_nanos() as f64, cut_ns, how);
            fails = cohort.mostly_fails();
        }
        if fails {
            self.give_up();
            return false;
        }
        self.turned(now)
    }

    /// A request that had ended well broke off later on: it failed after all.
    pub fn broke(&mut self, ticket: Ticket) {
        if let Some(cohort) = self.cohort(ticket) {
            cohort.failed += 1;
        }
    }

    /// Where it belongs, if that is still open.
    fn cohort(&mut self, ticket: Ticket) -> Option<&mut Cohort> {
        let cohort = if ticket.is_half {
            &mut self.half
        } else {
            &mut self.whole
        };
        (ticket.turn == self.turn).then_some(cohort)
    }

    /// Goes on to the next phase where this one is done; to be called as well when a request ends that has no ticket.
    /// Returns whether more may be in flight than before.
    pub fn turned(&mut self, now: Mono) -> bool {
        let before = self.level();
        let wanted = if self.is_settled { REST } else { 1 } * SAMPLES;
        match self.phase {
            Phase::Whole if self.whole.begun >= wanted => self.phase = Phase::Half,
            Phase::Half if self.half.begun >= SAMPLES => {
                let cut = Duration::from_nanos(self.cut_ns as u64);
                self.phase = Phase::Wait(now.plus(cut));
            }
            Phase::Wait(until) => {
                if now >= until || (self.whole.is_complete() && self.half.is_complete()) {
                    self.close();
                }
            }
            Phase::Whole | Phase::Half => {}
        }
        self.level() > before
    }

    /// Ends the turn before its time: most of it fails, and a settled turn would go on for a thousand requests, to be
    /// counted against a backend that may be well again by then.
    fn give_up(&mut self) {
        (self.whole, self.half) = (Cohort::default(), Cohort::default());
        self.limit = self.held_to(f64::from(self.limit()) * STEP.0);
        self.is_settled = false;
        self.begin();
    }

    fn begin(&mut self) {
        self.turn = self.turn.wrapping_add(1);
        self.phase = Phase::Whole;
    }

    fn close(&mut self) {
        let (whole, half) = (
            std::mem::take(&mut self.whole),
            std::mem::take(&mut self.half),
        );
        let whole_ns = whole.mean_ns(self.cut_ns).max(1.0);
        let half_ns = half.mean_ns(self.cut_ns);
        let mut step = (GAIN * half_ns / whole_ns).clamp(STEP.0, STEP.1);
        // So slow that most were cut off: the cut was too soon to tell one from the other.
        if half_ns >= CUT_TELLS * self.cut_ns {
            step = step.min(1.0);
        }
        let limit = f64::from(self.limit());
        let found = limit * step + SPARE;
        let failed =
            f64::from(whole.failed + half.failed) / f64::from((whole.begun + half.begun).max(1));
        let next = if failed >= FAILED_HALVES {
            limit * STEP.0
        } else if failed >= FAILED_STOPS {
            found.min(limit)
        } else {
            found
        };
        self.limit = self.held_to(next);
        self.is_settled = step < SETTLED && step > 1.0 / SETTLED;
        self.cut_ns = (CUT * whole_ns).min(CUT_MAX.as_nanos() as f64);
        self.begin();
    }
}

#[cfg(test)]
mod tests {
    use super::{CUT_MAX, Limiter, SAMPLES, START, Ticket};
    use crate::How;
    use evenkeel_model::clock::Mono;
    use evenkeel_model::config::Adaptive;
    use proptest::prelude::*;
    use std::time::Duration;

    const MS: Duration = Duration::from_millis(1);

    /// Lets cohorts begin and end at `now` until the limit was set anew.
    fn one_turn(limiter: &mut Limiter, now: Mono, took: impl Fn(u32) -> (Duration, How)) {
        let turn = limiter.turn;
        while limiter.turn == turn {
            let level = limiter.level();
            let ticket = limiter.begun(level);
            let (took, how) = took(level);
            match ticket {
                Some(ticket) => limiter.ended(now, ticket, took, how),
                None => limiter.turned(now),
            };
        }
    }

    #[test]
    fn it_grows_while_half_as_many_take_as_long_and_falls_while_they_take_half_as_long() {
        let mut limiter = Limiter::default();
        one_turn(&mut limiter, Mono::ZERO, |_| (MS, How::Good));
        let grown = limiter.limit();
        assert!(grown > START, "{grown}");
        for _ in 0..10 {
            one_turn(&mut limiter, Mono::ZERO, |_| (MS, How::Good));
        }
        assert_eq!(limiter.limit(), Adaptive::default().max);
        one_turn(&mut limiter, Mono::ZERO, |level| {
            (MS * level / 300, How::Good)
        });
        assert!(limiter.limit() < Adaptive::default().max);
    }

    #[test]
    fn a_backend_that_slows_down_as_a_whole_keeps_its_limit() {
        let mut limiter = Limiter::default();
        let of = |ms: u32| move |level: u32| (MS * ms * level.max(20), How::Good);
        (0..20).for_each(|_| one_turn(&mut limiter, Mono::ZERO, of(1)));
        let before = limiter.limit();
        (0..20).for_each(|_| one_turn(&mut limiter, Mono::ZERO, of(50)));
        assert!((34..=40).contains(&before), "{before} for 20 slots");
        assert_eq!(limiter.limit(), before);
    }

    #[test]
    fn a_backend_that_nearly_stops_gains_nothing_by_it() {
        let mut limiter = Limiter::default();
        (0..4).for_each(|_| one_turn(&mut limiter, Mono::ZERO, |_| (MS, How::Good)));
        let before = limiter.limit();
        one_turn(&mut limiter, Mono::ZERO, |level| {
            (MS * 50 * level, How::Good)
        });
        assert!(limiter.limit() <= before + 1);
    }

    #[test]
    fn who_fails_fast_gains_nothing() {
        let mut limiter = Limiter::default();
        (0..4).for_each(|_| one_turn(&mut limiter, Mono::ZERO, |_| (MS, How::Good)));
        let before = limiter.limit();
        // Quicker the more it holds.
        let fails = |level: u32| (Duration::from_micros(100) / level, How::Failed);
        one_turn(&mut limiter, Mono::ZERO, fails);
        assert_eq!(limiter.limit(), before.div_ceil(2));
        (0..20).for_each(|_| one_turn(&mut limiter, Mono::ZERO, fails));
        assert_eq!(limiter.limit(), Adaptive::default().min);
    }

    #[test]
    fn a_settled_limit_does_not_wait_a_whole_turn_to_see_that_most_fails() {
        let mut limiter = Limiter::default();
        let slots = |level: u32| (MS * level.max(4), How::Good);
        (0..20).for_each(|_| one_turn(&mut limiter, Mono::ZERO, slots));
        let (settled, turn) = (limiter.limit(), limiter.turn);
        assert!(limiter.is_settled && settled > 4, "{settled}");
        let tries = |limiter: &mut Limiter, count: u32, how: How| {
            for _ in 0..count {
                let level = limiter.level();
                let ticket = limiter.begun(level).unwrap();
                limiter.ended(Mono::ZERO, ticket, MS * level.max(4), how);
            }
        };
        // What was good before hides nothing, and one in three halves nothing.
        tries(&mut limiter, 3 * SAMPLES, How::Good);
        for _ in 0..SAMPLES / 3 {
            tries(&mut limiter, 1, How::Failed);
            tries(&mut limiter, 2, How::Good);
        }
        tries(&mut limiter, 1, How::Good);
        assert_eq!((limiter.limit(), limiter.turn), (settled, turn));
        tries(&mut limiter, SAMPLES, How::Failed);
        assert_eq!(limiter.limit(), (settled / 2).max(Adaptive::default().min));
        // Well again it is not blamed for it any more, and finds its limit in a few turns.
        (0..4).for_each(|_| one_turn(&mut limiter, Mono::ZERO, slots));
        assert!(
            limiter.limit().abs_diff(settled) <= 1,
            "{}",
            limiter.limit()
        );
    }

    #[test]
    fn answers_that_break_off_are_failures() {
        let mut limiter = Limiter::default();
        while limiter.turn == 0 {
            let level = limiter.level();
            let Some(ticket) = limiter.begun(level) else {
                limiter.turned(Mono::ZERO);
                continue;
            };
            limiter.ended(Mono::ZERO, ticket, MS, How::Good);
            limiter.broke(ticket);
        }
        assert_eq!(limiter.limit(), START / 2);
    }

    #[test]
    fn who_fails_sometimes_does_not_grow() {
        let mut limiter = Limiter::default();
        let seen = std::cell::Cell::new(0u32);
        let fails = |_| {
            seen.set(seen.get() + 1);
            let how = if seen.get().is_multiple_of(5) {
                How::Failed
            } else {
                How::Good
            };
            (MS, how)
        };
        (0..5).for_each(|_| one_turn(&mut limiter, Mono::ZERO, fails));
        assert_eq!(limiter.limit(), START);
    }

    #[test]
    fn without_pressure_nothing_is_learnt() {
        let mut limiter = Limiter::default();
        for n in 0..10_000u64 {
            assert_eq!(limiter.begun(1 + (n % 4) as u32), None);
            limiter.turned(Mono::from_millis(n));
        }
        assert_eq!(limiter.limit(), START);
    }

    #[test]
    fn requests_that_never_end_hold_nothing_up() {
        let mut limiter = Limiter::default();
        for _ in 0..SAMPLES {
            assert!(limiter.begun(START).is_some());
        }
        limiter.turned(Mono::ZERO);
        assert_eq!(limiter.level(), START / 2);
        for _ in 0..SAMPLES {
            assert!(limiter.begun(START).is_some());
        }
        assert!(limiter.turned(Mono::ZERO), "whole again");
        assert!(!limiter.turned(Mono::ZERO));
        assert_eq!(limiter.turn, 0);
        limiter.turned(Mono::ZERO.plus(CUT_MAX));
        assert_eq!(limiter.turn, 1);
    }

    #[test]
    fn who_ends_after_its_turn_is_not_counted() {
        let mut limiter = Limiter::default();
        let late = limiter.begun(START).unwrap();
        limiter.whole = super::Cohort::default();
        one_turn(&mut limiter, Mono::ZERO, |_| (MS, How::Good));
        limiter.ended(Mono::ZERO, late, CUT_MAX, How::Failed);
        assert_eq!((limiter.whole.ended, limiter.whole.failed), (0, 0));
    }

    #[test]
    fn new_bounds_hold_at_once() {
        let mut limiter = Limiter::default();
        limiter.bound(Adaptive { min: 20, max: 30 });
        assert_eq!((limiter.limit(), limiter.level()), (20, 20));
        limiter.bound(Adaptive { min: 1, max: 5 });
        assert_eq!(limiter.limit(), 5);
    }

    proptest! {
        #[test]
        fn the_limit_stays_within_its_bounds_whatever_comes(
            (min, max) in (1u32..20, 0u32..2_000).prop_map(|(min, more)| (min, min + more)),
            tries in prop::collection::vec((0u64..200_000_000, 0u64..10_000_000_000, 0u32..2_000, 0usize..5), 0..3_000)
        ) {
            let (mut limiter, mut now) = (Limiter::new(Adaptive { min, max }), Mono::ZERO);
            let mut out: Vec<Ticket> = Vec::new();
            for (later, took, in_flight, how) in tries {
                now = now.plus(Duration::from_nanos(later));
                out.extend(limiter.begun(in_flight));
                let hows = [How::Good, How::Rejected, How::Failed, How::Aborted, How::Overtaken];
                if how < 4 && let Some(ticket) = out.pop() {
                    limiter.ended(now, ticket, Duration::from_nanos(took), hows[how]);
                }
                prop_assert!((min..=max).contains(&limiter.limit()));
                prop_assert!((1..=limiter.limit()).contains(&limiter.level()));
            }
        }
    }
}
