//! The simulated stage: shipped drills, replay, the shape of the outcome, and that a wrong expectation fails.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may panic; a failed test is the report"
)]

use evenkeel_drill::scenario::{CauseWord, Percent, Span};
use evenkeel_drill::{Outcome, Scenario, Summary, scenario, shipped, sim};
use evenkeel_model::rng::Rng;

fn drill(name: &str) -> Scenario {
    let shipped = shipped().iter().find(|s| s.name == name).unwrap();
    scenario::parse(shipped.text, shipped.name).unwrap()
}

fn runs(scenario: &Scenario, seeds: u64) -> Vec<Outcome> {
    (0..seeds).map(|seed| sim::run(scenario, seed)).collect()
}

#[test]
fn the_weight_typo_is_found_blamed_undone_and_restored_on_every_seed() {
    let scenario = drill("weight-typo");
    let runs = runs(&scenario, 5);
    for run in &runs {
        assert!(run.passed && run.false_alarms == 0, "{run:#?}");
        assert!(run.detect_seconds.unwrap() <= 10.0 && run.restore_seconds.unwrap() <= 30.0);
        assert_eq!(
            run.diagnosis.as_ref().unwrap().subject.as_deref(),
            Some("revision:r2")
        );
        assert!(
            run.requests > 30_000 && run.requests_harmed < run.requests / 10,
            "{run:#?}"
        );
    }
    let summary = Summary::of(&runs, &scenario);
    assert!(summary.ok && summary.passed == 5);
    assert_eq!(summary.confusion.len(), 1);
    assert_eq!(summary.false_alarms_per_hour, Some(0.0));
}

#[test]
fn every_shipped_drill_passes_on_two_seeds() {
    for shipped in shipped() {
        let scenario = drill(shipped.name);
        for run in runs(&scenario, 2) {
            assert!(
                run.passed,
                "{}: {:#?}\n{:#?}",
                shipped.name, run.why, run.timeline
            );
        }
    }
}

/// A shipped drill whose pool has these further tables or keys before its health check.
fn with(name: &str, keys: &str) -> Scenario {
    let mut scenario = drill(name);
    let text = scenario.config.text.as_ref().unwrap();
    let health = "[pool.shop.health]";
    assert!(text.contains(health));
    scenario.config.text = Some(text.replace(health, &format!("{keys}\n{health}")));
    scenario
}

#[test]
fn ejection_takes_a_failing_backend_out_in_the_simulation_as_it_does_live() {
    let ejects = "[pool.shop.ejection]\nsuccess_rate = \"20%\"";
    let (without, within) = (
        sim::run(&drill("failing-backend"), 1),
        sim::run(&with("failing-backend", ejects), 1),
    );
    assert!(
        within.requests_failed * 4 < without.requests_failed,
        "{} of {}",
        within.requests_failed,
        without.requests_failed
    );
    // What all backends share ejects nobody.
    let shared = sim::run(&with("shared-dependency-slow", ejects), 1);
    assert!(shared.passed, "{shared:#?}");
}

#[test]
fn a_slow_start_is_explained_and_nobody_is_blamed_for_it() {
    for seed in 0..2 {
        let run = sim::run(&with("refusing-backend", "slow_start = \"10s\""), seed);
        assert!(run.passed && run.false_alarms == 0, "{run:#?}");
    }
}

#[test]
fn shares_that_reports_move_are_explained_and_nobody_is_blamed_for_them() {
    let unlike = |keys: &str| {
        let mut scenario = with("slower-backend-load-aware", keys);
        let text = scenario.config.text.as_mut().unwrap();
        *text = text.replace("least_request", "round_robin");
        let speeds = "slow_factor = 1.5";
        let shipped = shipped().iter().find(|s| s.name == scenario.name).unwrap();
        let slower = shipped.text.replace(speeds, "slow_factor = 2.5");
        scenario.step = scenario::parse(&slower, "unlike").unwrap().step;
        // From then on an even third is more than the slow one can carry.
        scenario.traffic.change = vec![scenario::RateChange {
            at: Span::secs(90),
            rate: 900.0,
            over: Span::secs(10),
        }];
        scenario
    };
    for seed in 0..3 {
        let run = sim::run(&unlike("reported = {}"), seed);
        assert!(run.passed && run.false_alarms == 0, "{run:#?}");
        assert!(run.requests_harmed * 1_000 < run.requests, "{run:#?}");
    }
    assert!(!sim::run(&unlike(""), 0).passed);
}

