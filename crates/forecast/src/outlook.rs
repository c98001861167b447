//! The forecast of a configuration: each backend's share, rate and utilisation, now and with one backend or zone out.
//!
//! Rates are those of the pool's peak: `peak_rps`, else the highest minute seen x 1.2. A rate is per backend
//! `share x peak`; utilisation is rate over declared capacity and may exceed 1. Retries, which add load in a fault,
//! are not in these numbers. Shares under `least_request` are estimated by the event engine where rate and capacities
//! are known, and `None` elsewhere.

use std::fmt;

use evenkeel_balance::member::Standing;
use evenkeel_model::setup::{Pool, Setup};

use crate::estimate::{Budget, ESTIMATES_MAX};
use crate::facts::Facts;
use crate::failover::Turnout;
use crate::shares;

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
    /// Each single backend out, in file order; of pools beyond [`FAILURES_FULL_MAX`] only the worst cases. Then each
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

/// What `setup` will do under what is known: all pools as they stand, each single backend of pools with two or more out.
pub fn forecast(setup: &Setup, facts: &Facts) -> Forecast {
    let mut forecast = Forecast::default();
    let mut budget = Budget(ESTIMATES_MAX);
    for pool in &setup.pools {
        let base = pool_forecast(pool, facts, |_| false, &mut budget);
        if base.method == Method::Simulated {
            forecast.notes.push(format!(
                "pool `{}`: the shares follow the load; these are estimated by simulation",
                pool.name
            ));
        }
        let outs = failures_shown(pool, &base);
        if outs.len() < pool.backends.len() && pool.backends.len() > 1 {
            forecast.notes.push(format!(
                "pool `{}` has {} backends; of the loss of one only the {} worst cases are shown",
                pool.name,
                pool.backends.len(),
                outs.len()
            ));
        }
        for out in outs {
            if let Some(backend) = pool.backends.get(out) {
                let out_name = Out::Backend {
                    pool: pool.name.clone(),
                    backend: backend.name.clone(),
                };
                forecast.failures.push(FailureCase {
                    out: out_name.to_string(),
                    pools: vec![pool_forecast(pool, facts, |i| i == out, &mut budget)],
                });
            }
        }
        forecast.pools.push(base);
    }
    forecast
}

/// The pools that `out` concerns, with it out; `None` when it concerns none.
pub fn forecast_without(setup: &Setup, facts: &Facts, out: &Out) -> Option<FailureCase> {
    let is_out = |pool: &Pool, index: usize| {
        pool.backends.get(index).is_some_and(|b| match out {
            Out::Backend { pool: p, backend } => pool.name == *p && b.name == *backend,
            Out::Zone(zone) => b.zone.as_ref() == Some(zone),
        })
    };
    let mut budget = Budget(ESTIMATES_MAX);
    let concerned = |pool: &&Pool| (0..pool.backends.len()).any(|index| is_out(pool, index));
    let pools: Vec<PoolForecast> = setup
        .pools
        .iter()
        .filter(concerned)
        .map(|pool| pool_forecast(pool, facts, |index| is_out(pool, index), &mut budget))
        .collect();
    (!pools.is_empty()).then(|| FailureCase {
        out: out.to_string(),
        pools,
    })
}

/// Indices of the backends whose loss is shown.
fn failures_shown(pool: &Pool, base: &PoolForecast) -> Vec<usize> {
    let count = pool.backends.len();
    if count < 2 {
        return Vec::new();
    }
    let mut all: Vec<usize> = (0..count).collect();
    if count > FAILURES_FULL_MAX {
        let weight = |index: usize| pool.backends.get(index).map_or(0, |b| b.weight);
        let share = |index: usize| {
            base.backends
                .get(index)
                .and_then(|b| b.expected_share)
                .unwrap_or(0.0)
        };
        all.sort_by(|a, b| {
            share(*b)
                .total_cmp(&share(*a))
                .then_with(|| weight(*b).cmp(&weight(*a)))
                .then_with(|| a.cmp(b))
        });
        all.truncate(WORST_CASES);
        all.sort_unstable();
    }
    all
}

