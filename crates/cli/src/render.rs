//! How findings, forecasts and differences look on a terminal. The same text without colour is what logs and tests see.

use std::fmt::{self, Write as _};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use evenkeel_model::finding::{Finding, Origin, Severity};
use evenkeel_web::views::{ChangeView, FindingView, ForecastView, PoolForecastView};

/// Writes formatted text to the end of a `String`, which cannot fail.
pub(crate) trait Text {
    fn text(&mut self, text: fmt::Arguments<'_>);

    fn line(&mut self, text: fmt::Arguments<'_>);
}

impl Text for String {
    fn text(&mut self, text: fmt::Arguments<'_>) {
        self.write_fmt(text).unwrap_or_default();
    }

    fn line(&mut self, text: fmt::Arguments<'_>) {
        self.text(text);
        self.push('\n');
    }
}

/// A finding with the text it is about, from whichever side it came.
struct Shown<'a> {
    id: &'a str,
    severity: &'a str,
    message: &'a str,
    effect: &'a str,
    fix: &'a str,
    /// File, its text and the byte range in it.
    place: Option<(Option<&'a str>, &'a str, std::ops::Range<usize>)>,
    note: Option<&'a str>,
}

/// Findings of this process, with their source lines.
pub(crate) fn findings(findings: &[Finding], origin: &Origin, colour: bool) -> String {
    let shown = findings.iter().map(|finding| Shown {
        id: finding.id,
        severity: finding.severity.as_str(),
        message: &finding.message,
        effect: &finding.effect,
        fix: &finding.fix,
        place: finding.location.as_ref().map(|place| {
            let file = finding.file.as_deref();
            (file, origin.text_of(file), place.span.clone())
        }),
        note: None,
    });
    render(shown, colour)
}

/// Findings that came over the API, with the source lines of the text that was sent.
pub(crate) fn finding_views(
    findings: &[FindingView],
    text: &str,
    file: Option<&str>,
    colour: bool,
) -> String {
    let shown = findings.iter().map(|finding| Shown {
        id: &finding.id,
        severity: &finding.severity,
        message: &finding.message,
        effect: &finding.effect,
        fix: &finding.fix,
        place: finding.span.map(|(start, end)| (file, text, start..end)),
        note: (finding.severity == Severity::Error.as_str() && !finding.blocking)
            .then_some("the running revision has it too; it does not block this change"),
    });
    render(shown, colour)
}

fn render<'a>(findings: impl Iterator<Item = Shown<'a>>, colour: bool) -> String {
    let renderer = if colour {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let mut out = String::new();
    for finding in findings {
        let level = match finding.severity {
            "error" => Level::ERROR,
            "warning" => Level::WARNING,
            _ => Level::INFO,
        };
        let title = level.primary_title(finding.message).id(finding.id);
        let mut group = match &finding.place {
            Some((file, text, span)) if span.end <= text.len() && !text.is_empty() => {
                let snippet = Snippet::source(*text)
                    .path(file.unwrap_or("configuration"))
                    .annotation(AnnotationKind::Primary.span(span.clone()));
                title.element(snippet)
            }
            _ => Group::with_title(title),
        };
        if !finding.effect.is_empty() {
            group = group.element(Level::NOTE.with_name("effect").message(finding.effect));
        }
        if !finding.fix.is_empty() {
            group = group.element(Level::HELP.with_name("fix").message(finding.fix));
        }
        if let Some(note) = finding.note {
            group = group.element(Level::NOTE.message(note));
        }
        out.line(format_args!("{}\n", renderer.render(&[group])));
    }
    out
}

/// One line that counts findings.
pub(crate) fn count(findings: &[FindingView]) -> String {
    let of = |severity: Severity| {
        findings
            .iter()
            .filter(|f| f.severity == severity.as_str())
            .count()
    };
    let word = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    format!(
        "{}, {}",
        word(of(Severity::Error), "error"),
        word(of(Severity::Warning), "warning")
    )
}

/// The forecast as a table; `current` gives the column before.
pub(crate) fn forecast(forecast: &ForecastView, current: Option<&ForecastView>) -> String {
    let mut out = String::new();
    for pool in &forecast.pools {
        let before = current.and_then(|c| c.pools.iter().find(|p| p.name == pool.name));
        pool_table(&mut out, pool, before);
        worst_case(&mut out, pool, forecast);
    }
    for note in &forecast.notes {
        out.line(format_args!("note: {note}"));
    }
    out
}

fn pool_table(out: &mut String, pool: &PoolForecastView, before: Option<&PoolForecastView>) {
    let rate = pool.rps.map_or_else(
        || "peak not known".to_owned(),
        |rps| format!("at {rps:.0} requests/s"),
    );
    out.line(format_args!("pool {} ({rate})", pool.name));
    let mut rows = vec![
        ["backend", "intended", "expected", "rate", "load"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for backend in &pool.backends {
        let old = before.and_then(|p| p.backends.iter().find(|b| b.name == backend.name));
        let change = |new: Option<f64>, old: Option<Option<f64>>| match old {
            Some(old) if percent(old) != percent(new) => {
                format!("{} -> {}", percent(old), percent(new))
            }
            _ => percent(new),
        };
        rows.push(vec![
            backend.name.clone(),
            percent(backend.intended_share),
            change(backend.expected_share, old.map(|b| b.expected_share)),
            backend
                .expected_rps
                .map_or_else(|| "-".to_owned(), |rps| format!("{rps:.0}/s")),
            change(backend.utilisation, old.map(|b| b.utilisation)),
        ]);
    }
    table(out, &rows);
}

/// The single loss that hurts most.
fn worst_case(out: &mut String, pool: &PoolForecastView, forecast: &ForecastView) {
    let mut worst: Option<(&str, &str, f64)> = None;
    for failure in &forecast.failures {
        for p in failure.pools.iter().filter(|p| p.name == pool.name) {
            for backend in &p.backends {
                if let Some(load) = backend.utilisation
                    && worst.is_none_or(|(_, _, most)| load > most)
                {
                    worst = Some((&failure.out, &backend.name, load));
                }
            }
        }
    }
    if let Some((failed, backend, load)) = worst {
        out.line(format_args!(
            "  worst single loss: {failed} out puts {backend} at {}",
            percent(Some(load))
        ));
    }
}

/// Changed values, in the manner of a plan.
pub(crate) fn changes(changes: &[ChangeView]) -> String {
    let mut out = String::new();
    for change in changes {
        match (&change.before, &change.after) {
            (None, Some(after)) => out.line(format_args!("  + {} = {after}", change.path)),
            (Some(before), None) => out.line(format_args!("  - {} = {before}", change.path)),
            (Some(before), Some(after)) => {
                out.line(format_args!("  ~ {}: {before} -> {after}", change.path));
            }
            (None, None) => {}
        }
    }
    out
}

/// `Plan: 1 to add, 2 to change, 0 to remove.`
pub(crate) fn change_count(changes: &[ChangeView]) -> String {
    let count = |wanted: (bool, bool)| {
        changes
            .iter()
            .filter(|c| (c.before.is_some(), c.after.is_some()) == wanted)
            .count()
    };
    format!(
        "Plan: {} to add, {} to change, {} to remove.",
        count((false, true)),
        count((true, true)),
        count((true, false))
    )
}

/// A fraction as a percentage with one decimal; `-` when unknown.
pub(crate) fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |v| format!("{:.1} %", v * 100.0))
}

/// Rows in columns of text, left-aligned; the first row is the head.
pub(crate) fn list(out: &mut String, rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(|column| width(rows, column)).collect();
    for row in rows {
        let mut line = String::from("  ");
        for (cell, width) in row.iter().zip(&widths) {
            line.text(format_args!("{cell:<width$}  "));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

fn width(rows: &[Vec<String>], column: usize) -> usize {
    let cells = rows.iter().filter_map(|row| row.get(column));
    cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
}

/// Rows in columns; the first row is the head, the first column is text, the others are right-aligned.
pub(crate) fn table(out: &mut String, rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(|column| width(rows, column)).collect();
    for row in rows {
        let mut line = String::from("  ");
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if column == 0 {
                line.text(format_args!("{cell:<width$}"));
            } else {
                line.text(format_args!("  {cell:>width$}"));
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}
