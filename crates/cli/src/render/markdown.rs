//! A check or a plan as Markdown, for a comment on a change request: the verdict first, details folded away, the same
//! text for the same input.
//!
//! Words that come from a configuration stand in code spans, so that a name can neither mention a person nor break a
//! table. Limits: [`LENGTH_MAX`] bytes, below what code hosts accept for a comment; what is cut is said.

use std::path::Path;

use evenkeel_web::views::{FindingView, PlanView};

use super::{Text as _, changes, counted, findings, forecast, summary};

/// Longest comment, bytes; GitHub accepts 65,536 characters.
const LENGTH_MAX: usize = 60_000;
/// Findings listed.
const FINDINGS_MAX: usize = 50;

/// A check of one file.
pub(crate) fn check(view: &PlanView, file: &Path, failed: bool) -> String {
    let mut out = String::new();
    let word = if failed { "❌" } else { "✅" };
    out.line(format_args!(
        "### {word} evenkeel check {}\n",
        code(&file.to_string_lossy())
    ));
    out.line(format_args!(
        "{}\n",
        sentence(&summary::verdict(file, view, failed))
    ));
    body(&mut out, view);
    cut(out)
}

/// A plan of one file.
pub(crate) fn plan(view: &PlanView, file: &Path) -> String {
    let mut out = String::new();
    let (risk, words) = summary::risk(view);
    let sign = match (view.refused || !view.valid, risk) {
        (true, _) | (_, summary::Risk::High) => "❌",
        (_, summary::Risk::Medium) => "⚠️",
        (_, summary::Risk::Low) => "✅",
    };
    out.line(format_args!(
        "### {sign} evenkeel plan {}\n",
        code(&file.to_string_lossy())
    ));
    if !view.valid {
        out.line(format_args!(
            "Not a configuration; nothing can be planned.\n"
        ));
        body(&mut out, view);
        return cut(out);
    }
    let against = view.revision.as_deref().unwrap_or("the file given");
    out.line(format_args!(
        "{} Against {against}.\n\n**Risk: {}.**\n",
        changes::count(&view.changes),
        sentence(&words)
    ));
    if !view.changes.is_empty() {
        fold(&mut out, "Difference", "diff", &difference(view));
    }
    body(&mut out, view);
    if let Some(verify) = &view.verify
        && !view.refused
        && !view.changes.is_empty()
    {
        for line in summary::verify(verify).lines() {
            out.line(format_args!("- {}", sentence(line)));
        }
    }
    cut(out)
}

/// A difference that a code host colours: lines that begin with + and -.
fn difference(view: &PlanView) -> String {
    let mut out = String::new();
    for change in &view.changes {
        if let Some(before) = &change.before {
            out.line(format_args!("- {} = {before}", change.path));
        }
        if let Some(after) = &change.after {
            out.line(format_args!("+ {} = {after}", change.path));
        }
    }
    out
}

fn body(out: &mut String, view: &PlanView) {
    list(out, &view.findings);
    if let Some(shown) = &view.forecast {
        let show = forecast::Show { cases: true };
        let text =
            forecast::parts(&view.routes) + &forecast::forecast(shown, view.current.as_ref(), show);
        fold(
            out,
            "Forecast: share and load of each backend",
            "text",
            &text,
        );
    }
    if !view.gaps.is_empty() {
        let title = format!("Not judged: {}", counted(view.gaps.len(), "directive"));
        fold(out, &title, "text", &findings::gaps(&view.gaps));
    }
    if view.format != "evenkeel"
        && let Some(words) = summary::confidence(view)
    {
        out.line(format_args!("{}\n", sentence(&words)));
    }
}

fn list(out: &mut String, all: &[FindingView]) {
    let listed = |f: &&FindingView| f.severity != "info" && f.effect_of.is_none();
    let mut findings: Vec<&FindingView> = all.iter().filter(listed).collect();
    // Errors first, each severity in the order of the file.
    findings.sort_by_key(|f| f.severity != "error");
    if findings.is_empty() {
        return;
    }
    out.push_str("| | where | what | effect | fix |\n|---|---|---|---|---|\n");
    for finding in findings.iter().take(FINDINGS_MAX) {
        let place = match (&finding.file, finding.line) {
            (Some(file), Some(line)) => format!("{file}:{line}"),
            (Some(file), None) => file.clone(),
            _ => finding.path.clone(),
        };
        out.line(format_args!(
            "| {} {} | {} | {} | {} | {} |",
            finding.severity,
            finding.id,
            code(&place),
            cell(&finding.message),
            cell(&finding.effect),
            cell(&finding.fix)
        ));
    }
    if findings.len() > FINDINGS_MAX {
        out.line(format_args!(
            "\n... and {} more.",
            findings.len() - FINDINGS_MAX
        ));
    }
    out.push('\n');
}

fn fold(out: &mut String, title: &str, language: &str, text: &str) {
    // A fence longer than any in the text cannot be closed by it.
    let fence = "`".repeat(longest_run(text).max(2) + 1);
    out.line(format_args!(
        "<details><summary>{title}</summary>\n\n{fence}{language}\n{}\n{fence}\n</details>\n",
        text.trim_end()
    ));
}

fn longest_run(text: &str) -> usize {
    let runs = text.split(|c| c != '`').map(str::len);
    runs.max().unwrap_or(0)
}

/// Text in a code span, with a longer fence than any run of backticks in it.
fn code(text: &str) -> String {
    let fence = "`".repeat(longest_run(text) + 1);
    let text = text.replace('|', "\\|").replace(char::is_control, " ");
    if fence.len() > 1 {
        format!("{fence} {text} {fence}")
    } else {
        format!("{fence}{text}{fence}")
    }
}

/// Words in a table's cell: what is in backticks stays code, everything else cannot be markup.
fn cell(text: &str) -> String {
    sentence(text).replace('|', "\\|")
}

/// Words outside a table.
fn sentence(text: &str) -> String {
    let text = text.replace(char::is_control, " ");
    let mut out = String::new();
    // Backticks come in pairs in the words of a finding; an odd last one is no code.
    let parts: Vec<&str> = text.split('`').collect();
    let paired = parts.len() % 2 == 1;
    for (n, part) in parts.iter().enumerate() {
        if n % 2 == 1 && paired {
            out.text(format_args!("`{part}`"));
        } else {
            if n > 0 && !paired {
                out.push('\'');
            }
            for c in part.chars() {
                match c {
                    '<' => out.push_str("&lt;"),
                    '>' => out.push_str("&gt;"),
                    '&' => out.push_str("&amp;"),
                    // A zero-width space keeps a name from mentioning somebody.
                    '@' => out.push_str("@\u{200b}"),
                    '*' | '_' | '[' | ']' | '\\' | '#' | '~' => {
                        out.push('\\');
                        out.push(c);
                    }
                    c => out.push(c),
                }
            }
        }
    }
    out
}

fn cut(mut out: String) -> String {
    if out.len() > LENGTH_MAX {
        let at = (0..=LENGTH_MAX).rev().find(|at| out.is_char_boundary(*at));
        out.truncate(at.unwrap_or(0));
        out.push_str("\n\n(cut; `--json` has everything)\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{cell, code};

    #[test]
    fn words_of_a_configuration_are_no_markup() {
        assert_eq!(code("a`b|c"), "`` a`b\\|c ``");
        assert_eq!(
            cell("`a|b` is <b>@all</b> | *x*"),
            "`a\\|b` is &lt;b&gt;@\u{200b}all&lt;/b&gt; \\| \\*x\\*"
        );
        assert_eq!(cell("odd ` one\n"), "odd ' one ");
    }
}
