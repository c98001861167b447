//! What the evidence says before anybody is blamed: loads, who is overloaded, who fails or is slow, and how sure.
//!
//! A backend counts as overloaded when its measured load is at [`OVERLOAD`] of its declared capacity or more and
//! rose since before: then load alone explains that it is slow or fails, and no version has to. Under an
//! algorithm that follows the load (`least_request`) a backend draws its load by how it behaves, so one
//! backend's load explains nothing unless the whole pool is beyond its capacity.

use std::time::Duration;

use evenkeel_balance::{Member, expected_shares};
use evenkeel_model::config::Pool;
use evenkeel_model::tally::{LATENCY_BUCKETS, Latency, Outcomes};

use crate::evidence::{BackendWindow, EpochFact, Evidence, OutReason, Window};
use crate::index::Index;
use crate::score::Signal;

/// Share of its capacity from which on a backend's load explains its failures.
pub(crate) const OVERLOAD: f64 = 0.95;
/// Growth of a load that can make a backend worse.
pub(crate) const LOAD_RISE: f64 = 1.2;
/// Growth below which a load is the same: it was as high before and did no harm.
const RISE_MIN: f64 = 1.1;
/// Growth of a load that half explains failures where no capacity says more.
const LOAD_RISE_LARGE: f64 = 1.5;
/// A response is slow beyond this multiple of the pool's 95th percentile before.
const SLOW_FACTOR: f64 = 1.5;
/// Tries that the pool's rate weighs in a backend's rate before.
const BASE_TRIES: f64 = 50.0;
/// Nats from which on a backend counts as failing or slow.
pub(crate) const BAD_NATS: f64 = 5.0;
/// Part of the failures that must be timeouts for a shortened timeout to explain them.
const CUT_SHARE: f64 = 0.8;
/// Responses cut off may be this many times those that were too slow before: buckets are coarse.
const CUT_SLACK: f64 = 1.3;
/// Part of what a backend serves that must be late for it to count as slow.
pub(crate) const MOSTLY_LATE: f64 = 0.5;
/// Epochs compared, newest last.
const EPOCHS_MAX: usize = 4;
/// Rates before are at least this: nothing is perfect.
const BASE_MIN: f64 = 0.005;

/// One backend.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BackendFacts {
    pub(crate) capacity: Option<f64>,
    /// Requests per second, retries included.
    pub(crate) load_before: Option<f64>,
    pub(crate) load: f64,
    pub(crate) overloaded: bool,
    pub(crate) errors: Signal,
    pub(crate) slow: Signal,
    /// Tries that were answered without failure or waited for in vain, and how many of them came late: who waits until the
    /// timeout is slow. At a full backend load explains it.
    pub(crate) late: Signal,
    /// Part of the failures (0..1) that a shortened timeout makes of responses as slow as they were before.
    pub(crate) cut: f64,
    /// Nats that it is worse than before, whatever explains it.
    pub(crate) bad_nats: f64,
    /// Out of traffic now.
    pub(crate) out: Option<OutReason>,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) evidence: &'a Evidence,
    pub(crate) backends: Vec<BackendFacts>,
    /// Those that got worse.
    pub(crate) bad: Vec<usize>,
    /// The newest [`EPOCHS_MAX`] epochs, oldest first.
    pub(crate) epochs: Vec<(&'a EpochFact, EpochShares)>,
    /// Offered requests per second.
    pub(crate) rate_before: Option<f64>,
    pub(crate) rate: f64,
    /// Picks per second, retries included.
    pub(crate) picks_rate: f64,
    /// Requests without a backend among those offered.
    pub(crate) unpicked: Signal,
    /// Bucket up to which a response is not slow.
    slow_bucket: usize,
}

impl BackendFacts {
    pub(crate) fn is_bad(&self) -> bool {
        self.bad_nats >= BAD_NATS
    }

    /// The failures that neither load nor a shortened timeout explains.
    pub(crate) fn open_errors(&self) -> Signal {
        Signal {
            explained: self.errors.explained.max(self.cut),
            ..self.errors
        }
    }
}

