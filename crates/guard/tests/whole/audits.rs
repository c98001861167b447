//! The audit clock: on schedule, recorded, seen in the status, and loud only about what is new.

use std::time::Duration;

use evenkeel_model::clock::Wall;
use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::record::{Entry, LastAudit};

use crate::world::{START, World, shop};

/// A world whose configuration is audited every two minutes.
fn world() -> World {
    world_after(None)
}

/// The same, after an audit before the start.
fn world_after(last: Option<LastAudit>) -> World {
    let config = shop([1, 1, 1], "round_robin", "");
    let config = evenkeel_model::config::Config {
        audit_every: Duration::from_mins(2),
        ..config
    };
    World::after(1, Vec::new(), config, last)
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
        effect_of: None,
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
    let of = |(at, errors): &(Wall, u32)| (at.since(first).as_secs(), *errors);
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

/// An audit `ago_s` before the start with the error TRF-07 and, by number, others that its entry does not name.
fn audited_before(ago_s: u64, unnamed: u32) -> LastAudit {
    LastAudit {
        at: Wall(START.0 - ago_s * 1_000),
        errors: 1 + unnamed,
        warnings: 0,
        findings: vec!["TRF-07 pool.shop.backend.web-1".to_owned()],
    }
}

#[test]
fn an_error_that_is_new_across_a_restart_opens_an_incident_and_one_that_was_there_does_not() {
    let mut world = world_after(Some(audited_before(600, 0)));
    world.findings = vec![finding("TRF-07", Severity::Error)];
    world.run(60);
    assert_eq!(recorded(&world), [(0, 1)], "it was due at the start");
    assert_eq!(world.incidents().len(), 0);

    let mut world = world_after(Some(audited_before(600, 0)));
    world.findings = vec![
        finding("TRF-07", Severity::Error),
        finding("CAP-01", Severity::Error),
    ];
    world.run(60);
    let titles: Vec<String> = world.incidents().iter().map(|i| i.title.clone()).collect();
    assert_eq!(titles.len(), 1, "{titles:?}");
    assert!(titles[0].contains("CAP-01"), "{titles:?}");
}

#[test]
fn a_start_before_the_next_audit_is_due_waits_for_it_and_shows_the_last_one() {
    let mut world = world_after(Some(audited_before(30, 0)));
    world.run(80);
    assert!(!world.journal.iter().any(is_audit));
    assert_eq!(world.view().audit.unwrap().errors, 1);
    world.run(20);
    assert!(world.journal.iter().any(is_audit));
}

#[test]
fn an_audit_whose_entry_does_not_name_every_error_tells_nothing_of_what_is_new() {
    let mut world = world_after(Some(audited_before(600, 200)));
    world.findings = vec![finding("CAP-01", Severity::Error)];
    world.run(60);
    assert_eq!(world.incidents().len(), 0);
}

#[test]
fn an_entry_names_the_errors_before_the_warnings() {
    let mut world = world();
    world.findings = vec![
        finding("HC-01", Severity::Warning),
        finding("CAP-01", Severity::Error),
    ];
    world.run(60);
    let named = world.journal.iter().find_map(|entry| match entry {
        Entry::Audit { findings, .. } => Some(findings.clone()),
        _ => None,
    });
    let path = "pool.shop.backend.web-1";
    assert_eq!(
        named.unwrap(),
        [format!("CAP-01 {path}"), format!("HC-01 {path}")]
    );
}

const fn is_audit(entry: &Entry) -> bool {
    matches!(entry, Entry::Audit { .. })
}
