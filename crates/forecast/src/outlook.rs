//! The forecast of a set-up: each backend's share, rate and utilisation, now, with one backend or zone out, and on
//! other bad days.
//!
//! Rates are those of the pool's peak: `peak_rps`, else the highest minute seen x 1.2, by route where routes move. A rate is per backend
//! `share x peak`; utilisation is rate over declared capacity and may exceed 1. Retries, which add load in a fault,
//! are in the case of retries only. Where each share comes from is its pool's [`Method`].

use std::fmt;

use evenkeel_model::setup::Setup;

use crate::estimate::Budget;
use crate::facts::Facts;
use crate::pool::{self, Day};
use crate::{cases, failures, notes, routed};

/// Pools with more backends than this get only their [`WORST_CASES`] in [`Forecast::failures`].
pub const FAILURES_FULL_MAX: usize = 64;
/// Failure cases of a very large pool: the loss of the backends with the largest shares. The highest utilisation
/// that any single loss can cause is always among them (for shares by weight).
pub const WORST_CASES: usize = 3;

/// What a configuration will do.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Forecast {
    /// Every pool in file order.
    pub pools: Vec<PoolForecast>,
    /// Each single backend failed, in file order; of pools beyond [`FAILURES_FULL_MAX`] only the worst cases. Then each
    /// zone out, where there are two or more.
    pub failures: Vec<FailureCase>,
    /// Other days than a usual one, where they differ from it or matter.
    pub cases: Vec<Case>,
    /// What a reader must know of the numbers, such as which pools show only their worst cases.
    pub notes: Vec<String>,
}

/// One pool.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolForecast {
    /// The pool.
    pub name: String,
    /// The rate it is judged at, requests per second; `None`: not known.
    pub rps: Option<f64>,
    /// Where the shares come from.
    pub method: Method,
    /// Every backend in file order.
    pub backends: Vec<BackendForecast>,
}

/// One backend.
#[derive(Debug, Clone, PartialEq)]
pub struct BackendForecast {
    /// The backend.
    pub name: String,
    /// Share (0..1) that the declared intent wants it to get; `None` when nobody can take traffic.
    pub intended_share: Option<f64>,
    /// Share (0..1) that the selection will give it; `None` where it is not known, or nobody takes traffic.
    pub expected_share: Option<f64>,
    /// Lower end of what the share may be, at 95 %; `None`: how far it may stray is not known.
    pub share_low: Option<f64>,
    /// Upper end of the same.
    pub share_high: Option<f64>,
    /// Requests per second at the pool's rate.
    pub expected_rps: Option<f64>,
    /// Rate over declared capacity; may exceed 1.
    pub utilisation: Option<f64>,
    /// Requests that it holds on average, those that wait for a slot included; `None` where the service time is not
    /// known or the load is beyond its capacity.
    pub in_flight: Option<f64>,
    /// Seconds that a request waits on average before it is worked on; `None` as above.
    pub queue_seconds: Option<f64>,
}

/// Where the shares of a pool come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// Closed form: exact in the long run.
    ClosedForm,
    /// Closed form for few requests in flight, because rates or speeds are not known.
    LowLoad,
    /// A seeded run of the event engine.
    Simulated,
    /// The hash table was built and measured.
    Table,
    /// Not known.
    Unknown,
}

impl Method {
    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClosedForm => "closed_form",
            Self::LowLoad => "low_load",
            Self::Simulated => "simulated",
            Self::Table => "table",
            Self::Unknown => "unknown",
        }
    }
}

/// Another day than a usual one.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Which.
    pub case: CaseKind,
    /// What happens, for a person; lower case, no full stop.
    pub title: String,
    /// The pools it concerns, in file order.
    pub pools: Vec<PoolForecast>,
}

/// Which day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CaseKind {
    /// A fifth more than the peak.
    PeakAndFifth,
    /// Backends fail and requests are tried again.
    Retries,
    /// The balancer or a backend has just started.
    Restart,
    /// No backend is healthy.
    NobodyHealthy,
    /// What is drained now comes back.
    Draining,
    /// The revision that a rollback goes back to, under the load of today.
    RollbackTarget,
}

impl CaseKind {
    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PeakAndFifth => "peak_and_fifth",
            Self::Retries => "retries",
            Self::Restart => "restart",
            Self::NobodyHealthy => "fail_open",
            Self::Draining => "draining",
            Self::RollbackTarget => "rollback_target",
        }
    }
}

/// The pools as they would be with something out.
#[derive(Debug, Clone, PartialEq)]
pub struct FailureCase {
    /// What is out: `backend:shop/web-1` or `zone:a`.
    pub out: String,
    /// The pools it concerns, in file order.
    pub pools: Vec<PoolForecast>,
}

/// What could be out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Out {
    /// One backend.
    Backend {
        /// Its pool.
        pool: String,
        /// Its name.
        backend: String,
    },
    /// Every backend of a zone, in all pools.
    Zone(String),
}

impl fmt::Display for Out {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backend { pool, backend } => write!(f, "backend:{pool}/{backend}"),
            Self::Zone(zone) => write!(f, "zone:{zone}"),
        }
    }
}

impl PoolForecast {
    /// The highest utilisation of any backend; `None` when none is known.
    pub fn highest_utilisation(&self) -> Option<f64> {
        self.backends
            .iter()
            .filter_map(|backend| backend.utilisation)
            .max_by(f64::total_cmp)
    }
}

impl Forecast {
    /// The pool called `name`.
    pub fn pool(&self, name: &str) -> Option<&PoolForecast> {
        self.pools.iter().find(|pool| pool.name == *name)
    }
}

/// What `setup` will do under what is known: all pools as they stand, each single backend and each zone out, and the
/// cases of [`CaseKind`] that matter. Work is bounded: see the constants of this room.
pub fn forecast(setup: &Setup, facts: &Facts) -> Forecast {
    let mut budget = Budget::full();
    let seen = facts;
    let (facts, of_routes) = routed::under(setup, seen);
    let facts = &*facts;
    let mut forecast = Forecast {
        notes: of_routes,
        ..Forecast::default()
    };
    for pool in &setup.pools {
        let base = pool::forecast(pool, facts, &Day::usual(), &mut budget);
        notes::add(&mut forecast.notes, pool, facts, &base);
        forecast.notes.extend(notes::of_place(pool));
        forecast.pools.push(base);
    }
    forecast.failures = failures::all(
        setup,
        facts,
        &forecast.pools,
        &mut budget,
        &mut forecast.notes,
    );
    forecast.cases = cases::all(setup, facts, seen, &forecast.pools, &mut budget);
    forecast
}

/// The pools that `out` concerns, with it out; `None` when it concerns none.
pub fn forecast_without(setup: &Setup, facts: &Facts, out: &Out) -> Option<FailureCase> {
    failures::one(
        setup,
        &routed::under(setup, facts).0,
        out,
        &mut Budget::full(),
    )
}

#[cfg(test)]
mod tests;
