//! What `evenkeel check FILE --json` says about a configuration: the same file, reader and command that a user has.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::corpus::{Against, Row};

/// The expected share of one origin within its pool, fractions 0..1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Expected {
    pub(crate) share: f64,
    /// The stated interval, if one is stated.
    pub(crate) low: Option<f64>,
    pub(crate) high: Option<f64>,
}

/// A pool, or the pools of a route, with what is expected of its members.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Group {
    pub(crate) name: String,
    /// Members: the origins (ports in the corpus) that count for each, and its share. `None`: nobody is used.
    pub(crate) members: Vec<(Vec<u16>, Option<Expected>)>,
}

/// Asks for the forecast of `file` and takes out what `row` compares with.
pub(crate) fn of(
    evenkeel: &Path,
    row: &Row,
    file: &Path,
    ports: &BTreeMap<u16, u16>,
) -> anyhow::Result<Vec<Group>> {
    let mut command = Command::new(evenkeel);
    command.arg("check").arg(file).arg("--json");
    if !row.keys_known.is_empty() {
        let side = file.with_file_name("facts.toml");
        let known = row.keys_known.iter();
        let text: String = known
            .map(|(pool, keys)| format!("[pool.\"{pool}\"]\nkeys = {keys}\n"))
            .collect();
        fs::write(&side, text)?;
        command.arg("--facts").arg(side);
    }
    // Backends without a name of their own go by their address.
    let real = |name: &str| {
        ports.iter().fold(name.to_owned(), |name, (planned, real)| {
            name.replace(&planned.to_string(), &real.to_string())
        })
    };
    if let Against::Without(backends) = &row.against {
        for backend in backends {
            command.args(["--without", &real(backend)]);
        }
    }
    let output = command
        .stdin(Stdio::null())
        .output()
        .context("cannot start evenkeel")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let Ok(json) = serde_json::from_slice::<Value>(&output.stdout) else {
        bail!(
            "`check` gave no JSON: {}",
            said.lines().next().unwrap_or("nothing")
        );
    };
    let forecast = json
        .get("forecast")
        .filter(|forecast| !forecast.is_null())
        .with_context(|| format!("`check` gave no forecast: {}", first_finding(&json)))?;
    let mut pools = list(forecast, "pools").to_vec();
    match &row.against {
        Against::Base | Against::Without(_) => {}
        Against::Routes => return routes(&json, &pools, ports),
        Against::Out(out) => replace(&mut pools, forecast, "failures", "out", &real(out))?,
        Against::Case(kind) => replace(&mut pools, forecast, "cases", "case", kind)?,
    }
    pools.iter().map(|pool| group(pool, ports)).collect()
}

/// Puts the pools of the case that `key` names in place of those of the base.
fn replace(
    pools: &mut [Value],
    forecast: &Value,
    from: &str,
    key: &str,
    wanted: &str,
) -> anyhow::Result<()> {
    let cases = list(forecast, from);
    let case = cases
        .iter()
        .find(|case| text(case, key) == wanted)
        .with_context(|| format!("the forecast has no `{wanted}` among its {from}"))?;
    for changed in list(case, "pools") {
        if let Some(pool) = pools
            .iter_mut()
            .find(|pool| text(pool, "name") == text(changed, "name"))
        {
            pool.clone_from(changed);
        }
    }
    Ok(())
}

/// The members of a pool by origin; backends with the same address count together.
fn group(pool: &Value, ports: &BTreeMap<u16, u16>) -> anyhow::Result<Group> {
    let mut members: BTreeMap<u16, Option<Expected>> = BTreeMap::new();
    for backend in list(pool, "backends") {
        let planned = origin_of(backend, ports)
            .with_context(|| format!("no origin is known for {backend}"))?;
        let member = members.entry(planned).or_default();
        let Some(share) = number(backend, "expected_share") else {
            continue;
        };
        let mut sum = member.unwrap_or_default();
        let twin = member.is_some();
        sum.share += share;
        sum.low = add(twin, sum.low, number(backend, "share_low"));
        sum.high = add(twin, sum.high, number(backend, "share_high"));
        *member = Some(sum);
    }
    Ok(Group {
        name: text(pool, "name").to_owned(),
        members: members.into_iter().map(|(p, e)| (vec![p], e)).collect(),
    })
}

fn add(is_second: bool, first: Option<f64>, second: Option<f64>) -> Option<f64> {
    if is_second {
        Some(first? + second?)
    } else {
        second
    }
}

/// The targets of the first route that has several, each with the origins of its pool.
fn routes(json: &Value, pools: &[Value], ports: &BTreeMap<u16, u16>) -> anyhow::Result<Vec<Group>> {
    let routes = list(json, "routes");
    let targets = routes
        .iter()
        .map(|route| list(route, "targets"))
        .find(|targets| targets.len() > 1)
        .context("`check` gave no route with several targets")?;
    let mut group = Group {
        name: "route".to_owned(),
        members: Vec::new(),
    };
    for target in targets {
        let name = text(target, "pool");
        let pool = pools
            .iter()
            .find(|pool| text(pool, "name") == name)
            .with_context(|| format!("no pool `{name}`"))?;
        let backends = list(pool, "backends").iter();
        let origins = backends.filter_map(|backend| origin_of(backend, ports));
        let share = number(target, "share").map(|share| Expected {
            share,
            ..Expected::default()
        });
        group.members.push((origins.collect(), share));
    }
    Ok(vec![group])
}

/// The port in the corpus of a backend, by its address or by a name that is one.
fn origin_of(backend: &Value, ports: &BTreeMap<u16, u16>) -> Option<u16> {
    let address = [text(backend, "address"), text(backend, "name")];
    let real: u16 = address
        .iter()
        .find_map(|address| address.rsplit_once(':')?.1.parse().ok())?;
    let found = ports.iter().find(|(_, port)| **port == real);
    found.map(|(planned, _)| *planned)
}

fn first_finding(json: &Value) -> String {
    let findings = list(json, "findings").iter();
    let errors = findings.filter(|f| text(f, "severity") == "error");
    let words = errors.map(|f| format!("{} {}", text(f, "id"), text(f, "message")));
    words.take(2).collect::<Vec<_>>().join("; ")
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    let list = value.get(key).and_then(Value::as_array);
    list.map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, key: &str) -> Option<f64> {
    value.get(key).and_then(Value::as_f64)
}
