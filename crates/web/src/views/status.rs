//! The present: what `status` says. Figures of the last 10 s are null below 30 picks.

use std::collections::BTreeMap;

use evenkeel_control::WorkerCounters;
use evenkeel_guard::GuardView;
use evenkeel_model::clock::Wall;
use evenkeel_model::config::{Config, Listener, SeenFile};
use evenkeel_model::ids::Name;
use serde::{Deserialize, Serialize};

use super::{DrainView, RolloutView, maybe_time, time};

/// Members that a line names.
const HELD_MAX: usize = 5;

/// `status`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct StatusView {
    pub at: String,
    pub revision: String,
    pub revision_state: String,
    pub state: String,
    /// What an automatic rollback would restore.
    pub verified: String,
    pub incident: Option<String>,
    pub audit: Option<AuditView>,
    pub journal: String,
    pub hold: Option<String>,
    pub drift: Option<String>,
    /// What the evidence for the running revision still lacks.
    pub verifying: Option<Vec<String>>,
    pub confirm_by: Option<String>,
    pub keep_until: Option<String>,
    /// Backends that a person took out for a while.
    pub drains: Vec<DrainView>,
    /// Deployments that move traffic, or shape it still.
    pub rollouts: Vec<RolloutView>,
    pub pools: Vec<PoolView>,
    /// What each worker of the data plane took since the start.
    pub workers: Vec<WorkerView>,
    /// Where clients connect.
    pub listeners: Vec<ListenerView>,
}

/// A listener of `status`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct ListenerView {
    pub name: String,
    pub address: String,
    /// The certificates that it shows, the default first; empty: it speaks no TLS.
    pub certificates: Vec<CertificateView>,
}

/// A certificate of a listener of `status`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct CertificateView {
    pub file: String,
    /// The DNS names that it is for.
    pub names: Vec<String>,
    pub not_after: Option<String>,
    /// Whole days until then; 0 on the last day, below that when it has ended.
    pub days_left: Option<i64>,
}

impl ListenerView {
    fn of(config: &Config, listener: &Listener, now: Wall) -> Self {
        let certificate = |seen: &SeenFile| CertificateView {
            file: seen.path.display().to_string(),
            names: seen.names.clone(),
            not_after: maybe_time(seen.not_after),
            days_left: seen.not_after.map(|end| days_between(now, end)),
        };
        Self {
            name: listener.name.to_string(),
            address: listener.address.to_string(),
            certificates: config.certificates_of(listener).map(certificate).collect(),
        }
    }
}

fn days_between(now: Wall, end: Wall) -> i64 {
    const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
    let ms = |at: Wall| i64::try_from(at.0).unwrap_or(i64::MAX);
    (ms(end) - ms(now)).div_euclid(DAY_MS)
}

/// A worker of `status`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct WorkerView {
    pub worker: u16,
    pub picks: u64,
    pub backends: Vec<WorkerBackendView>,
}

/// A worker's part of a backend.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct WorkerBackendView {
    pub pool: String,
    pub backend: String,
    pub picks: u64,
    /// Of the picks of this backend by all workers.
    pub share: Option<f64>,
}

/// The last audit.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct AuditView {
    pub at: Option<String>,
    pub errors: u32,
    pub warnings: u32,
    pub next: Option<String>,
}

/// A pool of `status`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct PoolView {
    pub name: String,
    pub algorithm: String,
    pub intent: String,
    pub rps: Option<f64>,
    pub refused_rps: f64,
    pub error_rate: Option<f64>,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub objective_met: Option<bool>,
    /// What is found of its members at run time; null for a pool that finds none.
    pub members: Option<MembersView>,
    /// The key with far more requests than others, last 10 to 20 s; null: no `hash`, or no such key.
    pub hot_key: Option<HotKeyView>,
    pub backends: Vec<BackendView>,
}

/// The hot key of a pool of `status`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HotKeyView {
    /// Its part (0..1) of the requests with a key, at least.
    pub part: f64,
    /// The backend that owns it.
    pub backend: String,
}

/// The members that a pool of `status` finds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct MembersView {
    pub source: String,
    pub found: usize,
    /// No longer named, and kept until it is their turn to leave.
    pub held: Vec<String>,
    /// Why the last look gave no answer, or what is wrong with the one that it gave.
    pub error: Option<String>,
}

impl MembersView {
    /// The view of what a pool finds.
    pub fn of(members: &evenkeel_guard::MembersView) -> Self {
        Self {
            source: members.source.clone(),
            found: members.found,
            held: members.held.iter().map(ToString::to_string).collect(),
            error: members.error.clone(),
        }
    }

    /// In a line: the source, how many it gave, who stays though not named, what is wrong.
    pub fn in_words(&self) -> String {
        let mut text = format!("{}, {} found", self.source, self.found);
        let shown: Vec<&str> = self
            .held
            .iter()
            .take(HELD_MAX)
            .map(String::as_str)
            .collect();
        if !shown.is_empty() {
            let more = match self.held.len() - shown.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            text = format!(
                "{text}, no longer named but held: {}{more}",
                shown.join(", ")
            );
        }
        if let Some(error) = &self.error {
            text = format!("{text}; {error}");
        }
        text
    }
}

