//! The difference of two configurations as a list of values, applied and undone.
//!
//! Both sides are seen as paths with values (the canonical form), so a difference needs no code per key,
//! and a changed value can be applied through the same reader that checks every file: what comes out is
//! valid or refused, never half applied. Routes and escalation levels are lists in which position has a
//! meaning; undoing a change to a list is therefore refused when the list has been changed again since.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::canonical::{content_hash, entries};
use crate::config::Config;
use crate::finding::{Finding, Severity};
use crate::parse::parse;

/// Lists whose elements have a position instead of a name.
const LISTS: [&str; 4] = ["audit.waiver", "escalation", "expect", "route"];

/// Tables that only hold named ones; that the first name came or the last one went says nothing about others.
const COLLECTIONS: [&str; 5] = ["admin.token", "listener", "notify", "pool", "webhook"];

/// One value that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Path of the value, names quoted as in TOML: `pool.shop.backend."web.1".weight`, `route.0.pool`.
    pub path: String,
    /// The value before as TOML; `None`: it was not there.
    pub before: Option<String>,
    /// The value after as TOML; `None`: it is gone.
    pub after: Option<String>,
}

/// Why a change cannot be undone on top of what runs now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RevertError {
    /// These paths were changed again since; sorted.
    #[error("changed again since: {}", .0.join(", "))]
    Conflict(Vec<String>),
    /// What would come out is not a valid configuration.
    #[error("undoing the change leaves an invalid configuration: {}", first_message(.0))]
    Invalid(Vec<Finding>),
}

fn first_message(findings: &[Finding]) -> &str {
    findings
        .first()
        .map_or("no reason given", |finding| finding.message.as_str())
}

/// What differs: values of `a` that changed or went, in the order of `a`, then new ones in the order of `b`.
/// Empty exactly when the content hashes are equal.
pub fn diff(a: &Config, b: &Config) -> Vec<Change> {
    let (before, after) = (entries(a), entries(b));
    let before_by_path = by_path(&before);
    let after_by_path = by_path(&after);
    let gone_or_changed = before.iter().filter_map(|(path, value)| {
        let new = after_by_path.get(path.as_str()).copied();
        (new != Some(value.as_str())).then(|| Change {
            path: path.clone(),
            before: Some(value.clone()),
            after: new.map(str::to_owned),
        })
    });
    let new = after
        .iter()
        .filter(|(path, _)| !before_by_path.contains_key(path.as_str()))
        .map(|(path, value)| Change {
            path: path.clone(),
            before: None,
            after: Some(value.clone()),
        });
    gone_or_changed.chain(new).collect()
}

/// `base` with `changes`. Refused when `base` does not hold what a change says was there before
/// (`CHG-01`), or when the result is invalid (the findings of the reader, without a place).
pub fn apply(base: &Config, changes: &[Change]) -> Result<Config, Vec<Finding>> {
    let mut values = entries(base);
    let mut index: BTreeMap<String, usize> = values
        .iter()
        .enumerate()
        .map(|(i, (path, _))| (path.clone(), i))
        .collect();
    let mut moved = Vec::new();
    let mut gone = BTreeSet::new();
    for change in changes {
        let at = index.get(&change.path).copied();
        let now = at
            .and_then(|i| values.get(i))
            .map(|(_, value)| value.as_str());
        if now != change.before.as_deref() {
            moved.push(base_moved(change, now));
            continue;
        }
        match (at, &change.after) {
            (Some(i), Some(value)) => {
                if let Some(entry) = values.get_mut(i) {
                    entry.1.clone_from(value);
                }
                gone.remove(&i);
            }
            (Some(i), None) => {
                gone.insert(i);
            }
            (None, Some(value)) => {
                index.insert(change.path.clone(), values.len());
                values.push((change.path.clone(), value.clone()));
            }
            (None, None) => {}
        }
    }
    if !moved.is_empty() {
        return Err(moved);
    }
    let kept = values
        .iter()
        .enumerate()
        .filter(|(i, _)| !gone.contains(i))
        .map(|(_, entry)| entry);
    read_back(kept)
}

