//! The audit clock: on schedule, recorded, seen in the status, and loud only about what is new.

use std::time::Duration;

use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::record::Entry;

use crate::world::{World, shop};

/// A world whose configuration is audited every two minutes.
fn world() -> World {
    let config = shop([1, 1, 1], "round_robin", "");
    let config = evenkeel_model::config::Config {
        audit_every: Duration::from_mins(2),
        ..config
    };
    World::new(1, 20.0, config)
}

fn finding(id: &'static str, severity: Severity) -> Finding {
    Finding {
        id,
        severity,
        message: "web-1 would run at 125 % of its capacity".to_owned(),
        effect: String::new(),
        fix: String::new(),
        path: "pool.shop.backend.web-1".to_owned(),
        magnitude_ppm: 0,
        file: None,
        location: None,
        waived: None,
    }
}

/// When each audit was recorded, in seconds after the first, with its errors.
fn recorded(world: &World) -> Vec<(u64, u32)> {
    let audits = world.journal.iter().filter_map(|entry| match entry {
        Entry::Audit { at, errors, .. } => Some((*at, *errors)),
        _ => None,
    });
    let audits: Vec<_> = audits.collect();
    let first = audits[0].0;
    let of =
        |(at, errors): &(evenkeel_model::clock::Wall, u32)| (at.since(first).as_secs(), *errors);
    audits.iter().map(of).collect()
}

#[test]
fn audits_come_on_schedule_are_recorded_and_show_in_the_status() {
    let mut world = world();
    world.findings = vec![finding("HC-01", Severity::Warning)];
    world.run(5 * 60);
    assert_eq!(recorded(&world), [(0, 0), (120, 0), (240, 0)]);
    let view = world.view();
    let audit = view.audit.unwrap();
    assert_eq!((audit.errors, audit.warnings), (0, 1));
    let next = view.audit_next.unwrap();
    assert_eq!(next.since(audit.at), Duration::from_mins(2));
}

#[test]
fn only_an_error_that_the_audit_before_did_not_have_opens_an_incident_and_only_once() {
    let mut world = world();
    // What runs has had this one since it was applied; a warning is never an incident.
    world.findings = vec![
        finding("TRF-01", Severity::Warning),
        finding("TRF-07", Severity::Error),
    ];
    world.run(3 * 60);
    assert_eq!(world.incidents().len(), 0);
    world.findings.push(finding("CAP-01", Severity::Error));
    world.run(2 * 60);
    let incidents = world.incidents();
    assert_eq!(incidents.len(), 1, "{incidents:#?}");
    assert!(
        incidents[0]
            .title
            .contains("CAP-01 web-1 would run at 125 %")
    );
    world.run(5 * 60);
    assert_eq!(world.incidents().len(), 1);
    assert!(
        recorded(&world)
            .iter()
            .skip(2)
            .all(|(_, errors)| *errors == 2)
    );
}
