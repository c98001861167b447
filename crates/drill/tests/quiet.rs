//! Pool-hours without a fault: how often is an alarm raised all the same?
//!
//! Two kinds of run, with every algorithm: days that have all that is no fault (clustered requests of few clients on
//! connections that last, a rate that swings, a backend that is slower than the others, planned shifts, a drain, restarts of
//! the balancer), and the shipped controls. Every algorithm once by default; [`DAYS`] with EVENKEEL_LONG, on all cores, with
//! the 95 % upper limit of the rate (`-- --nocapture` shows it).

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may panic; a failed test is the report"
)]

use std::f64::consts::TAU;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use evenkeel_drill::scenario::{RateChange, Span};
use evenkeel_drill::{Scenario, scenario, shipped, sim};

/// Days of the long version, and seeds of each control with each algorithm.
const DAYS: u64 = 1_690;
const CONTROL_SEEDS: u64 = 3;
/// Alarms in the long version that one in ten years makes less likely than one in four thousand, up to 10,000 hours.
const ALARMS_MAX: usize = 2;
/// Hours after which the long version says how far it is.
const TOLD_EVERY: f64 = 500.0;
/// Requests per second of the users at noon and at midnight.
const RATES: (f64, f64) = (20.0, 1.0);
/// Steps of the rate in a day.
const STEPS: u32 = 48;

/// Every algorithm, with what else it needs.
const ALGORITHMS: [(&str, &str); 8] = [
    ("round_robin", ""),
    ("random", ""),
    ("least_request", ""),
    ("peak_ewma", ""),
    ("prequal", ""),
    ("ring_hash", HASH),
    ("maglev", HASH),
    ("rendezvous", HASH),
];
const HASH: &str = "hash = { header = \"x-user\" }";

const DAY: &str = r#"
schema = 1
name = "day"
title = "A day without a fault"
duration = "6h"

[config]
text = '''
[listener.web]
address = "127.0.0.1:8080"

[[route]]
listener = "web"
pool = "shop"

[pool.shop]
algorithm = "round_robin"
intent = "capacity"
peak_rps = 60
min_healthy = 2
objective = { error_rate = "1%", p99 = "500ms" }

[pool.shop.health]
path = "/healthz"
interval = "10s"

[pool.shop.backend.web-1]
address = "127.0.0.1:8081"
weight = 10
capacity_rps = 60

[pool.shop.backend.web-2]
address = "127.0.0.1:8082"
weight = 10
capacity_rps = 60

[pool.shop.backend.web-3]
address = "127.0.0.1:8083"
weight = 10
capacity_rps = 60
'''

[traffic]
clients = 40
client_skew = 0.8
requests_per_connection = 1000
key = { header = "x-user", keys = 5000 }

[stream.crawler]
rate = 2
clients = 500
requests_per_connection = 1
key = { header = "x-user", keys = 500 }

[[step]]
at = "1s"
backend_fault = { backends = ["shop/web-2"], slow_factor = 1.5 }

[[step]]
at = "40m"
apply = { set = { "pool.shop.backend.web-1.weight" = 11 }, reason = "newer machine" }

[[step]]
at = "100m"
restart = {}

[[step]]
at = "160m"
drain = { backends = ["shop/web-3"], for = "10m", reason = "kernel" }

[[step]]
at = "220m"
apply = { set = { "pool.shop.backend.web-2.weight" = 11 }, reason = "as the first" }

[[step]]
at = "280m"
restart = {}

[expect]
silent = true
"#;

/// One run.
struct Quiet {
    scenario: Scenario,
    seed: u64,
}

/// `text` with another algorithm.
fn with(text: &str, name: &str, (algorithm, keys): (&str, &str)) -> Scenario {
    let mut scenario = scenario::parse(text, name).unwrap();
    let config = scenario.config.text.as_mut().unwrap();
    let line = config.lines().find(|line| line.starts_with("algorithm"));
    let new = format!("algorithm = \"{algorithm}\"\n{keys}");
    *config = config.replace(line.unwrap(), &new);
    scenario.name = format!("{name} by {algorithm}");
    scenario
}

