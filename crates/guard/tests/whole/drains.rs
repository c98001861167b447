//! Drains: judged, journalled, kept over changes and restarts, ended by time.

use std::time::Duration;

use evenkeel_guard::{
    Boot, DRAIN_MAX, DrainCommand, Event, Guard, Outcome, Restorable, Settings, UndrainCommand,
    Verdict,
};
use evenkeel_model::clock::{Mono, Wall};
use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::record::{DrainRecord, Entry, RevisionState};

use crate::world::{START, World, boot_of, name, record, shop};

const HOUR: Duration = Duration::from_hours(1);

fn even() -> World {
    let mut world = World::new(3, 300.0, shop([1, 1, 1], "round_robin", ""));
    world.run(12);
    world
}

fn command(world: &mut World, backend: &str, lasts: Duration) -> DrainCommand {
    DrainCommand {
        request: world.request(),
        pool: name("shop"),
        backend: name(backend),
        lasts,
        author: "ann".to_owned(),
        reason: "new disk".to_owned(),
        force: false,
        blocking: Vec::new(),
        judged_against: world.revision,
        judged_drains: world.view().drain_changes,
    }
}

fn ask(world: &mut World, command: DrainCommand) -> Outcome {
    let request = command.request;
    world.send(Event::Drain(Box::new(command)));
    world.replies.get(&request.0).cloned().expect("an answer")
}

fn drain(world: &mut World, backend: &str, lasts: Duration) -> Outcome {
    let command = command(world, backend, lasts);
    ask(world, command)
}

fn undrain(world: &mut World, backend: &str) -> Outcome {
    let request = world.request();
    world.send(Event::Undrain(UndrainCommand {
        request,
        pool: name("shop"),
        backend: name(backend),
        author: "ben".to_owned(),
        reason: String::new(),
    }));
    world.replies.get(&request.0).cloned().expect("an answer")
}

#[track_caller]
fn refused(outcome: &Outcome) -> &[Finding] {
    match outcome {
        Outcome::Refused(refusal) => &refusal.findings,
        other => panic!("not refused: {other:?}"),
    }
}

fn drained(world: &World) -> Vec<String> {
    let drains = world.view().drains;
    drains.iter().map(|d| d.backend.to_string()).collect()
}

fn full(backend: &str) -> Finding {
    Finding {
        id: "CAP-01",
        severity: Severity::Error,
        message: format!("{backend} would be full"),
        effect: String::new(),
        fix: String::new(),
        path: String::new(),
        magnitude_ppm: 0,
        file: None,
        location: None,
        waived: None,
        effect_of: None,
    }
}

#[test]
fn a_drained_backend_is_explained_and_the_others_are_judged_over_what_is_left() {
    let mut world = even();
    let outcome = drain(&mut world, "web-2", HOUR);
    assert!(
        matches!(&outcome, Outcome::Drained(d) if d.author == "ann"),
        "{outcome:?}"
    );
    assert_eq!(
        world.view().drains[0].in_flight,
        None,
        "nothing was sampled since"
    );
    world.run(20);
    let view = world.view();
    let backends = &view.pools[0].backends;
    assert_eq!(backends[1].verdict, Verdict::Explained);
    assert!(
        backends[1].reason.starts_with("drained until"),
        "{}",
        backends[1].reason
    );
    assert_eq!(backends[1].intended_share, Some(0.0));
    for index in [0, 2] {
        assert_eq!(
            backends[index].verdict,
            Verdict::Ok,
            "{:?}",
            backends[index]
        );
        assert!((backends[index].intended_share.unwrap() - 0.5).abs() < 1e-9);
    }
    assert_eq!(view.drains[0].in_flight, Some(0));
    assert_eq!(view.drains[0].until, view.drains[0].since.plus(HOUR));
    assert!(view.incidents.is_empty(), "{:?}", view.incidents);
}

#[test]
fn a_drain_that_leaves_fewer_than_min_healthy_is_refused_whatever_the_force() {
    let mut world = even();
    drain(&mut world, "web-2", HOUR);
    let mut second = command(&mut world, "web-3", HOUR);
    second.force = true;
    let outcome = ask(&mut world, second);
    let said = &refused(&outcome)[0];
    assert_eq!(said.id, "CHG-04");
    assert!(
        said.message
            .contains("would have 1 live backends, 2 are needed"),
        "{}",
        said.message
    );
    assert_eq!(drained(&world), ["web-2"]);
    // Who takes no traffic anyway may be drained: nobody has to take anything over.
    undrain(&mut world, "web-2");
    world.take_out(&["web-2"]);
    assert!(matches!(
        drain(&mut world, "web-2", HOUR),
        Outcome::Drained(_)
    ));
    assert_eq!(refused(&drain(&mut world, "web-1", HOUR))[0].id, "CHG-04");
}

#[test]
fn a_drain_that_the_rest_cannot_carry_is_refused_unless_it_is_forced_with_a_reason() {
    let mut world = even();
    let judged = |world: &mut World, force: bool, reason: &str| {
        let mut command = command(world, "web-1", HOUR);
        command.blocking = vec![full("web-2"), full("web-3")];
        command.force = force;
        reason.clone_into(&mut command.reason);
        ask(world, command)
    };
    assert_eq!(refused(&judged(&mut world, false, "disk")).len(), 2);
    assert_eq!(refused(&judged(&mut world, true, " "))[0].id, "CHG-02");
    assert!(matches!(
        judged(&mut world, true, "disk"),
        Outcome::Drained(_)
    ));
    let lines = world.journal.iter().filter_map(|entry| match entry {
        Entry::Event(line) if line.kind.starts_with("drain.") => {
            Some((line.kind.as_str(), line.text.as_str()))
        }
        _ => None,
    });
    let lines: Vec<_> = lines.collect();
    assert_eq!(
        lines[0],
        (
            "drain.refused",
            "shop/web-1: CAP-01: web-2 would be full; CAP-01: web-3 would be full"
        )
    );
    assert_eq!(
        lines[2],
        ("drain.begun", "shop/web-1 is drained for 1h, forced: disk")
    );
}

