//! Findings with their source lines, the worst first; infos on one line each; what was not understood as a list.
//!
//! Only the line of a finding is handed to the renderer, so that twenty findings in a file of 16 MiB cost twenty lines.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use evenkeel_model::finding::{Finding, Origin, Severity};
use evenkeel_web::views::{FindingView, GapView};

use super::{Text as _, counted, named};

/// Findings of each severity that a person is shown.
const SHOWN_MAX: usize = 20;
/// Longest part of a line that is shown, bytes.
const LINE_MAX: usize = 400;
/// The reader's finding about something that it did not understand; such are listed in short.
const NOT_UNDERSTOOD: &str = "IMP-03";

/// Where the lines of findings come from, by the file's name.
pub(crate) enum Texts<'a> {
    /// Every file that was read.
    Read(&'a Origin),
    /// The one text that was sent.
    Sent(&'a str),
    None,
}

impl Texts<'_> {
    fn of(&self, file: Option<&str>) -> &str {
        match self {
            Self::Read(origin) => origin.text_of(file),
            Self::Sent(text) => text,
            Self::None => "",
        }
    }
}

/// Findings of this process, with their source lines.
pub(crate) fn findings(findings: &[Finding], origin: &Origin, colour: bool) -> String {
    let mut views = FindingView::list(findings);
    // Nothing is changed here, so nothing runs already that could have the same fault.
    for view in &mut views {
        view.blocking = true;
    }
    shown(&views, &Texts::Read(origin), colour)
}

/// Findings with source lines where there are any, the worst first.
pub(crate) fn shown(findings: &[FindingView], texts: &Texts<'_>, colour: bool) -> String {
    let renderer = if colour {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let mut out = String::new();
    for severity in [Severity::Error, Severity::Warning, Severity::Info] {
        let word = severity.as_str();
        let of_it = || {
            let all = findings.iter();
            all.filter(move |f| {
                f.severity == word && f.id != NOT_UNDERSTOOD && f.effect_of.is_none()
            })
        };
        for finding in of_it().take(SHOWN_MAX) {
            if severity == Severity::Info {
                out.push_str(&info(finding));
            } else {
                out.line(format_args!("{}\n", one(finding, texts, &renderer)));
            }
        }
        let rest = of_it().count().saturating_sub(SHOWN_MAX);
        if rest > 0 {
            out.line(format_args!(
                "... and {} not shown; --json has all\n",
                counted(rest, &format!("more {word}"))
            ));
        }
    }
    out
}

fn one(finding: &FindingView, texts: &Texts<'_>, renderer: &Renderer) -> String {
    let (level, is_error) = match finding.severity.as_str() {
        "error" => (Level::ERROR, true),
        _ => (Level::WARNING, false),
    };
    let title = level
        .primary_title(finding.message.as_str())
        .id(finding.id.as_str());
    let text = texts.of(finding.file.as_deref());
    let line = finding.span.and_then(|span| around(text, span));
    let mut group = match line {
        Some((line, span)) => {
            let number = usize::try_from(finding.line.unwrap_or(1)).unwrap_or(1);
            let snippet = Snippet::source(line)
                .line_start(number)
                .path(named(finding.file.as_deref().unwrap_or("configuration")))
                .annotation(AnnotationKind::Primary.span(span));
            title.element(snippet)
        }
        None => Group::with_title(title),
    };
    if !finding.effect.is_empty() {
        group = group.element(
            Level::NOTE
                .with_name("effect")
                .message(finding.effect.as_str()),
        );
    }
    if !finding.fix.is_empty() {
        group = group.element(Level::HELP.with_name("fix").message(finding.fix.as_str()));
    }
    if is_error && !finding.blocking {
        let note = "the running revision has it too; it does not block this change";
        group = group.element(Level::NOTE.message(note));
    }
    renderer.render(&[group])
}

/// The first line of `span`, cut to a length that fits, and the part of the span that lies on it.
fn around(text: &str, (start, end): (usize, usize)) -> Option<(&str, std::ops::Range<usize>)> {
    if text.is_empty() || end > text.len() || !text.is_char_boundary(start) {
        return None;
    }
    let before = text.get(..start)?;
    let from = before.rfind('\n').map_or(0, |at| at + 1);
    // A value far to the right is shown from itself on.
    let from = if start - from > LINE_MAX / 2 {
        start
    } else {
        from
    };
    let rest = text.get(from..)?;
    let length = rest.find('\n').unwrap_or(rest.len()).min(LINE_MAX);
    let length = (0..=length).rev().find(|at| rest.is_char_boundary(*at))?;
    let line = rest.get(..length)?;
    let mut to = (end - from).min(length).max(start - from);
    while !line.is_char_boundary(to) {
        to -= 1;
    }
    Some((line, start - from..to))
}

fn info(finding: &FindingView) -> String {
    let place = place(finding.file.as_deref(), finding.line);
    let mut out = format!("info[{}]: {}{place}\n", finding.id, finding.message);
    if let Some(waived) = &finding.waived {
        out.line(format_args!(
            "  accepted until {}: {}",
            waived.until, waived.reason
        ));
    } else if !finding.fix.is_empty() {
        out.line(format_args!("  fix: {}", finding.fix));
    }
    out
}

/// ` (haproxy.cfg:12)`, or nothing.
fn place(file: Option<&str>, line: Option<u32>) -> String {
    match (file, line) {
        (Some(file), Some(line)) => format!(" ({}:{line})", named(file)),
        (None, Some(line)) => format!(" (line {line})"),
        _ => String::new(),
    }
}

/// What was not understood or cannot be known, in short.
pub(crate) fn gaps(gaps: &[GapView]) -> String {
    let mut out = String::new();
    if gaps.is_empty() {
        return out;
    }
    out.line(format_args!("not judged ({}):", gaps.len()));
    let mut rows = Vec::new();
    for gap in gaps.iter().take(SHOWN_MAX) {
        let may_differ = match (gap.touches.as_str(), &gap.pool) {
            ("pool", Some(pool)) => format!("the shares within `{pool}` may differ"),
            ("routing", _) => "which requests reach which pool may differ".to_owned(),
            _ => "limits, timeouts or checks may differ".to_owned(),
        };
        let place = place(gap.file.as_deref(), gap.line);
        let place = place
            .trim_start_matches(" (")
            .trim_end_matches(')')
            .to_owned();
        rows.push(vec![place, format!("`{}`", gap.what), may_differ]);
    }
    super::list(&mut out, &rows);
    if gaps.len() > SHOWN_MAX {
        let rest = gaps.len() - SHOWN_MAX;
        out.line(format_args!("  ... and {rest} more; --json has all"));
    }
    out
}

/// `1 error, 2 warnings`; what follows from another finding is not counted by itself.
pub(crate) fn count(findings: &[FindingView]) -> String {
    let of = |severity: Severity| {
        let word = severity.as_str();
        let of_it = |f: &&FindingView| f.severity == word && f.effect_of.is_none();
        counted(findings.iter().filter(of_it).count(), word)
    };
    format!("{}, {}", of(Severity::Error), of(Severity::Warning))
}
