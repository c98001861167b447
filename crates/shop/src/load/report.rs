//! What the load generator counts: per second and in sum.
//!
//! `sent` and `shed` are booked to the second of the arrival, outcomes to the second in which they were known,
//! so a second that is over does not change any more. A request is harmed when its last attempt failed or got a
//! 5xx, when it took longer than the objective, or when it was shed; 4xx is the client's own doing.
//!
//! Limits: the newest [`SECONDS_KEPT`] seconds are kept; the sum covers all.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use evenkeel_model::tally::Latency;
use serde_json::{Value, json};

/// Seconds of which the counts are kept.
pub const SECONDS_KEPT: usize = 1_800;
/// Instances told apart; further ones count as `other`.
pub const INSTANCES_MAX: usize = 256;

/// Counts of one second, or of many.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Second {
    /// Seconds since the start.
    pub at: u64,
    /// Arrivals that were sent, each once however many attempts it took.
    pub sent: u64,
    /// Arrivals beyond `outstanding`, not sent.
    pub shed: u64,
    /// 1xx to 3xx.
    pub ok: u64,
    /// 4xx.
    pub client_error: u64,
    /// 5xx.
    pub server_error: u64,
    /// Refused, unreachable or no free local port.
    pub connect_failed: u64,
    /// Closed before a complete response, or a response that is not HTTP.
    pub reset: u64,
    /// No complete response within the timeout.
    pub timeout: u64,
    /// Requests whose user was harmed.
    pub harmed: u64,
    /// Part of `harmed`: answered well, but later than the objective.
    pub slow: u64,
    /// Further attempts.
    pub retries: u64,
    /// Requests sent again because an idle connection had been closed under them.
    pub reconnects: u64,
    /// Connections opened.
    pub connections: u64,
    /// Time from the due arrival to the end of the response, for requests with a response.
    pub latency: Latency,
    /// Responses per `x-shop-instance`.
    pub instances: BTreeMap<Arc<str>, u64>,
}

impl Second {
    /// Requests that ended, whatever their outcome; shed ones are left out.
    pub fn ended(&self) -> u64 {
        self.ok + self.client_error + self.server_error + self.failed()
    }

    /// Requests without a response.
    pub fn failed(&self) -> u64 {
        self.connect_failed + self.reset + self.timeout
    }

    /// Adds the counts of `other`; `at` stays.
    pub fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.shed += other.shed;
        self.ok += other.ok;
        self.client_error += other.client_error;
        self.server_error += other.server_error;
        self.connect_failed += other.connect_failed;
        self.reset += other.reset;
        self.timeout += other.timeout;
        self.harmed += other.harmed;
        self.slow += other.slow;
        self.retries += other.retries;
        self.reconnects += other.reconnects;
        self.connections += other.connections;
        self.latency.add(&other.latency);
        for (name, count) in &other.instances {
            *self.instances.entry(Arc::clone(name)).or_default() += count;
        }
    }

    /// The counts as JSON; response times in milliseconds, null without any.
    pub fn to_json(&self) -> Value {
        let ms = |q: f64| self.latency.quantile_us(q).map(|us| us as f64 / 1_000.0);
        json!({
            "at": self.at, "sent": self.sent, "shed": self.shed, "ok": self.ok,
            "client_error": self.client_error, "server_error": self.server_error,
            "connect_failed": self.connect_failed, "reset": self.reset, "timeout": self.timeout,
            "harmed": self.harmed, "slow": self.slow, "retries": self.retries,
            "reconnects": self.reconnects, "connections": self.connections,
            "p50_ms": ms(0.5), "p90_ms": ms(0.9), "p99_ms": ms(0.99),
            "instances": self.instances.iter().map(|(k, v)| (k.to_string(), *v)).collect::<BTreeMap<_, _>>(),
        })
    }
}

/// Everything that was counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadReport {
    /// The newest seconds, oldest first, the one under way included.
    pub seconds: Vec<Second>,
    /// The sum over the whole run.
    pub total: Second,
    /// Client identities that sent something.
    pub sessions_seen: u64,
    /// Client identities that were harmed at least once.
    pub sessions_harmed: u64,
    /// Requests under way.
    pub outstanding: u64,
    /// Time since the start.
    pub elapsed: Duration,
}

