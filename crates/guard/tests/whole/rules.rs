//! Alarms that are rules, not tests: a check that flaps, what runs beside the journal, a list of members that is not
//! renewed. Nobody is harmed here.

use evenkeel_guard::{Event, HealthFact, MembersFact};
use evenkeel_model::blame::Cause;
use evenkeel_model::record::{IncidentRecord, IncidentStatus};

use crate::world::{World, name, shop};

fn even(seed: u64) -> World {
    let mut world = World::new(seed, 600.0, shop([1, 1, 1], "round_robin", ""));
    world.run(60);
    world
}

/// The backend goes out, by its check or by what it answered, and comes back after 4 s.
fn goes_out(world: &mut World, by_check: bool) {
    for (up, out, seconds) in [(false, &["web-2"][..], 4), (true, &[], 6)] {
        world.send(Event::Health(HealthFact {
            pool: name("shop"),
            backend: name("web-2"),
            up,
            by_check,
            detail: "503".to_owned(),
        }));
        world.take_out(out);
        world.run(seconds);
    }
}

fn incident(world: &World) -> IncidentRecord {
    world.incidents()[0].clone()
}

#[test]
fn a_check_that_flips_three_times_is_told_and_two_times_or_an_ejection_are_not() {
    let mut world = even(1);
    for by_check in [true, true, false, false, false] {
        goes_out(&mut world, by_check);
    }
    assert!(world.incidents().is_empty(), "{:#?}", world.incidents());
    goes_out(&mut world, true);
    let found = incident(&world).diagnosis.expect("a diagnosis");
    assert_eq!(found.cause, Cause::HealthCheck, "{found:#?}");
    let subject = found.subject.map(|s| s.to_string());
    assert_eq!(subject.as_deref(), Some("backend:shop/web-2"));
    // It keeps still: the alarm ends, and a minute later the incident.
    let ended = world.run_until(240, |w| incident(w).status == IncidentStatus::Resolved);
    assert!(ended.is_some_and(|seconds| seconds >= 80), "{ended:?}");
    assert_eq!(world.incidents().len(), 1);
}

#[test]
fn an_edit_that_harms_nobody_is_told_and_the_incident_lasts_as_long_as_the_edit() {
    let mut world = even(2);
    world.edit_past_the_guard(shop([2, 2, 2], "round_robin", ""));
    let told = world.run_until(5, |w| !w.incidents().is_empty());
    assert!(told.is_some_and(|seconds| seconds >= 2), "{told:?}");
    world.run(200);
    assert_eq!(
        incident(&world).diagnosis.map(|d| d.cause),
        Some(Cause::ConfigDrift)
    );
    assert_ne!(incident(&world).status, IncidentStatus::Resolved);
    world.edit_past_the_guard(shop([1, 1, 1], "round_robin", ""));
    let ended = world.run_until(90, |w| incident(w).status == IncidentStatus::Resolved);
    assert!(ended.is_some(), "{:#?}", incident(&world));
}

#[test]
fn a_list_that_is_not_renewed_is_told_after_five_minutes_and_until_it_is() {
    let finds = "[pool.shop.members]\nfile = \"members.toml\"";
    let mut world = World::new(3, 300.0, shop([1, 1, 1], "round_robin", finds));
    let look = |failed: bool| {
        Event::Members(MembersFact {
            pool: name("shop"),
            found: Vec::new(),
            held: Vec::new(),
            next: None,
            error: failed.then(|| "no such file".to_owned()),
            failed,
            text: String::new(),
        })
    };
    world.run(60);
    world.send(look(true));
    world.run(290);
    assert!(world.incidents().is_empty(), "{:#?}", world.incidents());
    let told = world.run_until(20, |w| !w.incidents().is_empty());
    assert!(told.is_some());
    let found = incident(&world).diagnosis.map(|d| d.cause);
    assert_eq!(found, Some(Cause::Membership));
    world.send(look(false));
    let ended = world.run_until(90, |w| incident(w).status == IncidentStatus::Resolved);
    assert!(ended.is_some(), "{:#?}", incident(&world));
}
