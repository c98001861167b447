//! Is one backend (or version, or zone) slower or failing more than the rest.
//!
//! Two-sample by exchangeability: under the null the members of a tick are alike, so given the
//! tick's pooled counts the hits of one member are hypergeometric. The exponential tilt of a
//! hypergeometric count is at most that of a binomial with the pooled rate (Hoeffding 1963), hence the
//! e-value of a binomial against the pooled rate of the same tick is valid, and a slowdown that all share
//! is no shift. Latency becomes a count by asking who exceeds the pooled quantile of the same tick.
//! The `margin` widens the null: odds up to that factor above the pooled ones are tolerated.
//! Exact at margin 1; beyond it the binomial form is an approximation that errs to the quiet side
//! as long as no member carries most of the traffic.
//!
//! Blind spots: a member that carries nearly all traffic is the pool and cannot differ from it; with
//! two members, "one is worse" and "the other is better" are the same fact.

use evenkeel_model::tally::{LATENCY_BUCKETS, Latency};

use crate::arl::Arl;
use crate::bank::{Direction, Latch, Limits, Ratios, Side};
use crate::special::{count_ln, ln, ln_beta};

/// Hits and trials of one member in one tick (or window).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Failed, or slower than the pooled quantile.
    pub hits: u64,
    /// Out of how many.
    pub of: u64,
}

/// The evidence about one member.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShiftEvidence {
    /// Evidence that it is worse than the rest, nats; its own e-detector.
    pub log_e: f64,
    /// The alarm is up: its own evidence, averaged over the members, crossed the threshold.
    pub alarm: bool,
}

/// The sequential test of several members against each other.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct ShiftTest {
    margin: f64,
    log_threshold: f64,
    limits: Limits,
    members: Vec<(Side, Latch)>,
}

impl ShiftTest {
    /// A test of `members` members; `margin` (at least 1) is the tolerated ratio of odds to the pooled rate.
    pub fn new(members: usize, margin: f64, arl: Arl) -> Self {
        // Each member alarms by itself at K times the threshold: the average over members has crossed it.
        let log_threshold = arl.log_threshold() + ln(members.max(1) as f64);
        Self {
            margin: margin.max(1.0),
            log_threshold,
            limits: Limits::new(log_threshold, 1, f64::INFINITY),
            members: vec![(Side::new(), Latch::new()); members],
        }
    }

    /// Takes the counts of one tick, one per member.
    pub fn tick(&mut self, counts: &[Count]) -> Vec<ShiftEvidence> {
        let pooled = pool(counts);
        let rate = pooled.hits as f64 / pooled.of.max(1) as f64;
        let boundary = self.margin * rate / (1.0 - rate + self.margin * rate);
        // Nobody or everybody hit: the tick cannot tell the members apart.
        let ratios = if pooled.hits == 0 || pooled.hits == pooled.of {
            None
        } else {
            Ratios::new(boundary, Direction::Above)
        };
        for ((side, latch), count) in self.members.iter_mut().zip(counts) {
            if let Some(ratios) = &ratios
                && count.of < pooled.of
            {
                let hits = count.hits.min(count.of) as f64;
                side.step(ratios, hits, count.of as f64, self.limits);
            }
            latch.update(ln(side.mean()), self.log_threshold);
        }
        self.evidence()
    }

    /// The evidence after the last tick.
    pub fn evidence(&self) -> Vec<ShiftEvidence> {
        let members = self.members.iter();
        members
            .map(|(side, latch)| ShiftEvidence {
                log_e: ln(side.mean()),
                alarm: latch.raised(),
            })
            .collect()
    }

    /// Where a member alarms, nats.
    pub const fn log_threshold(&self) -> f64 {
        self.log_threshold
    }
}

/// Who exceeded the pooled `quantile` (0.5: median) of the same tick: the input of [`ShiftTest::tick`] for latency.
/// All zero when there is nothing to compare.
pub fn latency_counts(members: &[Latency], quantile: f64) -> Vec<Count> {
    let mut pooled = Latency::default();
    for member in members {
        pooled.add(member);
    }
    let wanted = quantile.clamp(0.0, 1.0) * pooled.count() as f64;
    let mut below = 0u64;
    let mut edge = LATENCY_BUCKETS;
    for (index, count) in pooled.buckets.iter().enumerate() {
        below += u64::from(*count);
        if below as f64 >= wanted {
            edge = index + 1;
            break;
        }
    }
    members
        .iter()
        .map(|member| Count {
            hits: member
                .buckets
                .iter()
                .skip(edge)
                .map(|n| u64::from(*n))
                .sum(),
            of: member.count(),
        })
        .collect()
}

/// What two samples say of each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// Log Bayes factor (nats) of "two rates" to "one rate"; positive speaks for a difference.
    pub log_e: f64,
    /// Rate of the first sample; `None` without trials.
    pub rate: Option<f64>,
    /// Rate of the second.
    pub rest: Option<f64>,
}

impl Comparison {
    /// The first has the higher rate.
    pub fn worse(&self) -> bool {
        matches!((self.rate, self.rest), (Some(a), Some(b)) if a > b)
    }
}

/// Compares two windows of counts: the marginal likelihood with two rates over that with one
/// (uniform priors). For ranking causes over a closed window; it grows slowly negative when the
/// rates agree.
pub fn compare(one: Count, rest: Count) -> Comparison {
    let marginal = |c: Count| {
        let (s, n) = (c.hits.min(c.of) as f64, c.of as f64);
        ln_beta(1.0 + s, 1.0 + n - s)
    };
    let rate = |c: Count| (c.of > 0).then(|| c.hits.min(c.of) as f64 / c.of as f64);
    Comparison {
        log_e: marginal(one) + marginal(rest) - marginal(pool(&[one, rest])),
        rate: rate(one),
        rest: rate(rest),
    }
}

/// Compares two windows of response times by who exceeds their pooled `quantile`.
pub fn compare_latency(one: &Latency, rest: &Latency, quantile: f64) -> Comparison {
    let counts = latency_counts(&[one.clone(), rest.clone()], quantile);
    match counts.as_slice() {
        [one, rest] => compare(*one, *rest),
        _ => compare(Count::default(), Count::default()),
    }
}

/// Log-likelihood (nats) of `hits` in `of` at `rate` less that at `other`: which of two predicted rates the
/// counts speak for.
pub fn log_ratio(count: Count, rate: f64, other: f64) -> f64 {
    let (s, n) = (count.hits.min(count.of) as f64, count.of as f64);
    let at = |p: f64| count_ln(s, p) + count_ln(n - s, 1.0 - p);
    at(rate) - at(other)
}

fn pool(counts: &[Count]) -> Count {
    counts.iter().fold(Count::default(), |sum, count| Count {
        hits: sum.hits + count.hits.min(count.of),
        of: sum.of + count.of,
    })
}
