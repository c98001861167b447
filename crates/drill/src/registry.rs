//! What discovery names in a drill, beside what is true: one registry per pool that finds its members.
//!
//! A registry gives its list as the text that a members file has, so that both stages read it with the reader of the
//! product. A stale one gives none.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_model::config::{Backend, Config, Pool};
use evenkeel_model::ids::Name;
use evenkeel_model::parse::list_of_members;
use toml::{Table, Value};

use crate::scenario::{Discovery, Member, Scenario};

/// What discovery knows of one pool.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registry {
    known: BTreeMap<String, Member>,
    /// Those that there are.
    there: BTreeSet<String>,
    is_stale: bool,
}

impl Registry {
    /// One per pool of `config` that finds its members, as `scenario` says it is at the start.
    pub(crate) fn all(scenario: &Scenario, config: &Config) -> BTreeMap<Name, Self> {
        let finding = config.pools.iter().filter(|pool| pool.members.is_some());
        finding
            .map(|pool| (pool.name.clone(), Self::of(scenario, pool.name.as_str())))
            .collect()
    }

    fn of(scenario: &Scenario, pool: &str) -> Self {
        let mine = |(key, member): (&String, &Member)| {
            let (of, name) = key.split_once('/')?;
            (of == pool).then(|| (name.to_owned(), member.clone()))
        };
        let mut known: BTreeMap<String, Member> = scenario.member.iter().filter_map(mine).collect();
        let listed = known.iter().filter(|(_, member)| member.listed);
        let there = listed.map(|(name, _)| name.clone()).collect();
        let steps = scenario.step.iter().filter_map(|s| s.discovery.as_ref());
        for name in steps.filter(|s| s.pool == pool).flat_map(|s| &s.add) {
            known.entry(name.clone()).or_default();
        }
        Self {
            known,
            there,
            is_stale: false,
        }
    }

    /// Whether it may ever name `member`.
    pub(crate) fn knows(&self, member: &str) -> bool {
        self.known.contains_key(member)
    }

    /// Carries out a step; those that are gone in truth although the pool does not learn it.
    pub(crate) fn change<'c>(&mut self, change: &'c Discovery) -> &'c [String] {
        self.is_stale = change.stale;
        self.there.extend(change.add.iter().cloned());
        for name in &change.remove {
            self.there.remove(name);
        }
        if self.is_stale { &change.remove } else { &[] }
    }

    /// The list of those that there are; `None`: there is no answer.
    pub(crate) fn list(
        &self,
        scale: f64,
        address: impl Fn(&str) -> Option<String>,
    ) -> Option<String> {
        let named = |name: &&String| self.there.contains(*name);
        (!self.is_stale).then(|| self.text(named, scale, address))
    }

    /// The list of everybody that it may ever name.
    pub(crate) fn everybody(&self) -> String {
        self.text(|_| true, 1.0, |_| None)
    }

    fn text(
        &self,
        named: impl Fn(&&String) -> bool,
        scale: f64,
        address: impl Fn(&str) -> Option<String>,
    ) -> String {
        let members = self.known.iter().enumerate();
        let members = members.filter(|(_, (name, _))| named(name));
        let table = |(place, (name, member)): (usize, (&String, &Member))| {
            let somewhere = || format!("127.9.{}.{}:80", place / 250, place % 250 + 1);
            let address = address(name).unwrap_or_else(somewhere);
            let number = |n: &u32| Value::from(i64::from(*n));
            let keys = [
                ("name", Some(Value::from(name.as_str()))),
                ("address", Some(Value::from(address))),
                ("weight", member.weight.as_ref().map(number)),
                (
                    "capacity_rps",
                    member.capacity_rps.map(|c| (c * scale).into()),
                ),
                ("priority", member.priority.as_ref().map(number)),
                ("zone", member.zone.as_deref().map(Value::from)),
                ("version", member.version.as_deref().map(Value::from)),
            ];
            let keys = keys.into_iter();
            let keys = keys.filter_map(|(key, value)| Some((key.to_owned(), value?)));
            Value::Table(keys.collect::<Table>())
        };
        let list: Vec<Value> = members.map(table).collect();
        Table::from_iter([("member".to_owned(), Value::Array(list))]).to_string()
    }
}

/// The members of a list of `pool`.
pub(crate) fn read(text: &str, pool: &Pool) -> Result<Vec<Backend>, String> {
    let declared = pool.backends.iter().filter(|b| !b.discovered);
    let taken: Vec<&Name> = declared.map(|b| &b.name).collect();
    let listed = list_of_members(text, None, pool.intent, &taken);
    let said = listed
        .findings
        .iter()
        .map(|finding| finding.message.clone());
    listed
        .members
        .ok_or_else(|| said.collect::<Vec<_>>().join("; "))
}

/// `config` with everybody in its pools that a list may ever name.
pub(crate) fn stocked(scenario: &Scenario, config: &Config) -> Result<Config, (Name, String)> {
    let mut all = config.clone();
    for (name, registry) in Registry::all(scenario, config) {
        let Some(pool) = config.pool(name.as_str()) else {
            continue;
        };
        let found = read(&registry.everybody(), pool).map_err(|why| (name.clone(), why))?;
        all.set_members(name.as_str(), &found);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::{Registry, read, stocked};
    use crate::scenario::{Discovery, Scenario, parse};

    fn scenario() -> Scenario {
        let text = r#"
schema = 1
name = "found"
title = "members"
config.text = '''
[listener.web]
address = "127.0.0.1:8080"
[[route]]
listener = "web"
path_prefix = "/"
pool = "shop"
[pool.shop.members]
dns = "shop.internal:80"
'''
[member."shop/a"]
weight = 3
[member."shop/b"]
listed = false
[[step]]
at = "5s"
discovery = { pool = "shop", add = ["b", "c"], remove = ["a"], stale = true }
"#;
        parse(text, "test").unwrap()
    }

    #[test]
    fn a_list_names_those_that_there_are_and_a_stale_one_nobody() {
        let scenario = scenario();
        let text = scenario.config.text.as_deref().unwrap();
        let config = evenkeel_model::parse::parse(text, None).config.unwrap();
        let pool = config.pool("shop").unwrap();
        let mut all = Registry::all(&scenario, &config);
        let registry = all.values_mut().next().unwrap();
        let names = |registry: &Registry| -> Option<Vec<(String, u32)>> {
            let found = read(&registry.list(1.0, |_| None)?, pool).unwrap();
            Some(
                found
                    .iter()
                    .map(|m| (m.name.to_string(), m.weight))
                    .collect(),
            )
        };
        let one = |name: &str, weight| (name.to_owned(), weight);
        assert_eq!(names(registry), Some(vec![one("a", 3)]));
        let step = scenario.step[0].discovery.clone().unwrap();
        assert_eq!(registry.change(&step), ["a"]);
        assert_eq!(names(registry), None);
        let healed = Discovery {
            stale: false,
            add: Vec::new(),
            remove: Vec::new(),
            ..step
        };
        assert!(registry.change(&healed).is_empty());
        assert_eq!(names(registry), Some(vec![one("b", 1), one("c", 1)]));
        let everybody = stocked(&scenario, &config).unwrap();
        assert_eq!(everybody.pool("shop").unwrap().backends.len(), 3);
    }
}