/// Undoes the change `before` -> `after` on top of `current`, three-way: values that the change did not
/// touch stay as they are in `current`.
pub fn revert(current: &Config, before: &Config, after: &Config) -> Result<Config, RevertError> {
    if content_hash(current) == content_hash(after) {
        return Ok(before.clone());
    }
    let undo = diff(after, before);
    let (now, was, then) = (entries(current), entries(after), entries(before));
    let (now, was, then) = (by_path(&now), by_path(&was), by_path(&then));
    let mut conflicts = BTreeSet::new();
    for scope in scopes(&undo, before, after) {
        let (now, was) = (under(&now, &scope), under(&was, &scope));
        if now != was && now != under(&then, &scope) {
            let paths = now
                .keys()
                .chain(was.keys())
                .filter(|path| now.get(*path) != was.get(*path));
            conflicts.extend(paths.map(|path| (*path).to_owned()));
        }
    }
    let mut steps = Vec::new();
    for change in undo {
        let value = now.get(change.path.as_str()).copied();
        if value == change.after.as_deref() {
            continue; // already as it was before the change
        }
        if value != change.before.as_deref() {
            conflicts.insert(change.path.clone());
        }
        steps.push(change);
    }
    if !conflicts.is_empty() {
        return Err(RevertError::Conflict(conflicts.into_iter().collect()));
    }
    apply(current, &steps).map_err(RevertError::Invalid)
}

/// Tables that are undone as a whole or not at all, or the undo would mix two things: lists, in which positions
/// shift, and tables that the change created or removed.
fn scopes(undo: &[Change], before: &Config, after: &Config) -> BTreeSet<String> {
    let tables = |config: &Config| -> BTreeSet<String> {
        entries(config)
            .iter()
            .flat_map(|(path, _)| ancestors(path))
            .map(str::to_owned)
            .collect()
    };
    let (before, after) = (tables(before), tables(after));
    let mut scopes = BTreeSet::new();
    for change in undo {
        for ancestor in ancestors(&change.path).filter(|a| !COLLECTIONS.contains(a)) {
            if LISTS.contains(&ancestor) || before.contains(ancestor) != after.contains(ancestor) {
                scopes.insert(ancestor.to_owned());
                break; // what lies below is compared with it
            }
        }
    }
    scopes
}

/// The values below the table `scope`.
fn under<'e>(values: &BTreeMap<&'e str, &'e str>, scope: &str) -> BTreeMap<&'e str, &'e str> {
    let prefix = format!("{scope}.");
    values
        .range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded))
        .take_while(|(path, _)| path.starts_with(&prefix))
        .map(|(path, value)| (*path, *value))
        .collect()
}

/// Every table a path lies in: `pool.shop.health.path` gives `pool`, `pool.shop`, `pool.shop.health`.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    path.char_indices().filter_map(move |(i, c)| {
        match c {
            '"' => quoted = !quoted,
            '.' if !quoted => return path.get(..i),
            _ => {}
        }
        None
    })
}

fn by_path(entries: &[(String, String)]) -> BTreeMap<&str, &str> {
    entries
        .iter()
        .map(|(path, value)| (path.as_str(), value.as_str()))
        .collect()
}

/// Values as TOML: dotted keys for tables, then the lists element by element.
fn read_back<'a>(
    values: impl Iterator<Item = &'a (String, String)>,
) -> Result<Config, Vec<Finding>> {
    let mut text = String::new();
    let mut lists: BTreeMap<(&str, usize), String> = BTreeMap::new();
    for (path, value) in values {
        let element = LISTS.iter().find_map(|list| {
            let rest = path.strip_prefix(list)?.strip_prefix('.')?;
            let (index, key) = rest.split_once('.')?;
            Some(((*list, index.parse::<usize>().ok()?), key))
        });
        match element {
            Some((at, key)) => {
                let lines = lists.entry(at).or_default();
                lines.extend([key, " = ", value.as_str(), "\n"]);
            }
            None => text.extend([path.as_str(), " = ", value.as_str(), "\n"]),
        }
    }
    for ((list, _), lines) in &lists {
        text.extend(["[[", list, "]]\n", lines.as_str()]);
    }
    let parsed = parse(&text, None);
    parsed.config.ok_or_else(|| {
        let errors = parsed
            .findings
            .into_iter()
            .filter(|f| f.severity == Severity::Error);
        // The text is a by-product: a place in it would point nowhere that a person can see.
        errors
            .map(|finding| Finding {
                location: None,
                ..finding
            })
            .collect()
    })
}

