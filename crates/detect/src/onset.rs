//! When did it begin: the posterior of one change point in a series of per-tick counts.
//!
//! Model: `hits` of `of` per tick are binomial with one unknown rate before the change and another
//! after it, both with a Jeffreys prior, and every tick is equally likely to be the first changed
//! one. The marginal likelihoods are closed forms (beta functions), so the posterior is exact.
//! The interval is the shortest run of ticks around the best one that holds 95 %, widened by the tick in
//! which the change may have fallen: a fault in the middle of a tick changes only part of it.
//!
//! Limits: one change; a slow ramp gets a wide interval; resolution is a tick; a change before the
//! series shows as its first tick.

use evenkeel_model::clock::Mono;

use crate::special::{exp, ln_beta};

/// Most ticks that one estimate looks back over: five minutes of seconds.
pub const TICKS_MAX: usize = 300;

/// Posterior mass of the interval.
const MASS: f64 = 0.95;

/// Counts of one tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TickCount {
    /// End of the tick.
    pub at: Mono,
    /// What is counted (picks of one backend, harmed requests).
    pub hits: u64,
    /// Out of how many.
    pub of: u64,
}

/// When a change began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Onset {
    /// Earliest plausible moment (95 % interval).
    pub lo: Mono,
    /// Most likely moment: the start of the first changed tick.
    pub best: Mono,
    /// Latest plausible moment.
    pub hi: Mono,
}

/// The onset of the change in the last [`TICKS_MAX`] of `ticks` (oldest first). `since` is the start of the
/// first of them. `None` when nothing was counted.
pub fn change_point(ticks: &[TickCount], since: Mono) -> Option<Onset> {
    let skipped = ticks.len().saturating_sub(TICKS_MAX);
    let start = skipped
        .checked_sub(1)
        .and_then(|last| ticks.get(last))
        .map_or(since, |tick| tick.at);
    let ticks = ticks.get(skipped..)?;
    let scores = scores(ticks)?;
    let (best, lo, hi) = credible(&scores)?;
    let starts = |index: usize| match index.checked_sub(1).and_then(|i| ticks.get(i)) {
        Some(tick) => tick.at,
        None => start,
    };
    Some(Onset {
        lo: starts(lo.saturating_sub(1)),
        best: starts(best),
        hi: starts(hi + 1),
    })
}

/// Log posterior (up to a constant) that the change began with tick i.
fn scores(ticks: &[TickCount]) -> Option<Vec<f64>> {
    let total = ticks.iter().fold((0.0, 0.0), |sum, tick| add(sum, *tick));
    if total.1 <= 0.0 {
        return None;
    }
    let mut before = (0.0, 0.0);
    let mut scores = Vec::with_capacity(ticks.len());
    for tick in ticks {
        let after = (total.0 - before.0, total.1 - before.1);
        scores.push(log_marginal(before) + log_marginal(after));
        before = add(before, *tick);
    }
    Some(scores)
}

fn add(sum: (f64, f64), tick: TickCount) -> (f64, f64) {
    (
        sum.0 + tick.hits.min(tick.of) as f64,
        sum.1 + tick.of as f64,
    )
}

/// Log probability of counts with the rate integrated out.
fn log_marginal((hits, of): (f64, f64)) -> f64 {
    ln_beta(0.5 + hits, 0.5 + of - hits) - ln_beta(0.5, 0.5)
}

/// Best index and the run around it that holds [`MASS`].
fn credible(scores: &[f64]) -> Option<(usize, usize, usize)> {
    let (best, top) = scores
        .iter()
        .copied()
        .enumerate()
        .max_by(|a, b| a.1.total_cmp(&b.1))?;
    let mass: Vec<f64> = scores.iter().map(|score| exp(score - top)).collect();
    let wanted = MASS * mass.iter().sum::<f64>();
    let (mut lo, mut hi) = (best, best);
    let mut held = 1.0;
    while held < wanted {
        let left = lo.checked_sub(1).and_then(|i| mass.get(i)).copied();
        let right = mass.get(hi + 1).copied();
        match (left, right) {
            (None, None) => break,
            (Some(more), None) => {
                lo -= 1;
                held += more;
            }
            (Some(more), Some(less)) if more >= less => {
                lo -= 1;
                held += more;
            }
            (_, Some(more)) => {
                hi += 1;
                held += more;
            }
        }
    }
    Some((best, lo, hi))
}
