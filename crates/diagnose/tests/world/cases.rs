//! The cases, each over [`SEEDS`] seeds.

use evenkeel_diagnose::evidence::OutReason;
use evenkeel_diagnose::{Drift, HotKey, MARGIN_TO_ACT, diagnose, margin};
use evenkeel_model::blame::{Cause, Mechanism, Subject};
use evenkeel_model::config::{
    Algorithm, BackendTls, Health, HealthCheck, HttpCheck, Intent, StickyCookie, TlsVersion,
};
use evenkeel_model::ids::RevisionId;
use evenkeel_model::record::DiagnosisRecord;
use std::time::Duration;

use crate::build::{Fault, WELL, World, name, pool};

const SEEDS: u64 = 200;
const EVEN: [Option<f64>; 3] = [Some(600.0); 3];
const SLOW: Fault = Fault {
    slow_factor: 6.0,
    ..WELL
};
const FAILS: Fault = Fault {
    errors: 0.5,
    ..WELL
};

/// Runs `world` over all seeds and asks that `right` holds in 95 % of them. Gives all diagnoses.
pub(crate) fn score(
    case: &str,
    world: impl Fn(u64) -> World,
    right: impl Fn(&DiagnosisRecord) -> bool,
) -> Vec<DiagnosisRecord> {
    let all: Vec<DiagnosisRecord> = (0..SEEDS).map(|s| diagnose(&world(s).evidence())).collect();
    let wrong: Vec<usize> = (0..all.len()).filter(|i| !right(&all[*i])).collect();
    let mut margins: Vec<f64> = all.iter().map(margin).collect();
    margins.sort_by(f64::total_cmp);
    println!(
        "{case}: {} of {SEEDS} right, margin min {:.0}, median {:.0} nats",
        all.len() - wrong.len(),
        margins[0],
        margins[margins.len() / 2]
    );
    assert!(
        wrong.len() * 20 <= all.len(),
        "{case}: wrong for seeds {wrong:?}, such as {:#?}",
        all[wrong[0]]
    );
    all
}

pub(crate) fn is(
    cause: Cause,
    mechanism: Mechanism,
    subject: &str,
) -> impl Fn(&DiagnosisRecord) -> bool {
    let subject = subject.to_owned();
    move |d| {
        (d.cause, d.mechanism) == (cause, mechanism)
            && d.subject
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default()
                == subject
    }
}

fn typo(seed: u64, rate: f64) -> World {
    let mut w = World::new(seed, pool(&[1, 1, 1], &EVEN), rate);
    w.revise(0.2, "backend.web-1.weight", |p| p.backends[0].weight = 10);
    w
}

fn act(all: &[DiagnosisRecord]) -> usize {
    all.iter().filter(|d| margin(d) >= MARGIN_TO_ACT).count()
}

#[test]
fn a_weight_typo_is_found_and_a_decoy_deployment_is_never_blamed() {
    let right = is(Cause::ConfigRevision, Mechanism::Weight, "revision:r2");
    for (what, ago, backends) in [
        ("before, on all", 300.0, &[][..]),
        ("just before, on all", 2.0, &[]),
        ("just before, on the overloaded one", 2.0, &["web-1"]),
        ("just after", -1.0, &["web-1"]),
        ("long after", -8.0, &[]),
    ] {
        let world = |seed| {
            let mut w = typo(seed, 900.0);
            w.deploy(ago, backends);
            w
        };
        let all = score(&format!("typo, deployment {what}"), world, &right);
        assert!(all.iter().all(|d| d.cause != Cause::Deployment));
        assert_eq!(act(&all), all.len(), "the margin is enough every time");
        let cleared = |d: &DiagnosisRecord| {
            let decoy = d
                .candidates
                .iter()
                .find(|c| c.cause == Cause::Deployment)
                .unwrap();
            !decoy.evidence_against.is_empty()
        };
        assert!(
            all.iter().all(cleared),
            "every decoy is cleared with a reason"
        );
    }
}

