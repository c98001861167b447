//! Tallies: what each data-plane worker counted, handed to the control loop once a second.
//!
//! Every count is cumulative since the worker saw the epoch, so a lost tally loses nothing but freshness.
//! A response is booked to the epoch of its pick.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Mono;
use crate::config::Route;
use crate::ids::{Epoch, Name, WorkerId};
use crate::sketch::{ClientSketch, Frequent};

/// Epochs that a worker keeps counting for, per pool; older ones are dropped.
pub const EPOCHS_KEPT: usize = 8;

/// What one worker counted.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Tally {
    /// The worker.
    pub worker: WorkerId,
    /// When it was taken.
    pub at: Mono,
    /// One entry per pool that this worker knows.
    pub pools: Vec<PoolTally>,
    /// Routes of the present configuration by which requests came since the last tally.
    pub routes: Vec<RouteTally>,
}

/// What makes a route the same one in two configurations, wherever it leads.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct RouteKey {
    /// Its listener.
    pub listener: String,
    /// Host, lower case, exact or `*.example.com`; `None`: every host.
    pub host: Option<String>,
    /// Whole path segments from the start; `/`: every path.
    pub path_prefix: String,
    /// What else a request must be, as [`Matcher::condition`](crate::config::Matcher::condition) writes it.
    pub condition: Option<String>,
}

impl RouteKey {
    /// The key of `route`.
    pub fn of(route: &Route) -> Self {
        Self {
            listener: route.listener.to_string(),
            host: route.host.clone(),
            path_prefix: route.matcher.path.prefix().to_owned(),
            condition: route.matcher.condition(),
        }
    }

    /// Which requests of the listener: host, path, and what else they must be.
    pub fn requests(&self) -> String {
        let host = self.host.as_deref().unwrap_or_default();
        match &self.condition {
            Some(condition) => format!("{host}{} if {condition}", self.path_prefix),
            None => format!("{host}{}", self.path_prefix),
        }
    }
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.listener, self.requests())
    }
}

/// What one worker counted at one route.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RouteTally {
    /// The route.
    pub route: Arc<RouteKey>,
    /// Requests that it matched, cumulative for as long as each configuration has the route.
    pub requests: u64,
}

/// What one worker counted in one pool.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct PoolTally {
    /// The pool.
    pub pool: Name,
    /// The newest [`EPOCHS_KEPT`] epochs, oldest first. Epochs without any change since the last tally may be left out,
    /// the newest never is.
    pub epochs: Vec<EpochTally>,
    /// Clients seen and harmed since the last tally (a window, not cumulative).
    pub clients: ClientSketch,
    /// The clients with most requests since the last tally (a window as well).
    pub frequent: Frequent,
    /// The keys with most requests since the last tally (a window as well); nothing where the pool has no `hash`.
    pub keys: Frequent,
    /// Requests that no backend could be picked for (none eligible, all at their limit), cumulative.
    pub unpicked: u64,
    /// What became of requests that waited for a backend below its limit.
    pub waits: Waits,
}

/// Requests of one worker and pool that waited in the pool's queue. Cumulative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Waits {
    /// Began to wait.
    pub queued: u64,
    /// Got their backend.
    pub served: u64,
    /// Waited too long (503).
    pub timed_out: u64,
    /// Left by the client while they waited.
    pub left: u64,
    /// Refused at once because the queue was full (503).
    pub full: u64,
    /// Refused when their turn came, because requests of a higher priority need the room (503).
    pub shed: u64,
}

impl Waits {
    /// Those that wait now.
    pub const fn waiting(&self) -> u64 {
        let over = self.served + self.timed_out + self.left + self.shed;
        self.queued.saturating_sub(over)
    }

    /// The sum with what came after `earlier` in `now`, an older and a newer state of the same counts.
    #[must_use]
    pub const fn plus_since(&self, now: &Self, earlier: &Self) -> Self {
        Self {
            queued: self.queued + now.queued.saturating_sub(earlier.queued),
            served: self.served + now.served.saturating_sub(earlier.served),
            timed_out: self.timed_out + now.timed_out.saturating_sub(earlier.timed_out),
            left: self.left + now.left.saturating_sub(earlier.left),
            full: self.full + now.full.saturating_sub(earlier.full),
            shed: self.shed + now.shed.saturating_sub(earlier.shed),
        }
    }
}

/// What one worker counted in one epoch of one pool.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct EpochTally {
    /// The epoch.
    pub epoch: Epoch,
    /// One entry per backend of the epoch's configuration, in file order.
    pub backends: Vec<BackendTally>,
}

