//! A difference in the manner of a plan: what is added, changed and removed, grouped by table.

use anstyle::{AnsiColor, Style};
use evenkeel_web::views::ChangeView;

use super::Text as _;

/// Changed values that a person is shown.
const SHOWN_MAX: usize = 200;

/// Changed values, grouped by table, coloured where a person looks.
pub(crate) fn changes(changes: &[ChangeView], colour: bool) -> String {
    let mut out = String::new();
    let mut table = None;
    for change in changes.iter().take(SHOWN_MAX) {
        let (head, key) = parts(&change.path);
        if table != Some(head) {
            if !head.is_empty() {
                out.line(format_args!("[{head}]"));
            } else if table.is_some() {
                out.line(format_args!("(top level)"));
            }
            table = Some(head);
        }
        let (sign, value, hue) = match (&change.before, &change.after) {
            (None, Some(after)) => ('+', format!("{key} = {after}"), AnsiColor::Green),
            (Some(before), None) => ('-', format!("{key} = {before}"), AnsiColor::Red),
            (Some(before), Some(after)) => (
                '~',
                format!("{key}: {before} -> {after}"),
                AnsiColor::Yellow,
            ),
            (None, None) => continue,
        };
        if colour {
            let style = Style::new().fg_color(Some(hue.into()));
            out.line(format_args!("  {style}{sign}{style:#} {value}"));
        } else {
            out.line(format_args!("  {sign} {value}"));
        }
    }
    let rest = changes.len().saturating_sub(SHOWN_MAX);
    if rest > 0 {
        out.line(format_args!("... and {rest} more changes; --json has all"));
    }
    out
}

/// The table of a path and the key in it; a quoted segment may hold dots and escaped quotes.
fn parts(path: &str) -> (&str, &str) {
    let (mut is_quoted, mut is_escaped, mut cut) = (false, false, None);
    for (at, c) in path.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            '.' if !is_quoted => cut = Some(at),
            _ => {}
        }
    }
    cut.and_then(|at| Some((path.get(..at)?, path.get(at + 1..)?)))
        .unwrap_or(("", path))
}

/// `Plan: 1 to add, 2 to change, 0 to remove.`
pub(crate) fn count(changes: &[ChangeView]) -> String {
    let count = |wanted: (bool, bool)| {
        let kinds = changes.iter();
        let kinds = kinds.map(|c| (c.before.is_some(), c.after.is_some()));
        kinds.filter(|kind| *kind == wanted).count()
    };
    format!(
        "Plan: {} to add, {} to change, {} to remove.",
        count((false, true)),
        count((true, true)),
        count((true, false))
    )
}

#[cfg(test)]
mod tests {
    use super::{changes, parts};
    use evenkeel_web::views::ChangeView;

    #[test]
    fn keys_are_grouped_under_their_table_also_where_a_name_holds_dots() {
        assert_eq!(parts("pool.p.weight"), ("pool.p", "weight"));
        assert_eq!(parts("workers"), ("", "workers"));
        assert_eq!(
            parts(r#"pool.p.backend."a.b""#),
            ("pool.p.backend", r#""a.b""#)
        );
        assert_eq!(
            parts(r#"pool.p.backend."10.0.0.1:80""#),
            ("pool.p.backend", r#""10.0.0.1:80""#)
        );
        assert_eq!(
            parts(r#"pool.p.backend."a\".b""#),
            ("pool.p.backend", r#""a\".b""#)
        );
        let change = |path: &str, before: Option<&str>, after: Option<&str>| ChangeView {
            path: path.to_owned(),
            before: before.map(str::to_owned),
            after: after.map(str::to_owned),
        };
        let list = [
            change("pool.p.weight", Some("1"), Some("2")),
            change("pool.p.zone", None, Some("\"a\"")),
            change("workers", Some("2"), None),
        ];
        let text = "[pool.p]\n  ~ weight: 1 -> 2\n  + zone = \"a\"\n(top level)\n  - workers = 2\n";
        assert_eq!(changes(&list, false), text);
        assert!(changes(&list, true).contains("\u{1b}[33m~"));
    }
}
