//! A configuration with some values set or removed, as text.
//!
//! The change is made on the canonical text of what runs, so the scenario needs not know how its file was laid out.

use evenkeel_model::canonical;
use evenkeel_model::config::Config;
use toml::Value;

use crate::scenario::Edit;

/// Why a change cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EditError {
    /// The path is not written as TOML keys.
    #[error("`{0}` is not a path of keys")]
    Path(String),
    /// The path leads through something that is not a table.
    #[error("`{path}`: `{at}` is not a table")]
    NotTable {
        /// The path.
        path: String,
        /// The segment.
        at: String,
    },
    /// The path leads to an element that a list does not have.
    #[error("`{path}`: there is no element {index}")]
    NoElement {
        /// The path.
        path: String,
        /// The index.
        index: String,
    },
    /// Nothing stands at the path.
    #[error("`{0}` is not there, so it cannot be removed")]
    Absent(String),
    /// The canonical text cannot be read back.
    #[error("the running configuration cannot be written as text: {0}")]
    Text(String),
}

/// `config` with the values of `set` and without the paths of `unset`, as TOML.
pub(crate) fn edited(config: &Config, set: &Edit, unset: &[String]) -> Result<String, EditError> {
    let text = canonical::to_toml(config);
    let mut document: Value =
        toml::from_str(&text).map_err(|e| EditError::Text(e.message().to_owned()))?;
    for (path, value) in set {
        for (path, value) in leaves(path, value) {
            put(&mut document, &path, value)?;
        }
    }
    for path in unset {
        remove(&mut document, path)?;
    }
    toml::to_string(&document).map_err(|e| EditError::Text(e.to_string()))
}

/// Nested tables are paths written in another way. An empty table and a table in a list are values.
fn leaves(path: &str, value: &Value) -> Vec<(String, Value)> {
    match value {
        Value::Table(table) if !table.is_empty() => table
            .iter()
            .flat_map(|(key, value)| {
                leaves(&format!("{path}.{}", canonical::path_segment(key)), value)
            })
            .collect(),
        other => vec![(path.to_owned(), other.clone())],
    }
}

fn put(document: &mut Value, path: &str, value: Value) -> Result<(), EditError> {
    let keys = segments(path)?;
    let Some((last, parents)) = keys.split_last() else {
        return Err(EditError::Path(path.to_owned()));
    };
    let mut place = document;
    for key in parents {
        place = step(place, key, path)?;
    }
    match place {
        Value::Table(table) => {
            table.insert(last.clone(), value);
            Ok(())
        }
        Value::Array(list) => {
            let missing = || EditError::NoElement {
                path: path.to_owned(),
                index: last.clone(),
            };
            let index: usize = last.parse().map_err(|_not_a_number| missing())?;
            *list.get_mut(index).ok_or_else(missing)? = value;
            Ok(())
        }
        _ => Err(EditError::NotTable {
            path: path.to_owned(),
            at: parents.last().cloned().unwrap_or_default(),
        }),
    }
}

fn remove(document: &mut Value, path: &str) -> Result<(), EditError> {
    let keys = segments(path)?;
    let absent = || EditError::Absent(path.to_owned());
    let (last, parents) = keys.split_last().ok_or_else(absent)?;
    let mut place = document;
    for key in parents {
        place = match place {
            Value::Table(table) => table.get_mut(key),
            Value::Array(list) => key
                .parse()
                .ok()
                .and_then(|index: usize| list.get_mut(index)),
            _ => None,
        }
        .ok_or_else(absent)?;
    }
    match place {
        Value::Table(table) => table.remove(last).map(drop).ok_or_else(absent),
        Value::Array(list) => {
            let index: usize = last.parse().map_err(|_not_a_number| absent())?;
            if index >= list.len() {
                return Err(absent());
            }
            list.remove(index);
            Ok(())
        }
        _ => Err(absent()),
    }
}

/// One segment down; a missing table is made.
fn step<'v>(place: &'v mut Value, key: &str, path: &str) -> Result<&'v mut Value, EditError> {
    match place {
        Value::Table(table) => Ok(table
            .entry(key)
            .or_insert_with(|| Value::Table(toml::Table::new()))),
        Value::Array(list) => {
            let missing = || EditError::NoElement {
                path: path.to_owned(),
                index: key.to_owned(),
            };
            let index: usize = key.parse().map_err(|_not_a_number| missing())?;
            list.get_mut(index).ok_or_else(missing)
        }
        _ => Err(EditError::NotTable {
            path: path.to_owned(),
            at: key.to_owned(),
        }),
    }
}

/// The segments of a path, quotes as in TOML: `pool."a.b".weight`.
fn segments(path: &str) -> Result<Vec<String>, EditError> {
    let wrong = || EditError::Path(path.to_owned());
    let document: toml::Table =
        toml::from_str(&format!("{path} = 0")).map_err(|_syntax| wrong())?;
    let mut keys = Vec::new();
    let mut value = Value::Table(document);
    while let Value::Table(table) = value {
        let (key, below) = table.into_iter().next().ok_or_else(wrong)?;
        keys.push(key);
        value = below;
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::{EditError, edited};
    use crate::scenario::Edit;
    use evenkeel_model::parse::parse;

    const BASE: &str = "[listener.web]\naddress = \"127.0.0.1:8080\"\n[[route]]\nlistener = \"web\"\npath_prefix = \"/\"\npool = \"shop\"\n[pool.shop.backend.web-1]\naddress = \"127.0.0.1:1\"\nweight = 1\n[pool.shop.backend.\"web.2\"]\naddress = \"127.0.0.1:2\"\n";

    fn set(text: &str) -> Edit {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn values_are_set_by_path_and_by_nested_tables() {
        let base = parse(BASE, None).config.unwrap();
        for edit in [
            "\"pool.shop.backend.web-1.weight\" = 10",
            "pool.shop.backend.web-1.weight = 10",
        ] {
            let text = edited(&base, &set(edit), &[]).unwrap();
            let config = parse(&text, None).config.unwrap();
            assert_eq!(config.pools[0].backends[0].weight, 10, "{edit}");
        }
        let text = edited(
            &base,
            &set("'pool.shop.backend.\"web.2\".weight' = 3\n\"route.0.path_prefix\" = \"/a\""),
            &[],
        )
        .unwrap();
        let config = parse(&text, None).config.unwrap();
        assert_eq!(config.pools[0].backends[1].weight, 3);
        assert_eq!(config.routes[0].matcher.path.prefix(), "/a");
    }

    #[test]
    fn a_path_can_be_removed_and_what_is_not_there_cannot() {
        let base = parse(BASE, None).config.unwrap();
        let text = edited(
            &base,
            &Edit::new(),
            &["pool.shop.backend.\"web.2\"".to_owned()],
        )
        .unwrap();
        assert_eq!(
            parse(&text, None).config.unwrap().pools[0].backends.len(),
            1
        );
        let absent = edited(&base, &Edit::new(), &["pool.shop.nothing".to_owned()]);
        assert!(matches!(absent, Err(EditError::Absent(_))), "{absent:?}");
        let through = edited(&base, &set("\"pool.shop.algorithm.x\" = 1"), &[]);
        assert!(
            matches!(through, Err(EditError::NotTable { .. })),
            "{through:?}"
        );
    }
}
