//! A difference in the manner of a plan: what is added, changed and removed, grouped by table.

use anstyle::{AnsiColor, Style};
use evenkeel_model::parse::keys::{FILE, Key, Kind, Table};
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
        let changed = |before: &str, after: &str| {
            (
                '~',
                format!("{key}: {before} -> {after}"),
                AnsiColor::Yellow,
            )
        };
        let usual = usual(change, changes).map(|value| format!("{value} (default)"));
        let (sign, value, hue) = match (&change.before, &change.after, &usual) {
            (Some(before), Some(after), _) => changed(before, after),
            (None, Some(after), Some(usual)) => changed(usual, after),
            (Some(before), None, Some(usual)) => changed(before, usual),
            (None, Some(after), None) => ('+', format!("{key} = {after}"), AnsiColor::Green),
            (Some(before), None, None) => ('-', format!("{key} = {before}"), AnsiColor::Red),
            (None, None, _) => continue,
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

/// The default that counts where one side of `change` says nothing: a key that is left out has a value too, where its
/// table is on both sides. A table that came or went shows in its required keys; of one without, nothing is known.
fn usual(change: &ChangeView, changes: &[ChangeView]) -> Option<&'static str> {
    let (table, key) = key_at(&change.path)?;
    let (head, _) = parts(&change.path);
    let mut required = table.keys.iter().filter(|key| key.is_required).peekable();
    required.peek()?;
    let came_or_went = |c: &ChangeView| c.before.is_none() || c.after.is_none();
    let mut stays = required.map(|key| {
        let path = format!("{head}.{}", key.name);
        !changes.iter().any(|c| c.path == path && came_or_went(c))
    });
    key.default
        .filter(|_| came_or_went(change) && stays.all(|stays| stays))
}

/// The key that stands at `path`, and its table.
fn key_at(path: &str) -> Option<(&'static Table, &'static Key)> {
    let (head, name) = parts(path);
    let table = match head {
        "" => &FILE,
        head => table_at(head)?,
    };
    let key = table.keys.iter().find(|key| key.name == name)?;
    Some((table, key))
}

fn table_at(path: &str) -> Option<&'static Table> {
    let inner = |path: &str| match key_at(path)?.1.kind {
        Kind::Table(inner) | Kind::Named(inner) | Kind::List(inner) => Some(inner),
        _ => None,
    };
    // Where the last segment is a name, the table is that of the segment before it.
    inner(path).or_else(|| inner(parts(path).0))
}

/// `Plan: 1 to add, 2 to change, 0 to remove.`
pub(crate) fn count(changes: &[ChangeView]) -> String {
    let count = |wanted: (bool, bool)| {
        let kinds = changes.iter();
        let kinds = kinds.map(|c| match usual(c, changes) {
            Some(_) => (true, true),
            None => (c.before.is_some(), c.after.is_some()),
        });
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
    use super::{changes, count, parts};
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

    #[test]
    fn a_key_that_is_left_out_has_its_default_where_its_table_stays() {
        let change = |path: &str, before: Option<&str>, after: Option<&str>| ChangeView {
            path: path.to_owned(),
            before: before.map(str::to_owned),
            after: after.map(str::to_owned),
        };
        let swap = [
            change("pool.p.backend.a.priority", Some("1"), None),
            change("pool.p.backend.b.priority", None, Some("1")),
        ];
        let text = "[pool.p.backend.a]\n  ~ priority: 1 -> 0 (default)\n\
            [pool.p.backend.b]\n  ~ priority: 0 (default) -> 1\n";
        assert_eq!(changes(&swap, false), text);
        assert_eq!(count(&swap), "Plan: 0 to add, 2 to change, 0 to remove.");
        // A backend that is new had no priority before.
        let new = [
            change("pool.p.backend.c.address", None, Some("\"127.0.0.1:1\"")),
            change("pool.p.backend.c.priority", None, Some("1")),
        ];
        assert_eq!(count(&new), "Plan: 2 to add, 0 to change, 0 to remove.");
        // Whether `reported` is a new table is not known.
        let table = [change("pool.p.reported.max", None, Some("3"))];
        assert_eq!(count(&table), "Plan: 1 to add, 0 to change, 0 to remove.");
    }
}