#[test]
fn a_typo_is_found_without_harm_and_without_declared_capacity() {
    let right = is(Cause::ConfigRevision, Mechanism::Weight, "revision:r2");
    let all = score("typo at 60 rps, no harm", |seed| typo(seed, 60.0), &right);
    assert_eq!(act(&all), all.len());
    let undeclared = |seed| {
        let mut w = World::new(seed, pool(&[1, 1, 1], &[None; 3]), 900.0);
        w.deploy(2.0, &["web-1"]);
        w.revise(0.2, "backend.web-1.weight", |p| p.backends[0].weight = 10);
        w
    };
    let all = score("typo, no capacity declared", undeclared, &right);
    assert!(all.iter().all(|d| d.cause != Cause::Deployment));
}

#[test]
fn load_alone_tells_a_typo_from_a_deployment_where_the_weights_are_the_intent() {
    let world = |seed| {
        let mut w = World::new(seed, pool(&[1, 1, 1], &EVEN), 900.0);
        w.now.intent = Intent::Weight;
        w.deploy(2.0, &["web-1"]);
        w.revise(0.2, "backend.web-1.weight", |p| p.backends[0].weight = 10);
        w
    };
    let right = is(Cause::ConfigRevision, Mechanism::Weight, "revision:r2");
    let all = score("typo, intent weight", world, right);
    assert!(all.iter().all(|d| d.cause != Cause::Deployment));
    assert_eq!(act(&all), all.len());
}

#[test]
fn an_algorithm_that_ignores_weights_is_found() {
    let capacities = [Some(600.0), Some(300.0), Some(300.0)];
    let world = |seed| {
        let mut w = World::new(seed, pool(&[2, 1, 1], &capacities), 1_000.0);
        w.deploy(120.0, &[]);
        w.revise(0.1, "algorithm", |p| p.algorithm = Algorithm::LeastRequest);
        w.shares = Some(vec![1.0, 1.0, 1.0]);
        w
    };
    let right = is(Cause::ConfigRevision, Mechanism::Algorithm, "revision:r2");
    let all = score("algorithm without weights", world, &right);
    assert!(all.iter().all(|d| d.cause != Cause::Deployment));
}

#[test]
fn a_bad_version_is_blamed_on_its_deployment_and_not_on_a_harmless_revision() {
    for fault in [SLOW, FAILS] {
        let mechanism = if fault.errors > 0.1 {
            Mechanism::Errors
        } else {
            Mechanism::Latency
        };
        let right = is(Cause::Deployment, mechanism, "deployment:shop/v2");
        let harmless = |seed| {
            let mut w = World::new(seed, pool(&[10, 10, 10], &EVEN), 600.0);
            w.revise(60.0, "response_timeout", |p| {
                p.response_timeout = Duration::from_secs(20);
            });
            w.revise(20.0, "backend.web-1.weight", |p| p.backends[0].weight = 11);
            w.before = w.now.clone();
            w
        };
        let one = |seed| {
            let mut w = harmless(seed);
            w.deploy(3.0, &["web-2"]);
            w.faults[1] = fault;
            w
        };
        score("bad version on one", one, &right);
        let little = |seed| {
            let mut w = World::new(seed, pool(&[1, 1, 1], &EVEN), 60.0);
            w.deploy(3.0, &["web-2"]);
            w.faults[1] = fault;
            w
        };
        score("bad version on one, 60 rps", little, &right);
        let every = |seed| {
            let mut w = harmless(seed);
            w.deploy(3.0, &[]);
            w.faults = vec![fault; 3];
            w
        };
        score("bad version on all", every, &right);
    }
}

