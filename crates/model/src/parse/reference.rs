//! Named tables and the references to them.

use std::collections::BTreeSet;
use std::ops::Range;

use super::keys::Table;
use super::reader::{Named, Reader, Report, Section, clip};
use super::suggest::suggestion;
use super::too_many;
use crate::ids::Name;

/// The tables named under `key`, at most `limit` of them.
pub(super) fn bounded<'d>(
    reader: &mut Reader,
    section: &Section<'d>,
    key: &str,
    what: &str,
    limit: usize,
) -> Vec<Named<'d>> {
    let mut named = section.named(reader, key);
    if named.len() > limit {
        let span = named.get(limit).map_or(0..0, |named| named.value.span());
        reader.error(
            &section.child_path(key),
            span,
            too_many(what, limit, named.len()),
        );
        named.truncate(limit);
    }
    named
}

/// The table under `key` if there is one.
pub(super) fn sub<'d>(
    reader: &mut Reader,
    section: &Section<'d>,
    key: &str,
    known: &Table,
) -> Option<Section<'d>> {
    reader.section(section.child_path(key), section.raw(key)?, known)
}

pub(super) fn names(named: &[Named<'_>]) -> BTreeSet<Name> {
    named
        .iter()
        .filter_map(|named| named.name.clone())
        .collect()
}

/// A name under `key` that must be one of `declared`.
pub(super) fn reference(
    reader: &mut Reader,
    section: &Section<'_>,
    key: &str,
    kind: &str,
    declared: &BTreeSet<Name>,
) -> Option<Name> {
    let name = section.name(reader, key)?;
    let found = section.get(reader, key)?;
    check_reference(reader, &found.path, found.span, kind, &name, declared).then_some(name)
}

pub(super) fn check_reference(
    reader: &mut Reader,
    path: &str,
    span: Range<usize>,
    kind: &str,
    name: &Name,
    declared: &BTreeSet<Name>,
) -> bool {
    if declared.contains(name) {
        return true;
    }
    let candidates = declared.iter().map(Name::as_str);
    let suggested = if reader.has_room() {
        suggestion(name.as_str(), candidates)
    } else {
        None
    };
    let table = if kind == "receiver" { "notify" } else { kind };
    let fix = suggested.map_or_else(
        || {
            format!(
                "add `[{table}.{}]` or name one that exists",
                clip(name.as_str())
            )
        },
        |word| format!("did you mean \"{word}\"?"),
    );
    let effect = match kind {
        "pool" => "requests on this route would have no backend",
        "listener" => "no request would ever reach this route",
        _ => "nobody would be paged at this level",
    };
    let message = format!("`{path}` names the {kind} \"{name}\", which does not exist");
    reader.error(
        path,
        span,
        Report {
            id: "CFG-05",
            message,
            effect: effect.to_owned(),
            fix,
        },
    );
    false
}
