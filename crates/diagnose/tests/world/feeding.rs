//! Checks that flip although what is served is fine.

use evenkeel_diagnose::evidence::OutReason;
use evenkeel_model::blame::{Cause, Mechanism};
use evenkeel_model::config::{Health, HealthCheck, HttpCheck};
use std::time::Duration;

use crate::build::{World, pool};
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