#[test]
fn a_backend_that_breaks_by_itself_is_named_and_an_old_deployment_is_not() {
    let world = |fault: Fault| {
        move |seed| {
            let mut w = World::new(seed, pool(&[1, 1, 1], &EVEN), 600.0);
            w.deploy(300.0, &[]);
            w.revise(100.0, "response_timeout", |p| {
                p.response_timeout = Duration::from_secs(20);
            });
            w.faults[2] = fault;
            w
        }
    };
    let subject = "backend:shop/web-3";
    score(
        "slow backend",
        world(SLOW),
        is(Cause::BackendFault, Mechanism::Latency, subject),
    );
    score(
        "failing backend",
        world(FAILS),
        is(Cause::BackendFault, Mechanism::Errors, subject),
    );
    let times_out = Fault {
        timeouts: 1.0,
        ..WELL
    };
    score(
        "backend that times out",
        world(times_out),
        is(Cause::BackendFault, Mechanism::Latency, subject),
    );
    let hangs = Fault {
        hangs: true,
        ..WELL
    };
    score(
        "backend that hangs",
        world(hangs),
        is(Cause::BackendFault, Mechanism::Latency, subject),
    );
}

#[test]
fn a_sinkhole_under_least_request_is_the_backends_fault_though_it_draws_the_load() {
    let world = |seed| {
        let mut p = pool(&[1, 1, 1], &EVEN);
        p.algorithm = Algorithm::LeastRequest;
        let mut w = World::new(seed, p, 900.0);
        w.deploy(200.0, &[]);
        w.faults[0] = Fault {
            errors: 0.95,
            ..WELL
        };
        w.shares = Some(vec![0.7, 0.15, 0.15]);
        w
    };
    let right = is(Cause::BackendFault, Mechanism::Errors, "backend:shop/web-1");
    score("sinkhole", world, right);
}

#[test]
fn a_surge_above_capacity_is_a_shortfall_and_one_within_it_is_nothing() {
    let surge = |rate: f64| {
        move |seed| {
            let mut w = World::new(seed, pool(&[1, 1, 1], &EVEN), 600.0);
            w.deploy(60.0, &[]);
            w.revise(15.0, "response_timeout", |p| {
                p.response_timeout = Duration::from_secs(20);
            });
            w.rate = rate;
            w
        }
    };
    let right = is(Cause::CapacityShortfall, Mechanism::None, "pool:shop");
    score("surge above capacity", surge(2_300.0), right);
    score("surge within capacity", surge(1_100.0), |d| {
        d.cause == Cause::Unknown && d.subject.is_none()
    });
    score("nothing at all", surge(600.0), |d| {
        d.cause == Cause::Unknown && margin(d) <= 0.0
    });
}

#[test]
fn a_revision_after_the_onset_is_vetoed_whatever_it_does_to_the_shares() {
    let world = |seed| {
        let mut w = World::new(seed, pool(&[1, 1, 1], &EVEN), 600.0);
        w.faults[0] = SLOW;
        w.revise(-3.0, "backend.web-2.weight", |p| p.backends[1].weight = 2);
        w
    };
    let right = is(
        Cause::BackendFault,
        Mechanism::Latency,
        "backend:shop/web-1",
    );
    let all = score("revision after the onset", world, right);
    let vetoed = |d: &DiagnosisRecord| {
        d.candidates.iter().any(|c| {
            c.subject == Subject::Revision(RevisionId(2))
                && c.score.is_infinite()
                && c.evidence_against[0].contains("after the latest plausible onset")
        })
    };
    assert!(all.iter().all(vetoed));
}

#[test]
fn of_two_revisions_the_one_that_did_it_is_named() {
    let first_harmless = |seed| {
        let mut w = World::new(seed, pool(&[10, 10, 10], &EVEN), 900.0);
        w.revise(4.0, "backend.web-2.weight", |p| p.backends[1].weight = 11);
        w.revise(0.3, "backend.web-1.weight", |p| p.backends[0].weight = 100);
        w
    };
    let right = is(Cause::ConfigRevision, Mechanism::Weight, "revision:r3");
    let all = score("harmless, then typo", first_harmless, right);
    assert_eq!(act(&all), all.len());
    let first_typo = |seed| {
        let mut w = World::new(seed, pool(&[10, 10, 10], &EVEN), 900.0);
        w.revise(0.3, "backend.web-1.weight", |p| p.backends[0].weight = 100);
        w.revise(-2.0, "backend.web-2.weight", |p| p.backends[1].weight = 11);
        w
    };
    let right = is(Cause::ConfigRevision, Mechanism::Weight, "revision:r2");
    let all = score("typo, then harmless", first_typo, right);
    assert_eq!(act(&all), all.len());
}