impl<'a> Facts<'a> {
    pub(crate) fn new(evidence: &'a Evidence) -> Self {
        let yardstick = Yardstick::new(evidence);
        let out = Index::new(evidence.out.iter().map(|o| &o.backend));
        let out_of = |place: usize| {
            let backend = evidence.pool.backends.get(place)?;
            let found = evidence.out.get(out.place(&backend.name, place)?)?;
            Some(found.reason)
        };
        let backends: Vec<BackendFacts> = (0..evidence.pool.backends.len())
            .map(|place| backend_facts(evidence, &yardstick, place, out_of(place)))
            .collect();
        let bad = backends
            .iter()
            .enumerate()
            .filter(|(_, b)| b.is_bad())
            .map(|(i, _)| i)
            .collect();
        let skipped = evidence.epochs.len().saturating_sub(EPOCHS_MAX);
        let epochs = evidence.epochs.iter().skip(skipped);
        Self {
            evidence,
            bad,
            epochs: epochs
                .map(|epoch| (epoch, epoch_shares(evidence, epoch)))
                .collect(),
            backends,
            rate_before: evidence.before.as_ref().map(Window::offered_per_second),
            rate: evidence.after.offered_per_second(),
            picks_rate: evidence.after.picks_per_second(),
            unpicked: unpicked(evidence),
            slow_bucket: yardstick.slow_bucket,
        }
    }

    /// Capacity of every configured backend together; `None` unless all declare it.
    pub(crate) fn capacity_all(&self) -> Option<f64> {
        self.backends.iter().map(|b| b.capacity).sum()
    }

    /// Failures and slow responses of `places` in another window, against the same rates before.
    pub(crate) fn rates_in(&self, window: &Window, places: &[usize]) -> Vec<(Signal, Signal)> {
        let known = places.iter().filter_map(|i| {
            let (then, facts) = (window.backends.get(*i)?, self.backends.get(*i)?);
            let (failed, slow) = (
                failed_of(&then.outcomes),
                slow_of(&then.latency, self.slow_bucket),
            );
            let like = |(hits, tries): (f64, f64), now: Signal| Signal { hits, tries, ..now };
            Some((like(failed, facts.errors), like(slow, facts.slow)))
        });
        known.collect()
    }

    /// The signal of one class of failures at each backend.
    pub(crate) fn class(&self, hits: impl Fn(&Outcomes) -> u64) -> Vec<Signal> {
        let before = self.evidence.before.as_ref();
        let sum = |of: &dyn Fn(&BackendWindow) -> u64| {
            before.map_or(0, |w| w.backends.iter().map(of).sum::<u64>()) as f64
        };
        let (h, n) = (sum(&|b| hits(&b.outcomes)), sum(&BackendWindow::finished));
        let base = ((h + BASE_MIN * BASE_TRIES) / (n + BASE_TRIES)).max(BASE_MIN);
        self.evidence
            .after
            .backends
            .iter()
            .zip(&self.backends)
            .map(|(window, facts)| Signal {
                hits: hits(&window.outcomes) as f64,
                tries: window.finished() as f64,
                base,
                explained: facts.errors.explained,
            })
            .collect()
    }
}

/// What every backend of a pool is measured by.
struct Yardstick {
    /// Bucket up to which a response is not slow.
    slow_bucket: usize,
    /// The time after which a response is cut off, when a revision shortened it.
    timeout: Option<Duration>,
    /// The pool's rates before.
    errors: f64,
    slow: f64,
    /// Whether a backend's load comes from outside: not when the algorithm follows the load, unless all are full.
    own_load: bool,
}

impl Yardstick {
    fn new(evidence: &Evidence) -> Self {
        let slow_bucket = slow_bucket(evidence);
        let follows_load = evidence.pool.algorithm.follows_load();
        Self {
            slow_bucket,
            timeout: shortened_timeout(evidence),
            errors: pool_base(evidence, |b| failed_of(&b.outcomes)),
            slow: pool_base(evidence, |b| slow_of(&b.latency, slow_bucket)),
            own_load: !follows_load || whole_pool_over(evidence),
        }
    }
}