fn base_moved(change: &Change, now: Option<&str>) -> Finding {
    let word = |value: Option<&str>| value.map_or("absent".to_owned(), |v| format!("`{v}`"));
    Finding {
        id: "CHG-01",
        severity: Severity::Error,
        message: format!(
            "the base moved: `{}` should be {} before the change but is {}",
            change.path,
            word(change.before.as_deref()),
            word(now)
        ),
        effect: "none: nothing was applied".to_owned(),
        fix: "plan again on top of the running revision".to_owned(),
        path: change.path.clone(),
        magnitude_ppm: 0,
        file: None,
        location: None,
        waived: None,
        effect_of: None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Change, RevertError, apply, diff, revert};
    use crate::canonical::content_hash;
    use crate::config::Config;
    use crate::parse::parse;
    use crate::parse::strategies::pair;
    use crate::parse::tests::SHOP;

    fn shop(edits: &[(&str, &str)]) -> Config {
        let mut text = SHOP.to_owned();
        for (from, to) in edits {
            assert!(text.contains(from), "{from}");
            text = text.replacen(from, to, 1);
        }
        parse(&text, None).config.unwrap()
    }

    const WEIGHT: (&str, &str) = ("weight = 1\n", "weight = 10\n");
    const PEAK: (&str, &str) = ("peak_rps = 900", "peak_rps = 1000");
    const NEW_BACKEND: (&str, &str) = (
        "[pool.shop.health]",
        "[pool.shop.backend.\"web.4\"]\naddress = \"127.0.0.1:8084\"\ncapacity_rps = 600\n[pool.shop.health]",
    );
    const ROUTE_BEFORE: (&str, &str) = (
        "[[route]]",
        "[[route]]\nlistener = \"web\"\npool = \"shop\"\nhost = \"a.example\"\n[[route]]",
    );

    fn change(path: &str, before: Option<&str>, after: Option<&str>) -> Change {
        Change {
            path: path.to_owned(),
            before: before.map(str::to_owned),
            after: after.map(str::to_owned),
        }
    }

    #[test]
    fn a_difference_names_paths_as_toml_does() {
        let changes = diff(&shop(&[]), &shop(&[WEIGHT, NEW_BACKEND]));
        assert_eq!(
            changes,
            [
                change("pool.shop.backend.web-1.weight", Some("1"), Some("10")),
                change(
                    "pool.shop.backend.\"web.4\".address",
                    None,
                    Some("\"127.0.0.1:8084\"")
                ),
                change(
                    "pool.shop.backend.\"web.4\".capacity_rps",
                    None,
                    Some("600")
                ),
            ]
        );
    }

    #[test]
    fn applying_on_a_base_that_moved_is_refused() {
        let changes = diff(&shop(&[]), &shop(&[WEIGHT]));
        let moved = shop(&[("weight = 1\n", "weight = 3\n")]);
        let findings = apply(&moved, &changes).unwrap_err();
        assert_eq!(
            (findings[0].id, findings[0].path.as_str()),
            ("CHG-01", "pool.shop.backend.web-1.weight")
        );
    }

    #[test]
    fn applying_something_invalid_is_refused_with_the_findings_of_the_reader() {
        let findings = apply(
            &shop(&[]),
            &[change("pool.shop.peak_rps", Some("900"), Some("\"many\""))],
        )
        .unwrap_err();
        assert_eq!((findings[0].id, &findings[0].location), ("CFG-03", &None));
        let unknown = apply(&shop(&[]), &[change("pool.shop.peek", None, Some("1"))]).unwrap_err();
        assert_eq!(unknown[0].id, "CFG-02");
    }

    #[test]
    fn a_revert_keeps_newer_changes_elsewhere() {
        let (before, after) = (shop(&[]), shop(&[WEIGHT]));
        let reverted = revert(&shop(&[WEIGHT, PEAK]), &before, &after).unwrap();
        assert_eq!(content_hash(&reverted), content_hash(&shop(&[PEAK])));
        let reverted = revert(&shop(&[WEIGHT, NEW_BACKEND]), &before, &after).unwrap();
        assert_eq!(content_hash(&reverted), content_hash(&shop(&[NEW_BACKEND])));
    }

    #[test]
    fn reverting_twice_is_reverting_once() {
        let (before, after) = (shop(&[]), shop(&[WEIGHT]));
        let once = revert(&shop(&[WEIGHT, PEAK]), &before, &after).unwrap();
        let twice = revert(&once, &before, &after).unwrap();
        assert_eq!(content_hash(&once), content_hash(&twice));
    }

    #[test]
    fn a_value_changed_again_since_is_a_conflict() {
        let current = shop(&[("weight = 1\n", "weight = 5\n"), PEAK]);
        let error = revert(&current, &shop(&[]), &shop(&[WEIGHT])).unwrap_err();
        assert_eq!(
            error,
            RevertError::Conflict(vec!["pool.shop.backend.web-1.weight".to_owned()])
        );
    }

    #[test]
    fn a_table_that_the_change_added_and_a_newer_one_extended_is_a_conflict() {
        let zoned = shop(&[NEW_BACKEND]);
        let mut current = zoned.clone();
        current.pools[0].backends.iter_mut().for_each(|b| {
            b.version = Some(crate::ids::Name::new("v9").unwrap());
        });
        let error = revert(&current, &shop(&[]), &zoned).unwrap_err();
        assert_eq!(
            error,
            RevertError::Conflict(vec!["pool.shop.backend.\"web.4\".version".to_owned()])
        );
    }

    #[test]
    fn a_route_changed_by_position_is_never_undone_in_another_route() {
        let (before, after) = (
            shop(&[]),
            shop(&[("path_prefix = \"/\"", "path_prefix = \"/a\"")]),
        );
        let moved = shop(&[
            ("path_prefix = \"/\"", "path_prefix = \"/a\""),
            ROUTE_BEFORE,
        ]);
        assert!(matches!(
            revert(&moved, &before, &after),
            Err(RevertError::Conflict(_))
        ));
        let untouched = shop(&[("path_prefix = \"/\"", "path_prefix = \"/a\""), PEAK]);
        assert!(revert(&untouched, &before, &after).is_ok());
    }

    #[test]
    fn a_receiver_added_later_does_not_keep_the_first_one_from_being_undone() {
        let first = (
            "[audit]",
            "[notify.a]\nurl = \"http://a\"\nsecret_file = \"/a\"\n[audit]",
        );
        let second = (
            "[audit]",
            "[notify.b]\nurl = \"http://b\"\nsecret_file = \"/b\"\n[audit]",
        );
        let reverted = revert(&shop(&[first, second]), &shop(&[]), &shop(&[first])).unwrap();
        assert_eq!(content_hash(&reverted), content_hash(&shop(&[second])));
    }

    #[test]
    fn an_undo_that_leaves_a_dangling_route_is_invalid() {
        let pool = (
            "[pool.shop]",
            "[pool.new.backend.x]\naddress = \"127.0.0.1:9\"\n[pool.shop]",
        );
        let (before, after) = (shop(&[]), shop(&[pool]));
        let routed = (
            "[[route]]",
            "[[route]]\nlistener = \"web\"\npool = \"new\"\nhost = \"n\"\n[[route]]",
        );
        let error = revert(&shop(&[pool, routed]), &before, &after).unwrap_err();
        assert!(matches!(error, RevertError::Invalid(findings) if findings[0].id == "CFG-05"));
    }

    proptest! {
        #[test]
        fn applying_the_difference_gives_the_other_side((a, b) in pair()) {
            let changes = diff(&a, &b);
            let applied = apply(&a, &changes);
            prop_assert_eq!(applied.map(|c| content_hash(&c)), Ok(content_hash(&b)));
        }

        #[test]
        fn reverting_the_last_change_gives_what_was_before((a, b) in pair()) {
            prop_assert_eq!(revert(&b, &a, &b), Ok(a));
        }

        #[test]
        fn a_revert_on_top_of_anything_never_touches_other_values((a, b) in pair(), (_, c) in pair()) {
            if let Ok(reverted) = revert(&c, &a, &b) {
                let undone: Vec<_> = diff(&b, &a).into_iter().map(|change| change.path).collect();
                for change in diff(&c, &reverted) {
                    prop_assert!(undone.contains(&change.path), "{}", change.path);
                }
            }
        }
    }
}
