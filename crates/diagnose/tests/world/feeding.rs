//! Checks that flip, retries that feed on failures, and members that are not what they should be.

use evenkeel_diagnose::evidence::OutReason;
use evenkeel_diagnose::{LastTries, Unlisted, diagnose};
use evenkeel_model::blame::{Cause, Mechanism};
use evenkeel_model::config::{Health, HealthCheck, HttpCheck, Retry, RetryOn};
use evenkeel_model::units::Ratio;
use std::time::Duration;

use crate::build::{Fault, WELL, World, moment, pool};
use crate::cases::{is, score};

const EVEN: [Option<f64>; 3] = [Some(600.0); 3];

fn shop(seed: u64, rate: f64) -> World {
    World::new(seed, pool(&[1, 1, 1], &EVEN), rate)
}

fn check(path: &str) -> Health {
    Health {
        check: HealthCheck::Http(HttpCheck {
            path: path.to_owned(),
            host: None,
            expect_status: (200, 299),
        }),
        interval: Duration::from_secs(1),
        interval_down: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        rise: 2,
        fall: 3,
    }
}

/// The check of `place` took it out that many times; it serves well.
fn flips(world: &mut World, place: usize, times: u32) {
    world.take_out(place, OutReason::Health, 0.0);
    if let Some(out) = world.out.last_mut() {
        out.flips = times;
    }
}

#[test]
fn a_check_that_flips_is_blamed_and_neither_a_version_nor_an_old_revision_of_it() {
    let one = |seed| {
        let mut w = shop(seed, 600.0);
        w.deploy(3.0, &[]);
        flips(&mut w, 1, 3);
        w
    };
    let (cause, mechanism) = (Cause::HealthCheck, Mechanism::HealthCheck);
    score(
        "check of one flips",
        one,
        is(cause, mechanism, "backend:shop/web-2"),
    );
    let several = |seed| {
        let mut w = shop(seed, 500.0);
        flips(&mut w, 0, 3);
        flips(&mut w, 1, 4);
        w
    };
    score(
        "checks of two flip",
        several,
        is(cause, mechanism, "pool:shop"),
    );
    let old = |seed| {
        let mut w = shop(seed, 600.0);
        w.revise(600.0, "health.path", |p| p.health = Some(check("/healthz")));
        w.before = w.now.clone();
        flips(&mut w, 1, 3);
        w
    };
    score(
        "check flips, revised 10 min before",
        old,
        is(cause, mechanism, "backend:shop/web-2"),
    );
    let new = |seed| {
        let mut w = shop(seed, 600.0);
        w.revise(2.0, "health.path", |p| p.health = Some(check("/slow")));
        flips(&mut w, 1, 3);
        w
    };
    let right = is(Cause::ConfigRevision, mechanism, "revision:r2");
    score("check flips, revised 2 s before", new, right);
}

const DIES: Fault = Fault {
    timeouts: 0.9,
    ..WELL
};

fn eager() -> Retry {
    Retry {
        attempts: 3,
        budget: Ratio::from_percent(100),
        on: RetryOn::default(),
        unsafe_methods: false,
    }
}

/// One backend times out; half of the requests are tried twice, which is too much for the others.
fn storm(seed: u64) -> World {
    let mut w = shop(seed, 1_250.0);
    w.deploy(8.0, &["web-3"]);
    w.retries = 0.5;
    w.faults[0] = DIES;
    w
}

#[test]
fn a_storm_of_retries_is_named_before_its_spark_and_a_surge_is_none() {
    let right = is(Cause::RetryStorm, Mechanism::Retry, "pool:shop");
    score("retry storm", storm, &right);
    let by_clients = |seed| {
        let mut w = shop(seed, 1_250.0);
        w.rate = 1_800.0;
        w.faults[0] = Fault {
            errors: 0.95,
            ..WELL
        };
        w
    };
    score("retry storm of clients", by_clients, &right);
    let surge = |seed| {
        let mut w = shop(seed, 1_250.0);
        w.rate = 2_400.0;
        w.retries = 0.2;
        w
    };
    let right = is(Cause::CapacityShortfall, Mechanism::None, "pool:shop");
    score("surge with retries", surge, right);
    let harmless = |seed| {
        let mut w = shop(seed, 600.0);
        w.retries = 0.3;
        w.faults[0] = DIES;
        w
    };
    let all: Vec<_> = (0..50).map(|s| diagnose(&harmless(s).evidence())).collect();
    assert!(
        all.iter().all(|d| d.cause == Cause::BackendFault),
        "retries that overload nobody are no storm"
    );
}

