//! A change that moves much comes in by parts: steps on evidence, judged by the intent, undone without evidence.

use std::time::Duration;

use evenkeel_guard::{Event, Outcome, Proposal};
use evenkeel_model::blame::{Cause, Mechanism, Subject};
use evenkeel_model::config::{Config, Intent, StickyCookie};
use evenkeel_model::ids::RevisionId;
use evenkeel_model::record::{Entry, RevisionState};

use crate::world::{World, name, shop};

/// The weights are what is meant.
fn meant(weights: [u32; 3]) -> Config {
    let mut config = shop(weights, "random", "");
    config.pools[0].intent = Intent::Weight;
    config
}

fn running(rps: f64) -> World {
    let mut world = World::new(1, rps, meant([1, 1, 1]));
    world.run(20);
    world
}

/// `apply` without `--force`.
fn proposed(world: &mut World, config: Config, change: impl Fn(&mut Proposal)) -> Outcome {
    let mut proposal = world.proposal(config);
    proposal.force = false;
    change(&mut proposal);
    world.propose(proposal)
}

/// What is intended for web-1.
fn intended(world: &World) -> f64 {
    world.view().pools[0].backends[0].intended_share.unwrap()
}

/// The shares that were intended for web-1 second by second until the revision is verified, each once.
fn steps(world: &mut World, longest: u64) -> Vec<f64> {
    let mut seen = vec![intended(world)];
    for _ in 0..longest {
        world.run(1);
        let now = intended(world);
        if seen.last().is_none_or(|last| (last - now).abs() > 1e-6) {
            seen.push(now);
        }
        if world.state_of(2) == RevisionState::Verified {
            return seen;
        }
    }
    panic!("not verified: {:?}", world.view().verifying);
}

fn close(found: &[f64], due: &[f64]) -> bool {
    let pairs = || found.iter().zip(due);
    found.len() == due.len() && pairs().all(|(a, b)| (a - b).abs() < 1e-3)
}

#[test]
fn what_moves_33_points_comes_in_by_four_steps_of_evidence_and_is_verified() {
    let mut world = running(300.0);
    let applied = proposed(&mut world, meant([4, 1, 1]), |_| ());
    assert!(matches!(applied, Outcome::Applied { .. }), "{applied:?}");
    let view = world.view();
    let reason = &view.pools[0].backends[0].reason;
    let words = "25 % of the requests follow r2, the others what ran before (step 1 of 4)";
    assert!(reason.contains(words), "{reason}");
    assert!(view.verifying.unwrap().missing[0].contains(words));
    let begun = world.second;
    let seen = steps(&mut world, 60);
    assert!(
        close(&seen, &[0.4167, 0.5, 0.5833, 0.6667]),
        "steps {seen:?}"
    );
    assert!(world.second - begun >= 3 * 3 + 10, "{}", world.second);
    assert!(world.incidents().is_empty(), "{:?}", world.incidents());
    let mut told = world.journal.iter().filter_map(|entry| match entry {
        Entry::Event(line) if line.kind == "config.step" => Some(line.text.as_str()),
        _ => None,
    });
    assert_eq!(told.next_back(), Some("all requests follow r2"));
}

#[test]
fn what_moves_little_is_forced_or_kept_or_has_too_few_requests_comes_in_at_once() {
    let at_once = |rps: f64, weights: [u32; 3], change: &dyn Fn(&mut Proposal)| {
        let mut world = running(rps);
        let before = world.second;
        proposed(&mut world, meant(weights), change);
        assert_eq!(world.second, before);
        let total: u32 = weights.iter().sum();
        (intended(&world) - f64::from(weights[0]) / f64::from(total)).abs() < 1e-6
    };
    let hour = Some(Duration::from_hours(1));
    assert!(at_once(300.0, [6, 5, 5], &|_| ()));
    assert!(at_once(300.0, [4, 1, 1], &|proposal| proposal.force = true));
    assert!(at_once(300.0, [4, 1, 1], &|proposal| proposal.keep = hour));
    assert!(at_once(3.0, [4, 1, 1], &|_| ()));
    let mut world = running(300.0);
    let mut config = meant([4, 1, 1]);
    config.pools[0].affinity.sticky = Some(StickyCookie {
        name: "ek".to_owned(),
        ttl: Duration::from_mins(1),
    });
    proposed(&mut world, config, |_| ());
    assert!((intended(&world) - 4.0 / 6.0).abs() < 1e-6);
    assert!(!at_once(300.0, [4, 1, 1], &|_| ()));
}