/// A backend of `status`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct BackendView {
    pub name: String,
    pub intended_share: Option<f64>,
    pub expected_share: Option<f64>,
    pub observed_share: Option<f64>,
    pub ci_low: Option<f64>,
    pub ci_high: Option<f64>,
    pub verdict: String,
    pub reason: String,
    pub rps: Option<f64>,
    pub utilisation: Option<f64>,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub error_rate: Option<f64>,
    pub in_flight: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight_limit: Option<u32>,
    pub cpu: Option<f64>,
    pub memory: Option<f64>,
    pub health: String,
    pub version: Option<String>,
    pub zone: Option<String>,
    pub weight: u32,
}

impl StatusView {
    /// The view of the present under `config`; `workers` are the totals of the data plane.
    pub fn of(view: &GuardView, config: &Config, workers: &[(u16, WorkerCounters)]) -> Self {
        let listeners = config.listeners.iter();
        let audit = AuditView {
            at: view.audit.map(|audit| time(audit.at)),
            errors: view.audit.map_or(0, |audit| audit.errors),
            warnings: view.audit.map_or(0, |audit| audit.warnings),
            next: maybe_time(view.audit_next),
        };
        Self {
            at: time(view.at),
            revision: view.revision.to_string(),
            revision_state: view.revision_state.as_str().to_owned(),
            state: view.state.as_str().to_owned(),
            verified: view.verified.to_string(),
            incident: view.incident.map(|id| id.to_string()),
            audit: (audit.at.is_some() || audit.next.is_some()).then_some(audit),
            journal: if view.journal_ok { "ok" } else { "degraded" }.to_owned(),
            hold: view.hold.clone(),
            drift: view.drift.as_ref().map(|drift| drift.detail.clone()),
            verifying: view.verifying.as_ref().map(|v| v.missing.clone()),
            confirm_by: maybe_time(view.confirm_by),
            keep_until: maybe_time(view.keep_until),
            drains: view
                .drains
                .iter()
                .map(|drain| DrainView::of(drain, view.at))
                .collect(),
            rollouts: view.rollouts.iter().map(RolloutView::of).collect(),
            pools: view.pools.iter().map(pool_status).collect(),
            workers: worker_status(workers),
            listeners: listeners
                .map(|listener| ListenerView::of(config, listener, view.at))
                .collect(),
        }
    }
}

fn worker_status(workers: &[(u16, WorkerCounters)]) -> Vec<WorkerView> {
    let mut totals: BTreeMap<&(Name, Name), u64> = BTreeMap::new();
    for (key, picks) in workers.iter().flat_map(|(_, counters)| &counters.backends) {
        *totals.entry(key).or_default() += picks;
    }
    let view = |(worker, counters): &(u16, WorkerCounters)| WorkerView {
        worker: *worker,
        picks: counters.picks,
        backends: counters
            .backends
            .iter()
            .map(|(key, picks)| WorkerBackendView {
                pool: key.0.to_string(),
                backend: key.1.to_string(),
                picks: *picks,
                share: totals
                    .get(key)
                    .filter(|total| **total > 0)
                    .map(|total| *picks as f64 / *total as f64),
            })
            .collect(),
    };
    workers.iter().map(view).collect()
}

fn pool_status(pool: &evenkeel_guard::PoolView) -> PoolView {
    PoolView {
        name: pool.name.to_string(),
        algorithm: pool.algorithm.as_str().to_owned(),
        intent: pool.intent.as_str().to_owned(),
        rps: pool.rps,
        refused_rps: pool.refused_rps,
        error_rate: pool.error_rate,
        p50_ms: pool.p50_ms,
        p99_ms: pool.p99_ms,
        objective_met: pool.objective_met,
        hot_key: pool.hot_key.as_ref().map(|hot| HotKeyView {
            part: hot.part,
            backend: hot.backend.to_string(),
        }),
        members: pool.members.as_ref().map(MembersView::of),
        backends: pool.backends.iter().map(backend_status).collect(),
    }
}

fn backend_status(backend: &evenkeel_guard::BackendView) -> BackendView {
    BackendView {
        name: backend.name.to_string(),
        intended_share: backend.intended_share,
        expected_share: backend.expected_share,
        observed_share: backend.observed_share,
        ci_low: backend.ci_low,
        ci_high: backend.ci_high,
        verdict: backend.verdict.as_str().to_owned(),
        reason: backend.reason.clone(),
        rps: backend.rps,
        utilisation: backend.utilisation,
        p50_ms: backend.p50_ms,
        p99_ms: backend.p99_ms,
        error_rate: backend.error_rate,
        in_flight: backend.in_flight,
        in_flight_limit: backend.in_flight_limit,
        cpu: backend.cpu,
        memory: backend.memory,
        health: backend.health.as_str().to_owned(),
        version: backend.version.as_ref().map(ToString::to_string),
        zone: backend.zone.as_ref().map(ToString::to_string),
        weight: backend.weight,
    }
}

#[cfg(test)]
mod tests {
    use super::MembersView;

    #[test]
    fn what_a_pool_finds_is_told_in_a_line_of_bounded_length() {
        let mut members = MembersView {
            source: "file m.toml".to_owned(),
            found: 9,
            held: Vec::new(),
            error: None,
        };
        assert_eq!(members.in_words(), "file m.toml, 9 found");
        members.held = (0..7).map(|n| format!("m{n}")).collect();
        members.error = Some("`m.toml` line 3: not valid TOML".to_owned());
        assert_eq!(
            members.in_words(),
            "file m.toml, 9 found, no longer named but held: m0, m1, m2, m3, m4 and 2 more; `m.toml` line 3: not valid TOML"
        );
    }
}