/// What one worker counted for one backend in one epoch. Cumulative.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct BackendTally {
    /// Picks by the algorithm alone: the only ones that enter a share test.
    pub picks_free: u64,
    /// Picks forced by a cookie or a hash key.
    pub picks_forced: u64,
    /// Picks for a further try of the same request.
    pub picks_retry: u64,
    /// What became of the tries.
    pub outcomes: Outcomes,
    /// Requests that ended here beyond the pool's objective: failed, or slower than `objective.p99`.
    /// Client aborts, slow client bodies and 4xx are left out.
    pub harmed: u64,
    /// Requests slower than `objective.p99` (part of `harmed`).
    pub slow: u64,
    /// Response times (pick to end of the response head) of tries that got a response.
    pub latency: Latency,
}

/// What became of tries at a backend, by class. Cumulative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Outcomes {
    /// 1xx to 3xx final responses.
    pub ok: u64,
    /// 4xx responses.
    pub client_error: u64,
    /// 5xx responses.
    pub server_error: u64,
    /// Connection refused, unreachable or timed out.
    pub connect_failed: u64,
    /// Connection reset or closed before a complete response, or an invalid response.
    pub reset: u64,
    /// No response head within the response timeout.
    pub timeout: u64,
    /// The client left first.
    pub client_abort: u64,
    /// Another backend answered the same request first (a hedge): nothing is known of this one.
    pub cancelled: u64,
}

impl Outcomes {
    /// All tries that ended.
    pub const fn total(&self) -> u64 {
        self.ok
            + self.client_error
            + self.server_error
            + self.connect_failed
            + self.reset
            + self.timeout
            + self.unknown()
    }

    /// All tries that ended with nothing known of the backend.
    pub const fn unknown(&self) -> u64 {
        self.client_abort + self.cancelled
    }

    /// The sum with `other`.
    #[must_use]
    pub const fn plus(&self, other: &Self) -> Self {
        Self {
            ok: self.ok + other.ok,
            client_error: self.client_error + other.client_error,
            server_error: self.server_error + other.server_error,
            connect_failed: self.connect_failed + other.connect_failed,
            reset: self.reset + other.reset,
            timeout: self.timeout + other.timeout,
            client_abort: self.client_abort + other.client_abort,
            cancelled: self.cancelled + other.cancelled,
        }
    }

    /// What came after `earlier`, an older state of the same counts.
    #[must_use]
    pub const fn since(&self, earlier: &Self) -> Self {
        Self {
            ok: self.ok.saturating_sub(earlier.ok),
            client_error: self.client_error.saturating_sub(earlier.client_error),
            server_error: self.server_error.saturating_sub(earlier.server_error),
            connect_failed: self.connect_failed.saturating_sub(earlier.connect_failed),
            reset: self.reset.saturating_sub(earlier.reset),
            timeout: self.timeout.saturating_sub(earlier.timeout),
            client_abort: self.client_abort.saturating_sub(earlier.client_abort),
            cancelled: self.cancelled.saturating_sub(earlier.cancelled),
        }
    }

    /// Failures that count against the backend: 5xx, connect failures, resets, timeouts.
    pub const fn failed(&self) -> u64 {
        self.server_error + self.connect_failed + self.reset + self.timeout
    }
}

/// Buckets of [`Latency`].
pub const LATENCY_BUCKETS: usize = 64;

/// Response times in 64 buckets, four per doubling, from under 250 us to over 9 s. Cumulative.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Latency {
    /// Count per bucket.
    #[serde(with = "crate::recorded::array")]
    pub buckets: [u32; LATENCY_BUCKETS],
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            buckets: [0; LATENCY_BUCKETS],
        }
    }
}

impl Latency {
    /// Upper bound of bucket `index` in microseconds: 250 x 2^(index / 4). The last has no bound.
    pub fn bound_us(index: usize) -> u64 {
        const QUARTERS: [u64; 4] = [1_000, 1_189, 1_414, 1_682];
        let quarter = QUARTERS.get(index % 4).copied().unwrap_or(1_000);
        (250u64 << (index / 4)) * quarter / 1_000
    }

    /// Bucket of a response time: the first whose bound is not below it.
    pub fn bucket(us: u64) -> usize {
        if us <= 250 {
            return 0;
        }
        let octave = ((us - 1) / 250).ilog2() as usize;
        let mut index = (octave * 4).min(LATENCY_BUCKETS - 1);
        while index < LATENCY_BUCKETS - 1 && Self::bound_us(index) < us {
            index += 1;
        }
        index
    }