/// The day `seed`: it begins at another hour than the others.
fn day(seed: u64) -> Quiet {
    let algorithm = ALGORITHMS[(seed % ALGORITHMS.len() as u64) as usize];
    let mut scenario = with(DAY, "day", algorithm);
    let (noon, night) = RATES;
    let rate = |step: u32| {
        let turn = f64::from(step) / f64::from(STEPS) + seed as f64 * 0.37;
        night + (noon - night) * 0.5 * (1.0 + (turn * TAU).sin())
    };
    let length = Span(scenario.duration.0 / STEPS);
    scenario.traffic.rate = rate(0);
    let change = |step| RateChange {
        at: Span(length.0 * (step - 1)),
        rate: rate(step),
        over: length,
    };
    scenario.traffic.change = (1..=STEPS).map(change).collect();
    Quiet { scenario, seed }
}

/// The shipped controls that say nothing of one algorithm only.
fn controls(seeds: u64) -> Vec<Quiet> {
    let controls = shipped().iter().map(|s| (s.name, s.text));
    let silent = controls.filter(|(name, text)| {
        let scenario = scenario::parse(text, name).unwrap();
        scenario.expect.silent
    });
    let mut runs = Vec::new();
    for (name, text) in silent {
        for algorithm in ALGORITHMS {
            runs.extend((0..seeds).map(|seed| Quiet {
                scenario: with(text, name, algorithm),
                seed,
            }));
        }
    }
    runs
}

/// What came of the runs so far.
#[derive(Default)]
struct Found {
    hours: f64,
    alarms: Vec<String>,
    void: usize,
}

impl Found {
    #[expect(clippy::print_stdout, reason = "a long run says how far it is")]
    fn tell(&self) {
        let (hours, alarms) = (self.hours, self.alarms.len());
        let limit = upper_limit(alarms) / hours;
        println!("{hours:.0} pool-hours, {alarms} alarms, 95 % upper limit {limit:.1e} an hour");
    }
}

/// Runs all on all cores.
fn all(runs: &[Quiet]) -> Found {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Found::default()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = sim::run(&run.scenario, run.seed);
                    let mut found = found.lock().unwrap();
                    if outcome.void {
                        // At a rate this low some runs see too little at their start to be judged.
                        found.void += 1;
                        continue;
                    }
                    let before = found.hours;
                    found.hours += outcome.seconds / 3_600.0;
                    if (before / TOLD_EVERY) as u64 != (found.hours / TOLD_EVERY) as u64 {
                        found.tell();
                    }
                    if outcome.false_alarms > 0 {
                        let (name, seed) = (&run.scenario.name, run.seed);
                        let told = format!("{name}, seed {seed}: {:#?}", outcome.why);
                        found.alarms.push(told);
                    }
                }
            });
        }
    });
    found.into_inner().unwrap()
}

/// The mean at which `seen` or fewer events have a chance of 5 % (Poisson).
fn upper_limit(seen: usize) -> f64 {
    let chance = |mean: f64| {
        let terms = (1..=seen).scan(1.0, |term, k| {
            *term *= mean / k as f64;
            Some(*term)
        });
        (1.0 + terms.sum::<f64>()) * (-mean).exp()
    };
    let (mut lo, mut hi) = (0.0, 10.0 + 3.0 * seen as f64);
    for _ in 0..60 {
        let middle = f64::midpoint(lo, hi);
        if chance(middle) > 0.05 {
            lo = middle;
        } else {
            hi = middle;
        }
    }
    lo
}

#[test]
fn quiet_pools_raise_no_alarm() {
    let long = std::env::var_os("EVENKEEL_LONG").is_some();
    let (days, seeds) = if long {
        (DAYS, CONTROL_SEEDS)
    } else {
        (ALGORITHMS.len() as u64, 0)
    };
    let mut runs = controls(seeds);
    runs.extend((0..days).map(day));
    let found = all(&runs);
    found.tell();
    let most = if long { ALARMS_MAX } else { 0 };
    assert!(found.alarms.len() <= most, "{:#?}", found.alarms);
    assert!(found.void * 20 <= runs.len(), "{} void", found.void);
}

#[test]
fn the_upper_limit_of_no_event_is_three() {
    assert!((upper_limit(0) - 2.996).abs() < 0.01);
    assert!((upper_limit(2) - 6.296).abs() < 0.01);
}
