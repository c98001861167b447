//! The live stage: an isolated instance, real sockets. The three-seed version runs with EVENKEEL_LONG set.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests may panic and print; a failed test is the report"
)]

use evenkeel_drill::{Outcome, Scenario, live, scenario, shipped};

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

#[test]
fn a_live_weight_typo_passes_over_seeds_when_there_is_time() {
    if std::env::var_os("EVENKEEL_LONG").is_none() {
        return;
    }
    let scenario = weight_typo();
    for seed in 1..=3 {
        let outcome = run(&scenario, seed);
        assert!(outcome.passed, "{outcome:#?}");
    }
}
