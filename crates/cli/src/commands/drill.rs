//! `evenkeel drill`: list, show and run scenarios.

use std::path::Path;

use evenkeel_drill::scenario::{self, Scenario};
use evenkeel_drill::{Outcome, Report, Summary, live, schema, shipped, sim};
use serde_json::Value;

use crate::args::{Drill, DrillRun};
use crate::exit::{Exit, coded};
use crate::render::{self, Text as _};
use crate::terminal::Terminal;

/// Most seeds of one run.
const SEEDS_MAX: u64 = 10_000;

pub(crate) fn drill(command: Drill, terminal: Terminal) -> anyhow::Result<Exit> {
    match command {
        Drill::List => list(terminal),
        Drill::Show { drill } => show(&drill, terminal),
        Drill::Run(options) => run(&options, terminal),
        Drill::Schema => {
            terminal.data(&schema());
            Ok(Exit::Ok)
        }
    }
}

fn list(terminal: Terminal) -> anyhow::Result<Exit> {
    let mut rows = vec![
        ["name", "needs", "what happens"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut values = Vec::new();
    for drill in shipped() {
        let scenario = parse(drill.text, drill.name)?;
        let needs: Vec<String> = scenario.needs.iter().map(ToString::to_string).collect();
        values.push(
            serde_json::json!({ "name": drill.name, "title": scenario.title, "needs": needs }),
        );
        rows.push(vec![
            drill.name.to_owned(),
            needs.join(", "),
            scenario.title,
        ]);
    }
    if terminal.json {
        terminal.json(&serde_json::json!({ "drills": values }))?;
    } else {
        let mut out = String::new();
        render::list(&mut out, &rows);
        terminal.data(&out);
    }
    Ok(Exit::Ok)
}

fn show(name: &str, terminal: Terminal) -> anyhow::Result<Exit> {
    let (text, file) = read(name)?;
    let scenario = parse(&text, &file)?;
    if terminal.json {
        terminal.json(&scenario)?;
    } else {
        terminal.data(&text);
    }
    Ok(Exit::Ok)
}

fn run(options: &DrillRun, terminal: Terminal) -> anyhow::Result<Exit> {
    if !(1..=SEEDS_MAX).contains(&options.seeds) {
        return Err(coded(
            Exit::Usage,
            format!("`--seeds` must be 1 to {SEEDS_MAX}, got {}", options.seeds),
        ));
    }
    let (text, file) = read(&options.drill)?;
    let scenario = parse(&text, &file)?;
    let mut runs = Vec::new();
    for seed in options.seed..options.seed.saturating_add(options.seeds) {
        let outcome = if options.live {
            live::run(&scenario, seed, &mut |line| terminal.say(line))
        } else {
            sim::run(&scenario, seed)
        };
        if options.seeds > 1 {
            terminal.say(&format!("seed {seed}: {}", verdict(&outcome)));
        }
        runs.push(outcome);
    }
    let summary = Summary::of(&runs, &scenario);
    let ok = summary.ok;
    report(&runs, summary, terminal)?;
    Ok(if ok { Exit::Ok } else { Exit::Failed })
}

/// One live run of a drill, for the demo.
pub(crate) fn live(name: &str, seed: u64, terminal: Terminal) -> anyhow::Result<Exit> {
    let options = DrillRun {
        drill: name.to_owned(),
        sim: false,
        live: true,
        seeds: 1,
        seed,
    };
    run(&options, terminal)
}

fn report(runs: &[Outcome], summary: Summary, terminal: Terminal) -> anyhow::Result<()> {
    // Of several runs the first that failed stands for all.
    let Some(shown) = runs.iter().find(|run| !run.passed).or_else(|| runs.first()) else {
        return Ok(());
    };
    if terminal.json {
        let mut value = serde_json::to_value(shown)?;
        if runs.len() > 1
            && let (Value::Object(object), Value::Object(more)) = (
                &mut value,
                serde_json::to_value(Report {
                    runs: runs.to_vec(),
                    summary,
                })?,
            )
        {
            object.extend(more);
        }
        return terminal.json(&value);
    }
    terminal.data(&outcome_text(shown));
    if runs.len() > 1 {
        terminal.data(&summary_text(&summary));
    }
    Ok(())
}

fn verdict(outcome: &Outcome) -> &'static str {
    match (outcome.void, outcome.passed) {
        (true, _) => "void",
        (false, true) => "passed",
        (false, false) => "failed",
    }
}

fn outcome_text(outcome: &Outcome) -> String {
    let mut out = String::new();
    out.line(format_args!(
        "{} ({}, seed {}): {}",
        outcome.drill,
        outcome.mode,
        outcome.seed,
        verdict(outcome).to_uppercase()
    ));
    for moment in &outcome.timeline {
        out.line(format_args!(
            "  {:>7.1} s  {}",
            moment.at_seconds, moment.what
        ));
    }
    out.line(format_args!(
        "  detected after {}, restored after {}",
        seconds(outcome.detect_seconds),
        seconds(outcome.restore_seconds)
    ));
    if let Some(d) = &outcome.diagnosis {
        out.line(format_args!(
            "  cause {} ({}) {}",
            d.cause,
            d.mechanism,
            d.subject.as_deref().unwrap_or("-")
        ));
    }
    out.line(format_args!(
        "  {} requests, {} failed, {} harmed; {} false alarms",
        outcome.requests, outcome.requests_failed, outcome.requests_harmed, outcome.false_alarms
    ));
    for line in outcome.why.iter().chain(&outcome.notes) {
        out.line(format_args!("  {line}"));
    }
    out
}

fn summary_text(summary: &Summary) -> String {
    let mut out = String::new();
    out.line(format_args!(
        "{} of {} passed",
        summary.passed, summary.total
    ));
    let spread = |s: &evenkeel_drill::outcome::Spread| {
        format!("median {}, 95 % {}", seconds(s.median), seconds(s.p95))
    };
    out.line(format_args!(
        "detected: {}",
        spread(&summary.detect_seconds)
    ));
    out.line(format_args!(
        "restored: {}",
        spread(&summary.restore_seconds)
    ));
    for row in &summary.confusion {
        out.line(format_args!(
            "diagnosed {} ({} expected): {} runs",
            row.diagnosed.as_deref().unwrap_or("nothing"),
            row.expected.as_deref().unwrap_or("nothing"),
            row.count
        ));
    }
    out
}

fn seconds(value: Option<f64>) -> String {
    value.map_or_else(|| "never".to_owned(), |s| format!("{s:.1} s"))
}

/// A shipped scenario by name, else a file.
fn read(name: &str) -> anyhow::Result<(String, String)> {
    if let Some(drill) = shipped().iter().find(|drill| drill.name == name) {
        return Ok((drill.text.to_owned(), name.to_owned()));
    }
    let path = Path::new(name);
    if !path.exists() && path.extension().is_none() {
        return Err(coded(
            Exit::Failed,
            format!(
                "there is no drill `{name}`; `evenkeel drill list` shows the shipped ones, a file is named by its path"
            ),
        ));
    }
    let text = std::fs::read_to_string(path).map_err(|error| {
        coded(
            Exit::Invalid,
            format!("cannot read the scenario `{name}`: {error}"),
        )
    })?;
    Ok((text, name.to_owned()))
}

fn parse(text: &str, file: &str) -> anyhow::Result<Scenario> {
    scenario::parse(text, file).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        coded(
            Exit::Invalid,
            format!("`{file}` is not a scenario\n{}", lines.join("\n")),
        )
    })
}