#[test]
fn a_revision_that_breaks_something_else_than_shares_is_named_with_its_mechanism() {
    let base = |seed| {
        let mut w = World::new(seed, pool(&[1, 1, 1], &EVEN), 900.0);
        w.deploy(100.0, &[]);
        w
    };
    let limit = |seed| {
        let mut w: World = base(seed);
        w.revise(0.5, "max_in_flight", |p| p.max_in_flight = Some(2));
        w.unpicked = 0.3;
        w
    };
    let right = is(Cause::ConfigRevision, Mechanism::Limit, "revision:r2");
    score("limit too low", limit, right);
    let timeout = |seed| {
        let mut w: World = base(seed);
        w.revise(0.5, "response_timeout", |p| {
            p.response_timeout = Duration::from_millis(10);
        });
        w.faults = vec![
            Fault {
                timeouts: 0.3,
                ..WELL
            };
            3
        ];
        w
    };
    let right = is(Cause::ConfigRevision, Mechanism::Timeout, "revision:r2");
    score("timeout too short", timeout, right);
    let health = |seed| {
        let mut w: World = base(seed);
        w.revise(3.0, "health.path", |p| {
            p.health = Some(Health {
                check: HealthCheck::Http(HttpCheck {
                    path: "/nope".to_owned(),
                    host: None,
                    expect_status: (200, 299),
                }),
                interval: Duration::from_secs(1),
                interval_down: Duration::from_secs(1),
                timeout: Duration::from_secs(1),
                rise: 2,
                fall: 3,
            });
        });
        w.take_out(0, OutReason::Health, 0.0);
        w.take_out(1, OutReason::Health, 0.0);
        w
    };
    let right = is(Cause::ConfigRevision, Mechanism::HealthCheck, "revision:r2");
    score("health check with a wrong path", health, right);
}

#[test]
fn a_drain_of_too_many_a_zone_and_a_dependency_are_told_apart() {
    let drained = |seed| {
        let mut w = World::new(seed, pool(&[1, 1, 1], &EVEN), 1_000.0);
        w.deploy(100.0, &[]);
        w.take_out(0, OutReason::Drain, 5.0);
        w.take_out(1, OutReason::Drain, 1.0);
        w
    };
    score(
        "drain of two of three",
        drained,
        is(Cause::Drain, Mechanism::None, "pool:shop"),
    );
    let wide = |faults: [Fault; 4]| {
        move |seed| {
            let mut w = World::new(seed, pool(&[1; 4], &[Some(600.0); 4]), 800.0);
            w.deploy(600.0, &[]);
            w.faults = faults.to_vec();
            w
        }
    };
    let lost = Fault {
        refuses: 0.5,
        ..WELL
    };
    let zone = wide([lost, WELL, lost, WELL]);
    score(
        "network to a zone",
        zone,
        is(Cause::Network, Mechanism::Zone, "zone:a"),
    );
    let right = is(Cause::Dependency, Mechanism::Latency, "pool:shop");
    score("slow dependency", wide([SLOW; 4]), right);
}