    /// Counts one response time. What is counted for days goes round: only differences are looked at.
    pub fn record(&mut self, us: u64) {
        if let Some(count) = self.buckets.get_mut(Self::bucket(us)) {
            *count = count.wrapping_add(1);
        }
    }

    /// Adds the counts of `other`.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine = mine.saturating_add(*theirs);
        }
    }

    /// What came after `earlier`, an older state of the same counts.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut out = self.clone();
        for (mine, theirs) in out.buckets.iter_mut().zip(&earlier.buckets) {
            let more = mine.wrapping_sub(*theirs);
            // Half of the range at most can have come since; beyond it, `earlier` is the later one.
            *mine = if more <= u32::MAX / 2 { more } else { 0 };
        }
        out
    }

    /// All counts.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|n| u64::from(*n)).sum()
    }

    /// The response time in microseconds that `q` of the counts keep, interpolated inside its bucket;
    /// `None` without counts.
    pub fn quantile_us(&self, q: f64) -> Option<u64> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let rank = (q.clamp(0.0, 1.0) * total as f64).max(1.0);
        let mut below = 0.0;
        for (index, count) in self.buckets.iter().enumerate() {
            let count = f64::from(*count);
            if count > 0.0 && below + count >= rank {
                let low = if index == 0 {
                    0
                } else {
                    Self::bound_us(index - 1)
                };
                let high = Self::bound_us(index);
                let part = (rank - below) / count;
                return Some(low + ((high - low) as f64 * part) as u64);
            }
            below += count;
        }
        None
    }
}

/// What the control loop knows of a backend besides the tallies, sampled with them.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Vitals {
    /// Requests in flight over all workers.
    pub in_flight: u32,
    /// The limit of them that was found out, in a pool whose limit adapts.
    pub limit: Option<u32>,
    /// CPU utilisation as the backend last reported it (0..1, may exceed 1).
    pub cpu: Option<f64>,
    /// Memory utilisation as the backend last reported it (0..1).
    pub memory: Option<f64>,
    /// How utilised the backend last called itself (0..1, may exceed 1), whatever it is that is scarce.
    pub application: Option<f64>,
    /// How long ago it reported what stands here.
    pub age: Duration,
}

/// Times in the buckets of [`Latency`], for as long as a process runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatencyTotal {
    /// Count per bucket.
    pub buckets: [u64; LATENCY_BUCKETS],
}

impl Default for LatencyTotal {
    fn default() -> Self {
        Self {
            buckets: [0; LATENCY_BUCKETS],
        }
    }
}

impl LatencyTotal {
    /// Counts one time.
    pub fn record(&mut self, us: u64) {
        if let Some(count) = self.buckets.get_mut(Latency::bucket(us)) {
            *count += 1;
        }
    }

    /// Adds the counts of `other`.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
    }

    /// Adds what came by `more`, a difference.
    pub fn take(&mut self, more: &Latency) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&more.buckets) {
            *mine += u64::from(*theirs);
        }
    }

    /// All counts.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::{LATENCY_BUCKETS, Latency, LatencyTotal};

    #[test]
    fn a_time_falls_into_the_bucket_whose_bounds_hold_it() {
        for us in (1..200_000)
            .step_by(37)
            .chain([249, 250, 251, 9_000_000, u64::MAX / 2_000])
        {
            let index = Latency::bucket(us);
            assert!(
                index == LATENCY_BUCKETS - 1 || us <= Latency::bound_us(index),
                "{us}"
            );
            assert!(index == 0 || us > Latency::bound_us(index - 1), "{us}");
        }
    }

    #[test]
    fn quantiles_lie_within_a_bucket_of_the_truth() {
        let mut latency = Latency::default();
        for us in 1..=10_000u64 {
            latency.record(us * 10);
        }
        for (q, truth) in [(0.5, 50_000.0), (0.99, 99_000.0)] {
            let got = latency.quantile_us(q).unwrap() as f64;
            assert!((got / truth - 1.0).abs() < 0.2, "{q}: {got}");
        }
        assert_eq!(Latency::default().quantile_us(0.5), None);
    }

    #[test]
    fn counts_of_days_go_round_and_their_differences_do_not() {
        let mut earlier = Latency::default();
        earlier.buckets[0] = u32::MAX - 1;
        let mut now = earlier.clone();
        for _request in 0..5 {
            now.record(1);
        }
        assert_eq!(now.since(&earlier).count(), 5);
        // What comes late brings nothing.
        assert_eq!(earlier.since(&now).count(), 0);
        let mut total = LatencyTotal::default();
        total.buckets[0] = u64::from(u32::MAX);
        total.take(&now.since(&earlier));
        assert_eq!(total.count(), u64::from(u32::MAX) + 5);
    }
}