#[test]
fn a_revision_that_let_retries_loose_is_blamed_for_the_storm() {
    let loose = |seed| {
        let mut w = storm(seed);
        w.revise(4.0, "retry.budget", |p| p.retry = eager());
        w
    };
    let right = is(Cause::ConfigRevision, Mechanism::Retry, "revision:r2");
    score("revision without a retry budget", loose, &right);
    let late = |seed| {
        let mut w = storm(seed);
        w.revise(-3.0, "retry.budget", |p| p.retry = eager());
        w
    };
    let right = is(Cause::RetryStorm, Mechanism::Retry, "pool:shop");
    score("retry storm, loosened after it", late, &right);
}

const GONE: Fault = Fault {
    refuses: 1.0,
    ..WELL
};

#[test]
fn hosts_that_were_found_and_refuse_are_still_listed_and_declared_ones_are_broken() {
    let found = |seed, gone: &[usize], discovered: bool| {
        let mut w = World::new(seed, pool(&[1; 5], &[Some(600.0); 5]), 900.0);
        for place in gone {
            w.faults[*place] = GONE;
        }
        for backend in &mut w.now.backends {
            backend.discovered = discovered;
        }
        w.before = w.now.clone();
        w.deploy(60.0, &[]);
        w
    };
    let right = is(Cause::Membership, Mechanism::Membership, "pool:shop");
    score(
        "two members gone",
        |seed| found(seed, &[0, 2], true),
        &right,
    );
    score(
        "all of a zone gone",
        |seed| found(seed, &[1, 3], true),
        &right,
    );
    score("one member gone", |seed| found(seed, &[1], true), &right);
    let broken = is(Cause::BackendFault, Mechanism::Errors, "backend:shop/web-2");
    score(
        "a declared one refuses",
        |seed| found(seed, &[1], false),
        broken,
    );
    let overloads = |seed| {
        let mut w = found(seed, &[0, 1, 2], true);
        w.rate = 1_500.0;
        w.rate_before = 1_500.0;
        for place in 0..3 {
            w.take_out(place, OutReason::Health, 0.0);
        }
        w.faults = vec![WELL; 5];
        w
    };
    let refused = |seed| {
        let mut w = overloads(seed);
        w.out
            .iter_mut()
            .for_each(|out| out.last = LastTries::Refused);
        w
    };
    score("three gone, out by their check", refused, &right);
    let hangs = |seed| {
        let mut w = shop(seed, 1_250.0);
        w.take_out(1, OutReason::Health, 0.0);
        w.out[0].last = LastTries::Slow;
        w
    };
    let right_one = is(
        Cause::BackendFault,
        Mechanism::Latency,
        "backend:shop/web-2",
    );
    score("one hung, out by its check", hangs, right_one);
    // Out before they cost a request: nothing tells them from a check that fails.
    let all: Vec<_> = (0..20)
        .map(|s| diagnose(&overloads(s).evidence()))
        .collect();
    assert!(all.iter().all(|d| d.cause == Cause::HealthCheck));
}

#[test]
fn a_pool_that_lacks_those_that_its_list_would_name_is_not_just_too_small() {
    let short = |seed| {
        let mut w = shop(seed, 1_200.0);
        w.rate = 2_100.0;
        w
    };
    let unlisted = |seed| {
        let mut w = short(seed);
        w.unlisted = Some(Unlisted {
            since: moment(-20.0),
            why: "no such file".to_owned(),
        });
        w
    };
    let right = is(Cause::Membership, Mechanism::Membership, "pool:shop");
    score("surge, the list is not renewed", unlisted, &right);
    let later = |seed| {
        let mut w = short(seed);
        w.unlisted = Some(Unlisted {
            since: moment(4.0),
            why: "no such file".to_owned(),
        });
        w
    };
    let surge = is(Cause::CapacityShortfall, Mechanism::None, "pool:shop");
    score("surge, the list fails later", later, surge);
    let never_in = |seed| {
        let mut w = World::new(seed, pool(&[1; 4], &[Some(600.0); 4]), 1_200.0);
        w.rate = 2_100.0;
        w.take_out(3, OutReason::NeverIn, 20.0);
        w
    };
    score("surge, one was never found up", never_in, &right);
}