fn pool_forecast(
    pool: &Pool,
    facts: &Facts,
    out: impl Fn(usize) -> bool,
    budget: &mut Budget,
) -> PoolForecast {
    // What is out is gone: it takes no traffic even when the pool fails open.
    let standing = |index: usize| {
        if out(index) {
            Standing::Drained
        } else {
            facts.standing(pool, index)
        }
    };
    let turnout = Turnout::of(pool, standing);
    let rps = facts.peak_rps(pool);
    let spread = shares::of(pool, facts, &turnout, rps, budget);
    let intended = turnout.intended(pool);
    let backends = pool.backends.iter().enumerate().map(|(index, backend)| {
        let share = spread.shares.get(index).copied().flatten();
        let expected_share = share.map(|s| s.mid);
        let expected_rps = expected_share.zip(rps).map(|(share, rps)| share * rps);
        let capacity = backend.capacity_rps.filter(|capacity| *capacity > 0.0);
        BackendForecast {
            name: backend.name.clone(),
            intended_share: intended.as_ref().and_then(|s| s.get(index)).copied(),
            expected_share,
            share_low: share.and_then(|s| s.low),
            share_high: share.and_then(|s| s.high),
            expected_rps,
            utilisation: expected_rps
                .zip(capacity)
                .map(|(rps, capacity)| rps / capacity),
            in_flight: None,
            queue_seconds: None,
        }
    });
    PoolForecast {
        name: pool.name.clone(),
        rps,
        method: spread.method,
        backends: backends.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Out, WORST_CASES, forecast, forecast_without};
    use crate::facts::{Facts, PoolFacts};
    use evenkeel_balance::Standing;
    use evenkeel_model::setup::Setup;

    fn name(text: &str) -> String {
        text.to_owned()
    }

    fn config(pool: &str, backends: &[&str]) -> Setup {
        let mut parts = vec![format!(
            "[listener.web]\naddress = \"127.0.0.1:8080\"\n[[route]]\nlistener = \"web\"\npool = \"shop\"\n[pool.shop]\n{pool}\n"
        )];
        for (i, backend) in backends.iter().enumerate() {
            let (n, port) = (i + 1, 9_001 + i);
            parts.push(format!(
                "[pool.shop.backend.web-{n}]\naddress = \"127.0.0.1:{port}\"\n{backend}\n"
            ));
        }
        let text = parts.concat();
        let parsed = evenkeel_model::parse::parse(&text, None);
        let config = parsed.config;
        Setup::of(&config.unwrap_or_else(|| panic!("{:?}", parsed.findings)))
    }

    fn close(a: Option<f64>, b: f64) -> bool {
        a.is_some_and(|a| (a - b).abs() < 1e-9)
    }

    #[test]
    fn the_numbers_of_the_contract_hold_together() {
        let backend = "capacity_rps = 600";
        let even = forecast(&config("peak_rps = 900", &[backend; 3]), &Facts::default());
        assert!(
            even.pools[0]
                .backends
                .iter()
                .all(|b| close(b.utilisation, 0.5))
        );
        assert_eq!(even.failures.len(), 3);
        for (case, out) in even.failures.iter().zip(["web-1", "web-2", "web-3"]) {
            assert_eq!(case.out, format!("backend:shop/{out}"));
            assert!(close(case.pools[0].highest_utilisation(), 0.75));
            let gone = case.pools[0].backends.iter().find(|b| b.name == *out);
            assert!(
                gone.is_some_and(|b| close(b.expected_share, 0.0) && close(b.intended_share, 0.0))
            );
        }
        let heavy = "capacity_rps = 600\nweight = 10";
        let one = "capacity_rps = 600\nweight = 1";
        let typo = forecast(
            &config("peak_rps = 900", &[heavy, one, one]),
            &Facts::default(),
        );
        let backend = &typo.pools[0].backends[0];
        assert!(close(backend.expected_rps, 750.0) && close(backend.utilisation, 1.25));
        assert!(
            close(backend.intended_share, 1.0 / 3.0) && close(backend.expected_share, 10.0 / 12.0)
        );
    }

    #[test]
    fn what_is_not_known_is_none() {
        let none = forecast(&config("", &["", ""]), &Facts::default());
        let backend = &none.pools[0].backends[0];
        assert_eq!(
            (none.pools[0].rps, backend.expected_rps, backend.utilisation),
            (None, None, None)
        );
        assert!(close(backend.expected_share, 0.5));
        let load = forecast(
            &config("algorithm = \"least_request\"\npeak_rps = 10", &["", ""]),
            &Facts::default(),
        );
        assert_eq!(load.pools[0].backends[0].expected_share, None);
        assert!(close(
            load.failures[0].pools[0].backends[1].expected_share,
            1.0
        ));
    }

    #[test]
    fn without_a_declared_peak_the_highest_minute_counts_with_a_fifth_on_top() {
        let config = config("", &["capacity_rps = 100", "capacity_rps = 100"]);
        let mut facts = Facts::default();
        let seen = PoolFacts {
            highest_minute_rps: Some(100.0),
            ..PoolFacts::default()
        };
        facts.pools.insert(name("shop"), seen);
        assert!(close(forecast(&config, &facts).pools[0].rps, 120.0));
        assert!(close(
            forecast(&config, &facts).pools[0].backends[0].utilisation,
            0.6
        ));
    }

    #[test]
    fn backends_that_are_down_or_drained_give_their_share_to_the_others() {
        let config = config("peak_rps = 900", &["capacity_rps = 600"; 3]);
        let mut facts = Facts::default();
        let mut pool = PoolFacts::default();
        pool.standings.insert(name("web-1"), Standing::Down);
        facts.pools.insert(name("shop"), pool.clone());
        let down = forecast(&config, &facts);
        assert!(close(down.pools[0].highest_utilisation(), 0.75));
        assert!(close(down.failures[1].pools[0].highest_utilisation(), 1.5));
        // Nobody healthy: fail-open over those that are not drained.
        pool.standings.insert(name("web-2"), Standing::Down);
        pool.standings.insert(name("web-3"), Standing::Drained);
        facts.pools.insert(name("shop"), pool);
        let open = forecast(&config, &facts);
        assert!(close(open.pools[0].backends[0].expected_share, 0.5));
        assert!(close(open.pools[0].backends[2].expected_share, 0.0));
        // What is out is gone, it takes nothing even when the rest of the pool fails open.
        let out = &open.failures[0].pools[0];
        assert!(
            close(out.backends[0].expected_share, 0.0)
                && close(out.backends[1].expected_share, 1.0)
        );
    }

    #[test]
    fn a_zone_can_be_out_as_a_whole() {
        let (a, b) = (
            "capacity_rps = 600\nzone = \"a\"",
            "capacity_rps = 600\nzone = \"b\"",
        );
        let config = config("peak_rps = 900", &[a, a, b]);
        let case = forecast_without(&config, &Facts::default(), &Out::Zone(name("a"))).unwrap();
        assert_eq!(case.out, "zone:a");
        assert!(close(case.pools[0].backends[2].utilisation, 1.5));
        assert_eq!(
            forecast_without(&config, &Facts::default(), &Out::Zone(name("c"))),
            None
        );
    }

    #[test]
    fn a_very_large_pool_shows_the_losses_that_weigh_most_and_says_so() {
        let mut backends = vec!["capacity_rps = 100\nweight = 1"; 100];
        backends[40] = "capacity_rps = 100\nweight = 9";
        backends[70] = "capacity_rps = 100\nweight = 7";
        let config = config("peak_rps = 100", &backends);
        let forecast = forecast(&config, &Facts::default());
        let outs: Vec<&str> = forecast
            .failures
            .iter()
            .map(|case| case.out.as_str())
            .collect();
        assert_eq!(
            outs,
            [
                "backend:shop/web-1",
                "backend:shop/web-41",
                "backend:shop/web-71"
            ]
        );
        assert!(outs.len() == WORST_CASES && forecast.notes[0].contains("worst cases"));
        // The highest utilisation that any single loss causes is among those shown.
        let highest = |out: &str| {
            let out = Out::Backend {
                pool: name("shop"),
                backend: name(out),
            };
            let case = forecast_without(&config, &Facts::default(), &out).unwrap();
            case.pools[0].highest_utilisation().unwrap()
        };
        let any = (1..=100)
            .map(|n| highest(&format!("web-{n}")))
            .fold(0.0, f64::max);
        let shown = forecast
            .failures
            .iter()
            .filter_map(|c| c.pools[0].highest_utilisation())
            .fold(0.0, f64::max);
        assert!((any - shown).abs() < 1e-12, "{any} {shown}");
    }

    #[test]
    fn least_request_is_estimated_the_same_way_every_time() {
        let pool = "algorithm = \"least_request\"\npeak_rps = 900";
        let even = config(pool, &["capacity_rps = 600"; 3]);
        let first = forecast(&even, &Facts::default());
        assert_eq!(first, forecast(&even, &Facts::default()));
        for backend in &first.pools[0].backends {
            assert!(
                (backend.expected_share.unwrap() - 1.0 / 3.0).abs() < 0.02,
                "{first:?}"
            );
        }
        assert!((first.failures[0].pools[0].backends[1].utilisation.unwrap() - 0.75).abs() < 0.04);
        assert!(first.notes[0].contains("estimated"));
        // Under load a weight of 10 gets more than the others, but less than weights alone would give it.
        let (heavy, one) = (
            "capacity_rps = 600\nweight = 10",
            "capacity_rps = 600\nweight = 1",
        );
        let typo = forecast(&config(pool, &[heavy, one, one]), &Facts::default());
        let share = typo.pools[0].backends[0].expected_share.unwrap();
        assert!(share > 0.5 && share < 10.0 / 12.0, "{share}");
    }
}