#[test]
fn reports_do_not_explain_a_weight_typo_away() {
    for seed in 0..3 {
        let run = sim::run(&with("weight-typo", "reported = {}"), seed);
        assert!(run.passed && run.false_alarms == 0, "{run:#?}");
        // Those of every second heal what it does before anybody is sure, and hide nothing.
        for period in ["2s", "5s"] {
            let keys = format!("reported = {{ period = \"{period}\" }}");
            let run = sim::run(&with("weight-typo", &keys), seed);
            let found = run.diagnosis.as_ref().and_then(|d| d.subject.as_deref());
            assert_eq!(found, Some("revision:r2"), "{run:#?}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_outcome_and_another_one_another() {
    let scenario = drill("slow-backend");
    assert_eq!(sim::run(&scenario, 7), sim::run(&scenario, 7));
    assert_ne!(
        sim::run(&scenario, 7).requests,
        sim::run(&scenario, 8).requests
    );
}

#[test]
fn the_outcome_has_the_keys_of_the_contract() {
    let scenario = drill("weight-typo");
    let json = serde_json::to_value(sim::run(&scenario, 1)).unwrap();
    for key in [
        "drill",
        "mode",
        "seed",
        "detect_seconds",
        "restore_seconds",
        "requests",
        "requests_failed",
        "diagnosis",
        "actions",
        "false_alarms",
        "passed",
        "why",
    ] {
        assert!(json.get(key).is_some(), "{key}");
    }
    assert_eq!(json["mode"], "sim");
    for key in ["cause", "mechanism", "subject"] {
        assert!(json["diagnosis"][key].is_string(), "{key}");
    }
    let summary = serde_json::to_value(Summary::of(&[], &scenario)).unwrap();
    for key in [
        "passed",
        "total",
        "detect_seconds",
        "restore_seconds",
        "confusion",
        "false_alarms_per_hour",
    ] {
        assert!(summary.get(key).is_some(), "{key}");
    }
    assert!(summary["detect_seconds"]["median"].is_null());
}

/// Each expectation that does not hold fails the run and says so.
#[test]
fn an_expectation_that_does_not_hold_fails_the_run() {
    type Spoil = fn(&mut Scenario);
    let spoils: [(Spoil, &str); 9] = [
        (
            |s| s.expect.cause = Some(CauseWord::Drain),
            "cause is config_revision, expected drain",
        ),
        (
            |s| s.expect.subject = Some("revision:r9".to_owned()),
            "subject is revision:r2",
        ),
        (
            |s| s.expect.detect_within = Some(Span::millis(1)),
            "detected after",
        ),
        (
            |s| s.expect.restored_within = Some(Span::millis(1)),
            "restored after",
        ),
        (
            |s| s.expect.not_blamed = vec![CauseWord::ConfigRevision],
            "must not be blamed",
        ),
        (
            |s| s.expect.actions = vec!["dance".to_owned()],
            "no `dance`",
        ),
        (
            |s| s.expect.no_actions = vec!["rollback".to_owned()],
            "must not be",
        ),
        (
            |s| s.expect.running = Some("r2".to_owned()),
            "r1 runs at the end",
        ),
        (
            |s| s.expect.harmed_share_at_most = Some(Percent(0.0)),
            "were harmed",
        ),
    ];
    for (spoil, said) in spoils {
        let mut scenario = drill("weight-typo");
        spoil(&mut scenario);
        let run = sim::run(&scenario, 1);
        assert!(!run.passed && !run.void, "{said}");
        assert!(
            run.why.iter().any(|why| why.contains(said)),
            "{said}: {:?}",
            run.why
        );
    }
}

#[test]
fn an_incident_in_a_silent_drill_is_a_false_alarm() {
    let mut scenario = drill("weight-typo");
    scenario.expect = scenario::Expect {
        silent: true,
        ..scenario::Expect::default()
    };
    let run = sim::run(&scenario, 1);
    assert!(!run.passed && run.false_alarms == 1, "{run:#?}");
}

#[test]
fn a_change_that_is_not_refused_as_expected_fails_the_run() {
    let mut scenario = drill("weight-typo");
    scenario.step[1].apply.as_mut().unwrap().refused_by = vec!["LST-99".to_owned()];
    let run = sim::run(&scenario, 1);
    assert!(
        run.why.iter().any(|why| why.contains("expected LST-99")),
        "{:?}",
        run.why
    );
    scenario.step[1].apply.as_mut().unwrap().refused_by.clear();
    scenario.step[1].injects = Some(false);
    let run = sim::run(&scenario, 1);
    assert!(
        run.why.iter().any(|why| why.contains("was refused")),
        "{:?}",
        run.why
    );
}

#[test]
fn without_a_steady_state_the_run_is_void() {
    let mut scenario = drill("weight-typo");
    scenario.traffic.rate = 5_000.0;
    let run = sim::run(&scenario, 1);
    assert!(run.void && !run.passed, "{run:#?}");
    assert!(
        run.why[0].starts_with("void: no steady state within 1m"),
        "{:?}",
        run.why
    );
}

#[test]
fn steps_can_wait_for_a_condition_and_faults_end_by_themselves() {
    let mut scenario = drill("failing-backend");
    scenario.step[1].backend_fault.as_mut().unwrap().lasts = Some(Span::secs(15));
    scenario.expect.restored_within = Some(Span::secs(40));
    scenario.duration = Span::secs(90);
    scenario.step.push(scenario::Step {
        after: Some(scenario::Condition::Detected),
        delay: Some(Span::secs(2)),
        operator: Some(scenario::Operator {
            incident: scenario::OperatorVerb::Ack,
            text: None,
        }),
        ..scenario::Step::default()
    });
    let run = sim::run(&scenario, 1);
    assert!(run.passed, "{run:#?}");
    assert!(
        run.timeline.iter().any(|m| m.what.contains("acknowledged")),
        "{:#?}",
        run.timeline
    );
    assert!(run.restore_seconds.unwrap() >= 15.0);
}

#[test]
fn the_balancer_can_be_killed_and_the_journal_lost() {
    let mut scenario = drill("weight-typo");
    let step = |at, step: scenario::Step| scenario::Step {
        at: Some(Span::secs(at)),
        injects: Some(false),
        ..step
    };
    scenario.step = vec![
        step(
            5,
            scenario::Step {
                restart: Some(scenario::Restart { down_for: None }),
                ..scenario::Step::default()
            },
        ),
        step(
            20,
            scenario::Step {
                journal_fault: Some(scenario::JournalFault {
                    lasts: Some(Span::secs(5)),
                }),
                ..scenario::Step::default()
            },
        ),
    ];
    scenario.expect = scenario::Expect {
        running: Some("r1".to_owned()),
        ..scenario::Expect::default()
    };
    let run = sim::run(&scenario, 1);
    assert!(
        run.requests_failed > 1_000,
        "nobody is served while it is down: {run:#?}"
    );
    assert!(run.why.iter().all(|why| !why.contains("step")), "{run:#?}");
}

/// A step that injects nothing: the fault that is scored is the typo.
fn beside(at: Span, step: scenario::Step) -> scenario::Step {
    scenario::Step {
        at: Some(at),
        injects: Some(false),
        ..step
    }
}

#[test]
fn whatever_becomes_of_the_control_plane_meanwhile_a_typo_does_not_stay() {
    for seed in 0..12 {
        let mut rng = Rng::new(seed);
        let mut scenario = drill("weight-typo");
        let applied = scenario.step.iter().filter_map(|step| step.at).max();
        let applied = applied.unwrap().0.as_millis() as u64;
        for _ in 0..=rng.below(3) {
            // From the moment of the apply until long after its usual end.
            let at = Span::millis(applied + 1 + rng.below(30_000));
            let mut step = scenario::Step::default();
            if rng.below(2) == 0 {
                let down_for = Some(Span::millis(1 + rng.below(3_000)));
                step.restart = Some(scenario::Restart { down_for });
            } else {
                let lasts = Some(Span::secs(1 + rng.below(20)));
                step.journal_fault = Some(scenario::JournalFault { lasts });
            }
            scenario.step.push(beside(at, step));
        }
        scenario.duration = Span::secs(150);
        scenario.expect = scenario::Expect {
            running: Some("r1".to_owned()),
            ..scenario::Expect::default()
        };
        let run = sim::run(&scenario, seed);
        assert!(run.passed, "{seed}: {run:#?}");
    }
}