fn backend_facts(
    evidence: &Evidence,
    yardstick: &Yardstick,
    place: usize,
    out: Option<OutReason>,
) -> BackendFacts {
    let empty = BackendWindow::default();
    let after = &evidence.after;
    let now = after.backends.get(place).unwrap_or(&empty);
    let then = evidence
        .before
        .as_ref()
        .and_then(|w| Some((w.backends.get(place)?, w.length())));
    let backend = evidence.pool.backends.get(place);
    let capacity = backend.and_then(|b| b.capacity_rps);
    let load = now.picks() as f64 / after.length().as_secs_f64();
    let load_before = then.map(|(b, length)| b.picks() as f64 / length.as_secs_f64());
    let rise = load_before.map_or(f64::INFINITY, |b| load / b.max(0.01));
    let utilisation = capacity.map(|c| load / c);
    let slow_in = |b: &BackendWindow| slow_of(&b.latency, yardstick.slow_bucket);
    let (slow_hits, slow_tries) = slow_in(now);
    let stuck = stuck(now, load, yardstick.slow_bucket);
    let full = utilisation.is_some_and(|u| u >= OVERLOAD);
    let late = Signal {
        explained: if full { 1.0 } else { 0.0 },
        ..late(now, (slow_hits, stuck), yardstick.slow)
    };
    // Who fails fast draws load where the algorithm follows it; who is slow sheds it, so what it has comes from outside.
    let (error_hits, error_tries) = failed_of(&now.outcomes);
    let sheds = late.hits >= MOSTLY_LATE * (error_tries + stuck).max(1.0);
    let given = yardstick.own_load || sheds;
    let overloaded = given && rise >= RISE_MIN && full;
    let risen = yardstick.own_load
        && load_before.is_some()
        && rise >= LOAD_RISE_LARGE
        && utilisation.is_none_or(|u| u >= 0.5);
    let explained = match (overloaded, risen) {
        (true, _) => 1.0,
        (false, true) => 0.5,
        (false, false) => 0.0,
    };
    let base = |pool: f64, (hits, tries): (f64, f64)| {
        ((hits + BASE_TRIES * pool) / (tries + BASE_TRIES)).clamp(BASE_MIN, 0.9)
    };
    let errors = Signal {
        hits: error_hits,
        tries: error_tries,
        base: base(
            yardstick.errors,
            then.map_or((0.0, 0.0), |(b, _)| failed_of(&b.outcomes)),
        ),
        explained,
    };
    let slow = Signal {
        hits: slow_hits + stuck,
        tries: slow_tries + stuck,
        base: base(yardstick.slow, then.map_or((0.0, 0.0), |(b, _)| slow_in(b))),
        explained,
    };
    BackendFacts {
        capacity,
        load_before,
        load,
        overloaded,
        cut: then
            .zip(yardstick.timeout)
            .map_or(0.0, |((before, _), at)| cut(before, now, at)),
        late,
        errors,
        slow,
        bad_nats: errors.gain_alone().max(0.0) + slow.gain_alone().max(0.0),
        out,
    }
}

/// What the picks of one epoch are compared with, in the order of its members.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EpochShares {
    /// What the algorithm gives each; `None` where the load decides.
    pub(crate) expected: Option<Vec<f64>>,
    /// What each should get under the running declaration.
    pub(crate) intended: Vec<f64>,
}

fn epoch_shares(evidence: &Evidence, epoch: &EpochFact) -> EpochShares {
    let backends = &evidence.pool.backends;
    let members = Index::new(epoch.members.iter().map(|m| &m.name));
    let eligible = |place: usize| {
        let member = backends
            .get(place)
            .and_then(|b| members.place(&b.name, place));
        member
            .and_then(|i| epoch.members.get(i))
            .is_some_and(|m| m.eligible)
    };
    let shares = evidence.pool.intended_shares(eligible);
    let pool = Index::new(backends.iter().map(|b| &b.name));
    let of = |(place, member): (usize, &Member)| {
        let found = pool.place(&member.name, place).and_then(|i| shares.get(i));
        found.copied().unwrap_or(0.0)
    };
    let mut intended: Vec<f64> = epoch.members.iter().enumerate().map(of).collect();
    // What shapes the weights shapes the intent alike, so that a wrong weight shows and the shape does not.
    if let Some(shape) = epoch.shape() {
        let shaped = |(share, part): (&f64, &f64)| share * part;
        let total: f64 = intended.iter().zip(&shape).map(shaped).sum();
        if total > 0.0 {
            let pairs = intended.iter_mut().zip(&shape);
            pairs.for_each(|(share, part)| *share *= part / total);
        }
    }
    EpochShares {
        expected: expected_shares(epoch.algorithm, &epoch.members),
        intended,
    }
}

/// The time after which a response is cut off now, when a revision not after the onset shortened it to that.
fn shortened_timeout(evidence: &Evidence) -> Option<Duration> {
    let pool = &evidence.pool;
    let shortened = |of: fn(&Pool) -> Duration| {
        let changes = evidence.changes.iter();
        let mut known = changes
            .filter(|c| c.at <= evidence.onset.hi)
            .filter_map(|c| {
                let name = pool.name.as_str();
                Some((of(c.before.pool(name)?), of(c.after.pool(name)?)))
            });
        let found = known.any(|(old, new)| new < old && new == of(pool));
        found.then(|| of(pool))
    };
    let response = shortened(|p| p.response_timeout);
    let request = shortened(|p| p.request_timeout);
    response.into_iter().chain(request).min()
}

