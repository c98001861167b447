//! Names that Evenkeel accepts, one for one: a name that holds other characters is rewritten, and two never become one.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_model::ids::Name;

use super::Renamed;

/// Room for a number after a name that is taken.
const NUMBER_ROOM: usize = 8;

/// The names given so far, by kind.
#[derive(Debug, Default)]
pub(crate) struct Names {
    given: BTreeMap<String, BTreeMap<String, String>>,
    taken: BTreeMap<String, BTreeSet<String>>,
    pub(crate) renamed: Vec<Renamed>,
}

impl Names {
    /// Keeps every name of `kind` that is fine as it is, so that a rewritten one never takes it.
    pub(crate) fn reserve<'a>(&mut self, kind: &str, names: impl Iterator<Item = &'a str>) {
        let fine = names.filter(|name| Name::new(name).is_ok());
        let taken = self.taken.entry(kind.to_owned()).or_default();
        taken.extend(fine.map(str::to_owned));
    }

    /// The name that stands for `from` among those of `kind`.
    pub(crate) fn of(&mut self, kind: &str, from: &str) -> String {
        let given = self.given.entry(kind.to_owned()).or_default();
        if let Some(name) = given.get(from) {
            return name.clone();
        }
        let name = if Name::new(from).is_ok() {
            from.to_owned()
        } else {
            let taken = self.taken.entry(kind.to_owned()).or_default();
            let name = free(&plain(from), taken);
            taken.insert(name.clone());
            self.renamed.push(Renamed {
                kind: kind.to_owned(),
                from: from.to_owned(),
                to: name.clone(),
            });
            name
        };
        given.insert(from.to_owned(), name.clone());
        name
    }
}

/// `from` with what is not accepted turned into `-`, and no longer than fits with a number behind it.
fn plain(from: &str) -> String {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let text: String = from
        .chars()
        .map(|c| if fine(c) { c } else { '-' })
        .take(Name::LENGTH_MAX - NUMBER_ROOM)
        .collect();
    let text = text.trim_matches('-');
    if text.is_empty() {
        "unnamed".to_owned()
    } else {
        text.to_owned()
    }
}

fn free(wish: &str, taken: &BTreeSet<String>) -> String {
    if !taken.contains(wish) {
        return wish.to_owned();
    }
    // Names are taken one by one, so some number is free among as many as there are names.
    (2..=taken.len() + 2)
        .map(|n| format!("{wish}-{n}"))
        .find(|name| !taken.contains(name))
        .unwrap_or_else(|| wish.to_owned())
}