#[test]
fn a_revision_after_which_no_backend_is_believed_is_to_blame_by_its_tls() {
    let world = |seed| {
        let mut w = World::new(seed, pool(&[1, 1, 1], &EVEN), 600.0);
        w.revise(0.3, "tls.name", |p| {
            p.tls = Some(BackendTls {
                ca: Some("ca.pem".into()),
                name: Some("other.internal".to_owned()),
                certificate: None,
                min_version: TlsVersion::V12,
            });
        });
        let lost = Fault {
            refuses: 1.0,
            ..WELL
        };
        w.faults = vec![lost; 3];
        w
    };
    let right = is(Cause::ConfigRevision, Mechanism::Tls, "revision:r2");
    score("another name of certificates", world, right);
}

#[test]
fn a_backend_that_got_a_wrong_address_and_drift_are_named() {
    let moved = |seed| {
        let mut w = World::new(seed, pool(&[1, 1, 1], &EVEN), 600.0);
        w.revise(0.3, "backend.web-2.address", |p| {
            p.backends[1].address = p.backends[0].address.clone();
            p.backends[1].zone = Some(name("c"));
        });
        w.faults[1] = Fault {
            refuses: 1.0,
            ..WELL
        };
        w
    };
    let right = is(Cause::ConfigRevision, Mechanism::Membership, "revision:r2");
    score("wrong address", moved, right);
    let drifted = |seed| {
        let mut w = World::new(seed, pool(&[1, 1, 1], &EVEN), 900.0);
        w.deploy(30.0, &[]);
        w.shares = Some(vec![10.0, 1.0, 1.0]);
        w
    };
    score(
        "drift",
        drifted,
        is(Cause::ConfigDrift, Mechanism::None, "pool:shop"),
    );
}

#[test]
fn drift_has_the_mechanism_that_was_told_or_that_the_picks_show() {
    let told = |seed| {
        let mut w = World::new(seed, pool(&[1, 1, 1], &EVEN), 900.0);
        w.shares = Some(vec![10.0, 1.0, 1.0]);
        w.drift = Some(Drift {
            what: "`shop/web-1` runs with weight 10, r2 says 1".to_owned(),
            mechanism: Mechanism::Weight,
            pushed: None,
        });
        w
    };
    let right = is(Cause::ConfigDrift, Mechanism::Weight, "pool:shop");
    score("drift of a weight", told, right);
    let stale = |seed| {
        let mut w: World = told(seed);
        w.drift.as_mut().unwrap().pushed = Some(RevisionId(1));
        w
    };
    let right = is(Cause::ConfigDrift, Mechanism::Weight, "revision:r1");
    score("stale push", stale, right);
    let capacities = [Some(1_800.0), Some(300.0), Some(300.0)];
    let level = |seed| {
        let mut w = World::new(seed, pool(&[6, 1, 1], &capacities), 600.0);
        w.shares = Some(vec![1.0, 1.0, 1.0]);
        w
    };
    let right = is(Cause::ConfigDrift, Mechanism::Algorithm, "pool:shop");
    score("drift of the algorithm", level, right);
}

#[test]
fn a_shortened_timeout_explains_what_it_cuts_off_and_no_more() {
    let cut = Fault {
        timeouts: 0.3,
        ..WELL
    };
    let world = |timeout: Duration, ago: f64| {
        move |seed| {
            let mut w = World::new(seed, pool(&[1, 1, 1], &EVEN), 900.0);
            w.deploy(10.0, &[]);
            w.revise(ago, "response_timeout", |p| p.response_timeout = timeout);
            w.faults = vec![cut; 3];
            w
        }
    };
    let right = is(Cause::ConfigRevision, Mechanism::Timeout, "revision:r2");
    let short = world(Duration::from_millis(10), 0.5);
    let all = score("timeout too short, deployment 10 s before", short, right);
    assert_eq!(act(&all), all.len(), "the decoy earns nothing");
    let cleared = |d: &DiagnosisRecord| {
        let decoy = d.candidates.iter().find(|c| c.cause == Cause::Deployment);
        let con = &decoy.unwrap().evidence_against;
        con.iter().any(|line| line.contains("a shortened timeout"))
    };
    assert!(all.iter().all(cleared));
    // Nothing took ten seconds before: whoever does now became slow.
    let right = is(Cause::Deployment, Mechanism::Errors, "deployment:shop/v2");
    let ample = world(Duration::from_secs(10), 0.5);
    score("version that times out, ample timeout", ample, right);
}