/// Part of the failures that cutting off at `at` makes of responses as slow as they were `before`.
fn cut(before: &BackendWindow, now: &BackendWindow, at: Duration) -> f64 {
    let (failed, tries) = failed_of(&now.outcomes);
    let (all, bucket) = (
        before.latency.count() as f64,
        Latency::bucket(u64::try_from(at.as_micros()).unwrap_or(u64::MAX)),
    );
    let timeouts = now.outcomes.timeout as f64;
    if failed < 1.0 || all < 1.0 || timeouts < CUT_SHARE * failed {
        return 0.0;
    }
    // Half of those in its own bucket took longer than it.
    let counts = before.latency.buckets.iter().enumerate().skip(bucket);
    let longer: f64 = counts
        .map(|(i, n)| f64::from(*n) * if i == bucket { 0.5 } else { 1.0 })
        .sum();
    (CUT_SLACK * longer / all / (failed / tries)).min(1.0)
}

/// Late ones among the tries that say something of a backend's speed.
fn late(now: &BackendWindow, (slow, stuck): (f64, f64), base: f64) -> Signal {
    let waited = now.outcomes.timeout as f64 + stuck;
    let tries = (now.outcomes.ok + now.outcomes.client_error) as f64 + waited;
    Signal {
        hits: (slow + waited).min(tries),
        tries,
        base,
        explained: 0.0,
    }
}

fn failed_of(outcomes: &Outcomes) -> (f64, f64) {
    let tries = outcomes.total() - outcomes.unknown();
    (outcomes.failed() as f64, tries as f64)
}

fn slow_of(latency: &Latency, threshold: usize) -> (f64, f64) {
    let slow: u64 = latency
        .buckets
        .iter()
        .skip(threshold + 1)
        .map(|n| u64::from(*n))
        .sum();
    (slow as f64, latency.count() as f64)
}

/// Tries that neither ended nor can still be within the slow threshold (Little's law): a backend that hangs answers
/// nothing. At most what was in flight, which at a steady climb ends at twice its mean, so that aborted requests,
/// which end without an outcome of the backend, are not taken for it.
fn stuck(window: &BackendWindow, load: f64, threshold: usize) -> f64 {
    let pending = window.picks().saturating_sub(window.outcomes.total()) as f64;
    let in_time = load * Latency::bound_us(threshold) as f64 / 1e6;
    (pending - in_time - 5.0).clamp(0.0, 2.0 * window.in_flight.max(0.0))
}

/// The bucket up to which a response is not slow.
fn slow_bucket(evidence: &Evidence) -> usize {
    let objective = u64::try_from(evidence.pool.objective.p99.as_micros()).unwrap_or(u64::MAX);
    let mut all = Latency::default();
    for backend in evidence.before.iter().flat_map(|w| &w.backends) {
        all.add(&backend.latency);
    }
    let bound = match all.quantile_us(0.95) {
        Some(p95) => ((p95 as f64 * SLOW_FACTOR) as u64).max(objective / 10),
        None => objective,
    };
    Latency::bucket(bound).min(LATENCY_BUCKETS - 2)
}

fn pool_base(evidence: &Evidence, of: impl Fn(&BackendWindow) -> (f64, f64)) -> f64 {
    let Some(before) = &evidence.before else {
        return 2.0 * BASE_MIN;
    };
    let (hits, tries) = before
        .backends
        .iter()
        .map(of)
        .fold((0.0, 0.0), |sum, (h, n)| (sum.0 + h, sum.1 + n));
    ((hits + BASE_TRIES * BASE_MIN) / (tries + BASE_TRIES)).clamp(BASE_MIN, 0.9)
}

fn whole_pool_over(evidence: &Evidence) -> bool {
    let capacity: Option<f64> = evidence.pool.backends.iter().map(|b| b.capacity_rps).sum();
    capacity.is_some_and(|c| evidence.after.picks_per_second() >= OVERLOAD * c)
}

fn unpicked(evidence: &Evidence) -> Signal {
    let count = |window: &Window| {
        let first: u64 = window.backends.iter().map(BackendWindow::first_picks).sum();
        (window.unpicked as f64, (first + window.unpicked) as f64)
    };
    let (hits, tries) = count(&evidence.after);
    let (hits_before, tries_before) = evidence.before.as_ref().map_or((0.0, 0.0), count);
    Signal {
        hits,
        tries,
        base: (hits_before / tries_before.max(1.0)).clamp(BASE_MIN, 0.9),
        explained: 0.0,
    }
}
