//! The table of docs/diagnosis.md.

use evenkeel_drill::Outcome;
use evenkeel_drill::outcome::Spread;

/// A row of the table: what passed, and after how many seconds it was found and well again.
pub(crate) fn row(name: &str, runs: &[Outcome]) -> String {
    let passed = runs.iter().filter(|run| run.passed).count();
    let spread = |of: fn(&Outcome) -> Option<f64>| {
        let spread = Spread::of(runs.iter().filter_map(of));
        let both = spread.median.zip(spread.p95);
        both.map_or_else(|| "-".to_owned(), |(m, p)| format!("{m:.1}, {p:.1}"))
    };
    let (found, restored) = (spread(|r| r.detect_seconds), spread(|r| r.restore_seconds));
    format!(
        "| {name} | {passed} of {} | {found} | {restored} |",
        runs.len()
    )
}
