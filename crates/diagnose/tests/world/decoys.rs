//! Decoys: what happened shortly before the fault and has nothing to do with it.

use evenkeel_diagnose::{Evidence, LeftFact, diagnose};
use evenkeel_model::blame::{Cause, Mechanism};
use evenkeel_model::config::Algorithm;
use evenkeel_model::record::DiagnosisRecord;

use crate::build::{Fault, WELL, World, moment, name, pool};
use crate::cases::{is, score};

const FAILS: Fault = Fault {
    errors: 0.4,
    ..WELL
};
const TEN: [Option<f64>; 6] = [Some(300.0); 6];

#[test]
fn a_version_that_served_well_for_seconds_is_not_to_blame() {
    let world = |then: Fault| {
        move |seed| {
            let mut w = World::new(seed, pool(&[1; 4], &TEN[..4]), 600.0);
            w.deploy(9.0, &[]);
            w.served((6.0, 1.0), &[then; 4]);
            w.faults = vec![FAILS; 4];
            w
        }
    };
    let right = is(Cause::Dependency, Mechanism::Errors, "pool:shop");
    score("dependency 9 s after a deployment", world(WELL), right);
    let little = Fault {
        errors: 0.1,
        ..WELL
    };
    let right = is(Cause::Deployment, Mechanism::Errors, "deployment:shop/v2");
    score("version that gets worse by and by", world(little), right);
}

#[test]
fn two_backends_that_fail_at_once_are_not_the_version_that_all_of_them_run() {
    let world = |seed| {
        let mut w = World::new(seed, pool(&[1; 6], &TEN), 900.0);
        w.deploy(1.0, &[]);
        w.faults[1] = FAILS;
        w.faults[4] = FAILS;
        w
    };
    let right = is(Cause::BackendFault, Mechanism::Errors, "backend:shop/web-2");
    score("two of six fail, deployment on all", world, right);
}

#[test]
fn those_that_a_slow_version_leaves_the_load_to_do_not_clear_it() {
    let world = |seed| {
        let mut p = pool(&[1; 4], &TEN[..4]);
        p.algorithm = Algorithm::PeakEwma;
        let mut w = World::new(seed, p, 1_000.0);
        w.deploy(0.5, &["web-3"]);
        w.shares = Some(vec![330.0, 330.0, 10.0, 330.0]);
        w.faults = vec![
            Fault {
                slow_factor: 8.0,
                ..WELL
            };
            4
        ];
        w.faults[2].slow_factor = 60.0;
        w
    };
    let right = is(Cause::Deployment, Mechanism::Latency, "deployment:shop/v2");
    score("slow version under peak_ewma, others full", world, right);
}

/// A pool of two after two others were taken away, at a rate that four carried.
fn halved(seed: u64, by_revision: bool) -> Evidence {
    let four = pool(&[1; 4], &TEN[..4]);
    let mut w = World::new(seed, four.clone(), 850.0);
    let shrink = |p: &mut evenkeel_model::config::Pool| p.backends.truncate(2);
    if by_revision {
        w.revise(1.0, "backend.web-3", shrink);
    } else {
        shrink(&mut w.now);
    }
    w.before = w.now.clone();
    w.faults.truncate(2);
    w.rate_before = 425.0;
    let mut evidence = w.evidence();
    evidence.before.as_mut().unwrap().elsewhere = 4_250;
    if !by_revision {
        let gone = four.backends.iter().skip(2);
        let left = gone.map(|b| LeftFact {
            member: evenkeel_balance::Member {
                name: b.name.clone(),
                weight: 1,
                eligible: true,
            },
            since: moment(-20.0),
        });
        evidence.left = left.collect();
    }
    evidence
}

#[test]
fn a_pool_that_lost_half_of_its_backends_is_not_short_of_capacity() {
    let all = |by_revision, right: &dyn Fn(&DiagnosisRecord) -> bool| {
        for seed in 0..50 {
            let found = diagnose(&halved(seed, by_revision));
            assert!(right(&found), "{found:#?}");
        }
    };
    let revision = is(Cause::ConfigRevision, Mechanism::Membership, "revision:r2");
    all(true, &revision);
    let members = is(Cause::Membership, Mechanism::Membership, "pool:shop");
    all(false, &members);
    assert_eq!(halved(1, false).left[0].member.name, name("web-3"));
}