#[test]
fn a_drain_is_judged_again_when_another_one_came_meanwhile() {
    let mut world = even();
    let stale = command(&mut world, "web-3", HOUR);
    drain(&mut world, "web-1", HOUR);
    assert_eq!(refused(&ask(&mut world, stale))[0].id, "CHG-01");
    let mut stale = command(&mut world, "web-1", HOUR);
    stale.judged_against.0 += 1;
    assert_eq!(refused(&ask(&mut world, stale))[0].id, "CHG-01");
}

#[test]
fn a_drain_ends_at_its_deadline_by_a_person_or_later_when_it_is_asked_for_again() {
    let mut world = even();
    drain(&mut world, "web-1", Duration::from_secs(10));
    world.run(9);
    assert_eq!(drained(&world), ["web-1"]);
    let since = world.view().drains[0].since;
    drain(&mut world, "web-1", Duration::from_secs(10));
    assert_eq!(world.view().drains[0].since, since);
    world.run(9);
    assert_eq!(drained(&world), ["web-1"]);
    world.run(2);
    assert!(drained(&world).is_empty());
    assert!(
        matches!(
            world.journal.iter().rev().nth(1),
            Some(Entry::DrainEnd { .. })
        ),
        "{:?}",
        world.journal.last()
    );
    world.run(12);
    assert!((world.view().pools[0].backends[0].intended_share.unwrap() - 1.0 / 3.0).abs() < 1e-9);
    drain(&mut world, "web-1", DRAIN_MAX * 9);
    let drain = &world.view().drains[0];
    assert_eq!(drain.until, drain.since.plus(DRAIN_MAX));
    let was = |outcome: Outcome| {
        matches!(
            outcome,
            Outcome::Undrained {
                was_drained: true,
                ..
            }
        )
    };
    assert!(was(undrain(&mut world, "web-1")));
    assert!(!was(undrain(&mut world, "web-1")));
    assert!(drained(&world).is_empty());
}

#[test]
fn drains_are_kept_over_an_apply_and_a_rollback() {
    let mut world = even();
    drain(&mut world, "web-2", HOUR);
    world.run(2);
    world.apply(shop([11, 10, 10], "round_robin", ""));
    world.run(30);
    assert_eq!(world.state_of(2), RevisionState::Verified);
    assert_eq!(drained(&world), ["web-2"]);
    assert!(world.view().pools[0].backends[1].intended_share.unwrap() < 1e-9);
    let outcome = world.rollback(None);
    assert!(matches!(outcome, Outcome::RolledBack { .. }), "{outcome:?}");
    world.run(2);
    assert_eq!(drained(&world), ["web-2"]);
    assert_eq!(
        world.view().pools[0].backends[1].verdict,
        Verdict::Explained
    );
}

#[test]
fn without_a_journal_no_drain_begins_or_ends() {
    let mut world = even();
    drain(&mut world, "web-2", HOUR);
    world.journal_ok = false;
    assert_eq!(
        refused(&drain(&mut world, "web-2", HOUR * 2))[0].id,
        "CHG-06"
    );
    assert_eq!(refused(&undrain(&mut world, "web-2"))[0].id, "CHG-06");
    assert_eq!(drained(&world), ["web-2"]);
    let drain = &world.view().drains[0];
    assert_eq!(drain.until, drain.since.plus(HOUR));
}

#[test]
fn a_stepped_wall_clock_moves_the_end_that_people_read_and_not_the_time_left() {
    let mut world = even();
    drain(&mut world, "web-2", Duration::from_secs(60));
    let until = world.view().drains[0].until;
    let (now, back) = (world.now(), Wall(world.wall().0 - 3_600_000));
    let actions = world
        .guard
        .step(Event::ClockStep { by_ms: -3_600_000 }, now, back);
    let told = format!("{actions:?}");
    let moved = Wall(until.0 - 3_600_000);
    assert!(told.contains(&format!("until: {moved:?}")), "{told}");
}

#[test]
fn a_restart_goes_on_with_the_drains_that_are_not_over() {
    let config = std::sync::Arc::new(shop([1, 1, 1], "round_robin", ""));
    let of = |backend: &str, seconds: u64| DrainRecord {
        pool: name("shop"),
        backend: name(backend),
        at: START,
        until: START.plus(Duration::from_secs(seconds)),
        author: "ann".to_owned(),
        reason: "new disk".to_owned(),
    };
    let running = Restorable {
        record: record(1, &config, RevisionState::Verified),
        config,
    };
    let boot = Boot {
        drains: vec![of("web-1", 50), of("web-2", 130)],
        ..boot_of(running)
    };
    let mut guard = Guard::new(Settings::default());
    // A minute later, on a clock that starts anew.
    let wall = START.plus(Duration::from_secs(60));
    let actions = guard.step(Event::Booted(Box::new(boot)), Mono::ZERO, wall);
    let told = format!("{actions:?}");
    assert!(
        told.contains("the drain of shop/web-1 ended while evenkeel was down"),
        "{told}"
    );
    assert_eq!(guard.drained(), [(name("shop"), name("web-2"))]);
    guard.step(
        Event::Tick,
        Mono::from_secs(69),
        wall.plus(Duration::from_secs(69)),
    );
    assert_eq!(guard.drained().len(), 1);
    guard.step(
        Event::Tick,
        Mono::from_secs(70),
        wall.plus(Duration::from_secs(70)),
    );
    assert!(guard.drained().is_empty());
}
