//! The live stage: an isolated instance, real sockets. All of them over three seeds with EVENKEEL_LONG set.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests may panic and print; a failed test is the report"
)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use evenkeel_drill::{Outcome, Scenario, Stage, live, scenario, shipped};

#[path = "support/table.rs"]
mod table;

use table::row;

/// Of the long version.
const SEEDS: [u64; 3] = [1, 2, 3];
/// Runs side by side in the long version: most of a run is waiting.
const AT_ONCE: usize = 3;

fn weight_typo() -> Scenario {
    let shipped = shipped().iter().find(|s| s.name == "weight-typo").unwrap();
    scenario::parse(shipped.text, shipped.name).unwrap()
}

fn run(scenario: &Scenario, seed: u64) -> Outcome {
    let outcome = live::run(scenario, seed, &mut |line| println!("{line}"));
    println!("{:#?}", outcome.why);
    println!("{:#?}", outcome.notes);
    println!(
        "requests {} failed {} harmed {}",
        outcome.requests, outcome.requests_failed, outcome.requests_harmed
    );
    outcome
}

#[test]
fn a_live_weight_typo_is_found_blamed_and_undone() {
    let mut scenario = weight_typo();
    scenario.duration = scenario::Span::secs(35);
    let outcome = run(&scenario, 1);
    assert!(outcome.passed, "{outcome:#?}");
    assert!(outcome.requests > 1_000 && outcome.false_alarms == 0);
}

#[test]
#[ignore = "a tool: runs the drill file DRILL live"]
fn drill() {
    let file = std::env::var("DRILL").unwrap();
    for file in file.split(',') {
        let scenario = scenario::parse(&std::fs::read_to_string(file).unwrap(), file).unwrap();
        println!("{file}: {}", run(&scenario, 1).passed);
    }
}

/// Every shipped drill that this stage can run, over [`SEEDS`]; [`AT_ONCE`] of them side by side.
#[test]
fn live_drills_find_the_cause_over_seeds_when_there_is_time() {
    if std::env::var_os("EVENKEEL_LONG").is_none() {
        return;
    }
    let parsed = shipped()
        .iter()
        .map(|s| scenario::parse(s.text, s.name).unwrap());
    let drills: Vec<Scenario> = parsed
        .filter(|s| s.missing(Stage::Live).is_none())
        .collect();
    let runs: Vec<(&Scenario, u64)> = (drills.iter())
        .flat_map(|drill| SEEDS.map(|seed| (drill, seed)))
        .collect();
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((drill, seed)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = live::run(drill, *seed, &mut |_| ());
                    println!("{}, seed {seed}: {}", drill.name, told(&outcome));
                    outcomes.lock().unwrap().push(outcome);
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap();
    for drill in &drills {
        let mine: Vec<Outcome> = (outcomes.iter())
            .filter(|run| run.drill == drill.name)
            .cloned()
            .collect();
        println!("{}", row(&drill.name, &mine));
    }
    println!("{}", row("all", &outcomes));
    let failed = outcomes.iter().filter(|run| !run.passed).count();
    assert!(
        failed * 20 <= outcomes.len(),
        "{failed} of {} failed",
        outcomes.len()
    );
    let alarms: u32 = outcomes.iter().map(|run| run.false_alarms).sum();
    assert_eq!(
        alarms, 0,
        "nothing called for an incident, or who must not be was blamed"
    );
}

fn told(outcome: &Outcome) -> String {
    if outcome.passed {
        return "passed".to_owned();
    }
    format!(
        "failed: {:#?} {:#?} {:#?}",
        outcome.why, outcome.notes, outcome.timeline
    )
}