#[test]
fn a_limit_that_a_revision_lowered_is_that_revision_and_one_that_stood_before_is_the_limit() {
    for ago in [0.0, 0.5, 60.0, 1_000.0] {
        let world = |seed| {
            let mut w = World::new(seed, pool(&[1, 1, 1], &EVEN), 900.0);
            w.revise(ago, "max_in_flight", |p| p.max_in_flight = Some(2));
            w.unpicked = 0.3;
            w
        };
        let right = is(Cause::ConfigRevision, Mechanism::Limit, "revision:r2");
        let all = score(&format!("limit set {ago} s before"), world, right);
        assert_eq!(act(&all), all.len(), "its key stands against nobody else");
    }
    let stood = |seed| {
        let mut p = pool(&[1, 1, 1], &EVEN);
        p.max_in_flight = Some(2);
        let mut w = World::new(seed, p, 900.0);
        w.revise(-2.0, "max_in_flight", |p| p.max_in_flight = Some(1));
        w.unpicked = 0.3;
        w
    };
    let right = is(Cause::Limit, Mechanism::Limit, "pool:shop");
    score("limit of old, lowered after the onset", stood, right);
}

/// Keys decide: even parts of them, and one that brings `part` of the requests to web-1 after the onset.
fn keyed(seed: u64, rate: f64, part: f64) -> World {
    let mut hashed = pool(&[1, 1, 1], &EVEN);
    hashed.algorithm = Algorithm::Maglev;
    let mut w = World::new(seed, hashed, rate);
    w.forced = 1.0;
    let rest = (1.0 - part) / 3.0;
    w.shares = Some(vec![part + rest, rest, rest]);
    w.hot = Some(HotKey {
        hash: 42,
        part,
        backend: name("web-1"),
    });
    w
}

#[test]
fn a_hot_key_is_named_when_it_is_what_overloads_and_only_then() {
    let hot = |seed| {
        let mut w = keyed(seed, 900.0, 0.6);
        w.deploy(10.0, &["web-1"]);
        w
    };
    let right = is(Cause::HotKey, Mechanism::Key, "key:000000000000002a");
    score("hot key with a deployment 10 s before", hot, right);
    let harmless = |seed| {
        let mut w = keyed(seed, 300.0, 0.3);
        w.deploy(600.0, &[]);
        w.faults[1].errors = 0.3;
        w
    };
    let right = is(Cause::BackendFault, Mechanism::Errors, "backend:shop/web-2");
    score("a failing backend beside a hot key", harmless, right);
    let surge = |seed| {
        let mut w = keyed(seed, 2_600.0, 0.2);
        w.rate_before = 900.0;
        w
    };
    let right = is(Cause::CapacityShortfall, Mechanism::None, "pool:shop");
    score("a surge above capacity beside a hot key", surge, right);
}

#[test]
fn sessions_that_stay_on_full_backends_are_named() {
    let stuck = |seed| {
        let mut sticky = pool(&[1, 1], &EVEN[..2]);
        sticky.affinity.sticky = Some(StickyCookie {
            name: "ek".to_owned(),
            ttl: Duration::from_hours(1),
        });
        let mut w = World::new(seed, sticky, 900.0);
        w.rate = 1_400.0;
        let third = pool(&[1, 1, 1], &EVEN).backends.remove(2);
        w.revise(20.0, "backend.web-3", |pool| pool.backends.push(third));
        w.faults.push(WELL);
        w.forced = 0.9;
        w.shares = Some(vec![0.48, 0.48, 0.04]);
        w
    };
    let right = is(Cause::HotKey, Mechanism::Key, "pool:shop");
    score("sessions that stay after a scale-out", stuck, right);
}