#[test]
fn the_points_of_a_step_are_those_that_the_pool_allows() {
    let mut world = running(300.0);
    let mut config = meant([4, 1, 1]);
    let limits = &mut config.pools[0].policy.limits;
    limits.insert("TRF-03".to_owned(), 20.0);
    proposed(&mut world, config, |_| ());
    let seen = steps(&mut world, 60);
    assert!(close(&seen, &[0.5, 0.6667]), "{seen:?}");
}

#[test]
fn a_weight_against_the_intent_comes_in_at_once_and_is_found_and_blamed_in_seconds() {
    for seed in 0..8 {
        for rps in [100.0, 900.0] {
            let mut world = World::new(seed, rps, shop([1, 1, 1], "random", ""));
            world.run(20);
            proposed(&mut world, shop([4, 1, 1], "random", ""), |_| ());
            let found = world.run_until(60, |world| !world.incidents().is_empty());
            assert!(found.is_some_and(|s| s <= 5), "{seed} {rps}: {found:?}");
            world.run(20);
            let incident = &world.incidents()[0];
            let found = incident.diagnosis.as_ref().unwrap();
            assert_eq!(
                (found.cause, found.mechanism, &found.subject),
                (
                    Cause::ConfigRevision,
                    Mechanism::Weight,
                    &Some(Subject::Revision(RevisionId(2)))
                ),
                "{seed} {rps}"
            );
            let is_undone = world.swaps == [RevisionId(2), RevisionId(1)];
            assert_eq!(
                is_undone,
                rps > 600.0,
                "who harms nobody stays {seed} {rps}"
            );
        }
    }
}

#[test]
fn a_step_without_evidence_is_undone_after_ten_minutes() {
    let mut world = running(150.0);
    proposed(&mut world, meant([4, 1, 1]), |_| ());
    world.run(4);
    let stream = name("users");
    world.engine.set_rate(&stream, 0.1).unwrap();
    world.run(590);
    assert_eq!(world.swaps, [RevisionId(2)]);
    world.run(20);
    assert_eq!(world.swaps, [RevisionId(2), RevisionId(1)]);
    assert_eq!(world.state_of(2), RevisionState::RolledBack);
    assert!((intended(&world) - 1.0 / 3.0).abs() < 1e-6);
    // What is undone so is no offence: it may be tried again.
    let again = proposed(&mut world, meant([4, 1, 1]), |_| ());
    assert!(matches!(again, Outcome::Applied { .. }), "{again:?}");
}

#[test]
fn who_confirms_it_answers_for_all_of_it_at_once_and_a_rollback_needs_no_steps() {
    let mut world = running(300.0);
    proposed(&mut world, meant([4, 1, 1]), |_| ());
    world.run(3);
    let request = world.request();
    world.send(Event::Confirm {
        request,
        revision: None,
        author: "ann".to_owned(),
    });
    assert!((intended(&world) - 4.0 / 6.0).abs() < 1e-6);
    assert_eq!(world.state_of(2), RevisionState::Confirmed);
    world.run(20);
    assert!(world.incidents().is_empty(), "{:?}", world.incidents());
    world.rollback(None);
    assert!((intended(&world) - 1.0 / 3.0).abs() < 1e-6);
}