impl LoadReport {
    /// The report as JSON: `total`, `seconds[]` and the session counts.
    pub fn to_json(&self) -> Value {
        json!({
            "elapsed_seconds": self.elapsed.as_secs_f64(),
            "total": self.total.to_json(),
            "sessions_seen": self.sessions_seen,
            "sessions_harmed": self.sessions_harmed,
            "outstanding": self.outstanding,
            "seconds": self.seconds.iter().map(Second::to_json).collect::<Vec<_>>(),
        })
    }
}

const SEEN: u8 = 1;
const HARMED: u8 = 2;

/// The running counts.
pub(super) struct Book {
    seconds: VecDeque<Second>,
    total: Second,
    sessions: Vec<u8>,
    sessions_seen: u64,
    sessions_harmed: u64,
    pub(super) outstanding: u64,
    elapsed: Duration,
}

impl Book {
    pub(super) fn new(sessions: u32) -> Self {
        Self {
            seconds: VecDeque::new(),
            total: Second::default(),
            sessions: vec![0; sessions as usize],
            sessions_seen: 0,
            sessions_harmed: 0,
            outstanding: 0,
            elapsed: Duration::ZERO,
        }
    }

    /// Books `change` to the second of `now` and to the sum. Seconds in which nothing happened are there too.
    pub(super) fn at(&mut self, now: Duration, change: impl Fn(&mut Second)) {
        self.elapsed = self.elapsed.max(now);
        let at = self.elapsed.as_secs();
        let next = self.seconds.back().map_or(0, |last| last.at + 1);
        for at in next.max((at + 1).saturating_sub(SECONDS_KEPT as u64))..=at {
            if self.seconds.len() >= SECONDS_KEPT {
                self.seconds.pop_front();
            }
            self.seconds.push_back(Second {
                at,
                ..Second::default()
            });
        }
        if let Some(second) = self.seconds.back_mut() {
            change(second);
        }
        change(&mut self.total);
    }

    pub(super) fn seen(&mut self, session: u32) {
        if let Some(flags) = self.sessions.get_mut(session as usize)
            && *flags & SEEN == 0
        {
            *flags |= SEEN;
            self.sessions_seen += 1;
        }
    }

    pub(super) fn harmed(&mut self, session: u32) {
        if let Some(flags) = self.sessions.get_mut(session as usize)
            && *flags & HARMED == 0
        {
            *flags |= HARMED;
            self.sessions_harmed += 1;
        }
    }

    pub(super) fn total(&self) -> Second {
        self.total.clone()
    }

    pub(super) fn report(&self) -> LoadReport {
        LoadReport {
            seconds: self.seconds.iter().cloned().collect(),
            total: self.total.clone(),
            sessions_seen: self.sessions_seen,
            sessions_harmed: self.sessions_harmed,
            outstanding: self.outstanding,
            elapsed: self.elapsed,
        }
    }
}

/// Counts one response of `instance`.
pub(super) fn count_instance(second: &mut Second, instance: &Arc<str>) {
    if let Some(count) = second.instances.get_mut(instance) {
        *count += 1;
    } else if second.instances.len() < INSTANCES_MAX {
        second.instances.insert(Arc::clone(instance), 1);
    } else {
        *second.instances.entry(Arc::from("other")).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::{Book, SECONDS_KEPT};
    use std::time::Duration;

    #[test]
    fn quiet_seconds_are_kept_as_zero_and_old_ones_leave_only_the_sum() {
        let mut book = Book::new(1);
        for at in [0, 3, SECONDS_KEPT as u64 + 10] {
            book.at(Duration::from_secs(at), |s| s.sent += 1);
        }
        let report = book.report();
        assert_eq!(report.seconds.len(), SECONDS_KEPT);
        assert!(report.seconds.windows(2).all(|w| w[1].at == w[0].at + 1));
        assert_eq!(report.seconds.last().unwrap().sent, 1);
        assert_eq!(report.total.sent, 3);
    }
}
