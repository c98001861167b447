//! The difference of two configurations as a list of values, applied and undone.
//!
//! Both sides are seen as paths with values (the canonical form), so a difference needs no code per key,
//! and a changed value can be applied through the same reader that checks every file: what comes out is
//! valid or refused, never half applied. Routes and escalation levels are lists in which position has a
//! meaning; undoing a change to a list is therefore refused when the list has been changed again since.

use std::collections::{BTreeMap, BTreeSet};

use crate::canonical::{content_hash, entries};
use crate::config::Config;
use crate::finding::{Finding, Severity};
use crate::parse::parse;

/// Lists whose elements have a position instead of a name.
const LISTS: [&str; 2] = ["escalation", "route"];

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
    let (now, was) = (entries(current), entries(after));
    let (now, was) = (by_path(&now), by_path(&was));
    let mut conflicts = BTreeSet::new();
    let mut steps = Vec::new();
    for change in undo {
        let value_now = now.get(change.path.as_str()).copied();
        if value_now == change.after.as_deref() {
            continue; // already as it was before the change
        }
        if value_now != change.before.as_deref() {
            conflicts.insert(change.path.clone());
        }
        steps.push(change);
    }
    let scopes = scopes_to_compare(&steps, before, after);
    conflicts.extend(differing_under(&scopes, &now, &was));
    if !conflicts.is_empty() {
        return Err(RevertError::Conflict(conflicts.into_iter().collect()));
    }
    apply(current, &steps).map_err(RevertError::Invalid)
}

/// Prefixes under which `current` must still be what the change left, or the undo would mix two things:
/// lists (positions shift), and tables that the change created or removed as a whole.
fn scopes_to_compare(steps: &[Change], before: &Config, after: &Config) -> BTreeSet<String> {
    let tables = |config: &Config| -> BTreeSet<String> {
        entries(config)
            .iter()
            .flat_map(|(path, _)| ancestors(path))
            .map(str::to_owned)
            .collect()
    };
    let (before, after) = (tables(before), tables(after));
    let mut scopes = BTreeSet::new();
    for step in steps {
        for ancestor in ancestors(&step.path) {
            let is_list = LISTS.contains(&ancestor);
            if is_list || before.contains(ancestor) != after.contains(ancestor) {
                scopes.insert(ancestor.to_owned());
            }
        }
    }
    scopes
}

/// Paths below one of `scopes` whose values differ between the two sides.
fn differing_under(
    scopes: &BTreeSet<String>,
    now: &BTreeMap<&str, &str>,
    was: &BTreeMap<&str, &str>,
) -> Vec<String> {
    let in_scope = |path: &str| ancestors(path).any(|ancestor| scopes.contains(ancestor));
    now.keys()
        .chain(was.keys())
        .filter(|path| now.get(*path) != was.get(*path) && in_scope(path))
        .map(|path| (*path).to_owned())
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
        let mut parts = path.splitn(3, '.');
        let element = parts
            .next()
            .filter(|list| LISTS.contains(list))
            .and_then(|list| {
                let index = parts.next()?.parse::<usize>().ok()?;
                Some(((list, index), parts.next()?))
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
    }
}
