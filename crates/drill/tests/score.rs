//! A score of drills in simulation, for whoever tunes a test or writes a scenario:
//! `DRILL=file.toml SEEDS=20 cargo test -p evenkeel-drill --test score -- --ignored --nocapture`.
//! Without DRILL it scores every shipped drill. At the end it prints the table of docs/diagnosis.md.

use evenkeel_drill::{Summary, scenario, shipped, sim};

#[path = "support/table.rs"]
mod table;

use table::row;

#[test]
#[ignore = "a tool: takes minutes and prints"]
fn score() {
    let seeds: u64 = std::env::var("SEEDS").map_or(5, |s| s.parse().unwrap());
    let files: Vec<(String, String)> = match std::env::var("DRILL") {
        Ok(list) => list
            .split(',')
            .map(|file| (file.to_owned(), std::fs::read_to_string(file).unwrap()))
            .collect(),
        Err(_) => shipped()
            .iter()
            .map(|s| (s.name.to_owned(), s.text.to_owned()))
            .collect(),
    };
    let (mut rows, mut all) = (Vec::new(), Vec::new());
    for (file, text) in files {
        let scenario = match scenario::parse(&text, &file) {
            Ok(scenario) => scenario,
            Err(problems) => {
                for problem in problems {
                    println!("{problem}");
                }
                continue;
            }
        };
        let started = std::time::Instant::now();
        let runs: Vec<_> = (0..seeds).map(|seed| sim::run(&scenario, seed)).collect();
        let took = started.elapsed().as_secs_f64();
        for run in &runs {
            println!("  {} {:?}", run.seed, run.why);
        }
        if let Some(run) = runs.iter().find(|r| !r.passed).or(runs.first()) {
            println!("  -- seed {}", run.seed);
            for line in &run.timeline {
                println!("  {:7.1} {}", line.at_seconds, line.what);
            }
        }
        let summary = Summary::of(&runs, &scenario);
        println!("{} {took:.1} s {summary:#?}", scenario.name);
        rows.push(row(&scenario.name, &runs));
        all.extend(runs);
    }
    rows.push(row("all", &all));
    println!("{}", rows.join("\n"));
}
