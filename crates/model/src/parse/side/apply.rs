//! Putting the facts of a side file on a [`Setup`].
//!
//! Names are looked up first, all of them; only when every one exists is anything changed.

use std::collections::{BTreeMap, BTreeSet};

use super::super::policy::no_such_pool;
use super::super::reader::{Report, clip};
use super::super::suggest::suggestion;
use super::flag::{Flag, Kind};
use super::{BackendFacts, PoolFacts, Side};
use crate::config::Intent;
use crate::finding::{Finding, Origin, Severity, Source, Span};
use crate::setup::{Backend, Pool, Role, Setup};
use crate::units::Ratio;

/// Indices by name.
struct Index<'s> {
    pools: BTreeMap<&'s str, usize>,
    backends: Vec<BTreeMap<&'s str, usize>>,
}

/// What a name in the side file turned out to be.
#[derive(Clone, Copy)]
struct At {
    pool: usize,
    /// `None`: every backend.
    backend: Option<usize>,
}

/// Where each part of a side file belongs, in its order.
#[derive(Default)]
struct Places {
    pools: Vec<usize>,
    /// Of each pool, its backends.
    backends: Vec<Vec<usize>>,
    /// `None`: everything.
    flags: Vec<Option<At>>,
}

pub(super) fn apply(side: &Side, setup: &mut Setup, origin: &mut Origin) -> Vec<Finding> {
    let mut findings = side.findings.clone();
    let places = look_up(side, setup, &mut findings);
    if findings.iter().any(|f| f.severity == Severity::Error) {
        return findings;
    }
    let mut stated = BTreeSet::new();
    let members = places.pools.iter().zip(&places.backends);
    for (facts, (at, members)) in side.pools.iter().zip(members) {
        if let Some(pool) = setup.pools.get_mut(*at) {
            put(facts, members, pool);
        }
        stated.extend(facts.intent.map(|_| *at));
    }
    let parts = parts(setup);
    for (flag, at) in side.flags.iter().zip(&places.flags) {
        put_flag(flag, *at, &mut setup.pools, &parts);
    }
    let is_for_all = places.flags.iter().any(Option::is_none);
    let of_flags = places.flags.iter().flatten().map(|at| at.pool);
    let touched: BTreeSet<usize> = places.pools.iter().copied().chain(of_flags).collect();
    for (index, pool) in setup.pools.iter_mut().enumerate() {
        if !stated.contains(&index) && (is_for_all || touched.contains(&index)) {
            derive_intent(pool, origin);
        }
    }
    let first = setup.waivers.len();
    for (index, waiver) in side.waivers.iter().enumerate() {
        let path = format!("audit.waiver.{}", first + index);
        setup.waivers.push(crate::policy::Waiver {
            path,
            ..waiver.clone()
        });
    }
    place(side, setup, &places, first, origin);
    findings
}

fn look_up(side: &Side, setup: &Setup, findings: &mut Vec<Finding>) -> Places {
    let index = Index {
        pools: by_name(setup.pools.iter().map(|pool| &pool.name)),
        backends: setup
            .pools
            .iter()
            .map(|pool| by_name(pool.backends.iter().map(|backend| &backend.name)))
            .collect(),
    };
    let mut places = Places::default();
    for facts in &side.pools {
        let Some(&at) = index.pools.get(facts.name.as_str()) else {
            let report = no_such_pool(&facts.path, &facts.name, near(&facts.name, &index.pools));
            findings.push(placed(side, &facts.path, report));
            continue;
        };
        let mut members = Vec::with_capacity(facts.backends.len());
        for backend in &facts.backends {
            let names = index.backends.get(at);
            if let Some(&backend) = names.and_then(|names| names.get(backend.name.as_str())) {
                members.push(backend);
            } else {
                let report = no_such_backend(&backend.path, &facts.name, &backend.name, &index, at);
                findings.push(placed(side, &backend.path, report));
            }
        }
        missing_capacity(side, facts, setup.pools.get(at), findings);
        places.pools.push(at);
        places.backends.push(members);
    }
    for waiver in &side.waivers {
        let pool = waiver
            .pool
            .as_deref()
            .filter(|pool| !index.pools.contains_key(pool));
        if let Some(pool) = pool {
            let path = format!("{}.pool", waiver.path);
            let report = no_such_pool(&path, pool, near(pool, &index.pools));
            findings.push(placed(side, &path, report));
        }
    }
    for flag in &side.flags {
        match target(flag, &index) {
            Ok(at) => places.flags.push(at),
            Err(report) => findings.push(finding("", report)),
        }
    }
    places
}

fn by_name<'s>(names: impl Iterator<Item = &'s String>) -> BTreeMap<&'s str, usize> {
    names
        .enumerate()
        .map(|(at, name)| (name.as_str(), at))
        .collect()
}

/// What a flag is for. A pool's name may hold a slash, so every cut is tried.
fn target(flag: &Flag, index: &Index<'_>) -> Result<Option<At>, Report> {
    let Some(target) = flag.target.as_deref() else {
        return Ok(None);
    };
    if let Some(&pool) = index.pools.get(target) {
        return Ok(Some(At {
            pool,
            backend: None,
        }));
    }
    let cuts = target
        .match_indices('/')
        .filter_map(|(at, _)| target.split_at_checked(at));
    let mut known = None;
    for (pool, backend) in cuts.filter(|_| flag.kind == Kind::Capacity) {
        let backend = backend.trim_start_matches('/');
        let Some(&pool) = index.pools.get(pool) else {
            continue;
        };
        let found = index
            .backends
            .get(pool)
            .and_then(|names| names.get(backend));
        match found {
            Some(&found) => {
                return Ok(Some(At {
                    pool,
                    backend: Some(found),
                }));
            }
            None => known = Some((pool, backend)),
        }
    }
    if let Some((pool, backend)) = known {
        let mut names = index.pools.iter();
        let name = names
            .find(|(_, at)| **at == pool)
            .map_or("", |(name, _)| name);
        return Err(no_such_backend(&flag.written, name, backend, index, pool));
    }
    let pool = target.split('/').next().unwrap_or(target);
    Err(no_such_pool(&flag.written, pool, near(pool, &index.pools)))
}

fn put(facts: &PoolFacts, members: &[usize], pool: &mut Pool) {
    pool.peak_rps = facts.peak_rps.or(pool.peak_rps);
    pool.headroom = facts.headroom.map_or(pool.headroom, Ratio::as_f64);
    pool.tolerance = facts.tolerance.map_or(pool.tolerance, Ratio::as_f64);
    pool.min_healthy = facts.min_healthy.or(pool.min_healthy);
    pool.n_plus_one = facts.n_plus_one.unwrap_or(pool.n_plus_one);
    pool.objective = facts.objective.or(pool.objective);
    pool.keys = facts.keys.or(pool.keys);
    pool.top_key = facts.top_key.map(Ratio::as_f64).or(pool.top_key);
    pool.intent = facts.intent.unwrap_or(pool.intent);
    pool.policy
        .severities
        .extend(facts.policy.severities.clone());
    pool.policy.limits.extend(facts.policy.limits.clone());
    for backend in &mut pool.backends {
        put_backend(&facts.each, backend);
    }
    for (facts, at) in facts.backends.iter().zip(members) {
        if let Some(backend) = pool.backends.get_mut(*at) {
            put_backend(facts, backend);
        }
    }
}

fn put_backend(facts: &BackendFacts, backend: &mut Backend) {
    backend.capacity_rps = facts.capacity_rps.or(backend.capacity_rps);
    if facts.zone.is_some() {
        backend.zone.clone_from(&facts.zone);
    }
    if facts.version.is_some() {
        backend.version.clone_from(&facts.version);
    }
}

/// The largest part of any route that each pool gets, in the order of the pools: a peak of the whole cannot bring it
/// more. `None`: a part of some route, and requests of another that does not take all; how much is not known.
fn parts(setup: &Setup) -> Vec<Option<f64>> {
    #[derive(Default)]
    struct Gets {
        part: f64,
        is_fed_beside: bool,
        is_whole: bool,
    }
    let mut gets: BTreeMap<&str, Gets> = BTreeMap::new();
    for route in &setup.routes {
        let is_for_all =
            route.host.is_none() && route.path_prefix.is_none() && route.condition.is_none();
        for (pool, part) in route.parts() {
            let gets = gets.entry(pool).or_default();
            if route.targets.len() > 1 || part < 1.0 {
                gets.part = gets.part.max(part);
            } else if is_for_all {
                gets.is_whole = true;
            } else {
                gets.is_fed_beside = true;
            }
        }
    }
    let part = |pool: &Pool| match gets.get(pool.name.as_str()) {
        Some(gets) if gets.part > 0.0 && !gets.is_whole => {
            (!gets.is_fed_beside).then_some(gets.part)
        }
        _ => Some(1.0),
    };
    setup.pools.iter().map(part).collect()
}

fn put_flag(flag: &Flag, at: Option<At>, pools: &mut [Pool], parts: &[Option<f64>]) {
    for (index, pool) in pools.iter_mut().enumerate() {
        if at.is_some_and(|at| at.pool != index) {
            continue;
        }
        if flag.kind == Kind::PeakRps {
            let part = match at {
                Some(_) => Some(1.0),
                None => parts.get(index).copied().flatten(),
            };
            pool.peak_rps = part.map(|part| flag.rps * part).or(pool.peak_rps);
            continue;
        }
        for (member, backend) in pool.backends.iter_mut().enumerate() {
            if at.and_then(|at| at.backend).is_none_or(|at| at == member) {
                backend.capacity_rps = Some(flag.rps);
            }
        }
    }
}

/// Capacity when every backend that takes traffic declares one, unless somebody stated an intent.
fn derive_intent(pool: &mut Pool, origin: &Origin) {
    let is_known = active(pool).all(|backend| backend.capacity_rps.is_some());
    if is_known
        && active(pool).next().is_some()
        && !origin.declares(&format!("{}.intent", pool.path))
    {
        pool.intent = Intent::Capacity;
    }
}

fn active(pool: &Pool) -> impl Iterator<Item = &Backend> {
    pool.backends
        .iter()
        .filter(|backend| backend.role == Role::Active)
}

/// Intent capacity without the capacity of every active backend.
fn missing_capacity(
    side: &Side,
    facts: &PoolFacts,
    pool: Option<&Pool>,
    findings: &mut Vec<Finding>,
) {
    let Some(pool) = pool.filter(|_| facts.intent == Some(Intent::Capacity)) else {
        return;
    };
    if facts.each.capacity_rps.is_some() || side.flags.iter().any(|f| f.kind == Kind::Capacity) {
        return; // with flags the capacity may come from there; the rules say what is missing then
    }
    let named: BTreeMap<&str, bool> = facts
        .backends
        .iter()
        .map(|backend| (backend.name.as_str(), backend.capacity_rps.is_some()))
        .collect();
    let is_missing = |backend: &&Backend| {
        backend.capacity_rps.is_none() && named.get(backend.name.as_str()) != Some(&true)
    };
    let Some(first) = active(pool).find(is_missing) else {
        return;
    };
    let path = format!("{}.intent", facts.path);
    let report = Report {
        id: "CFG-04",
        message: format!(
            "intent is capacity, but `{}` of pool `{}` has no `capacity_rps`",
            clip(&first.name),
            clip(&pool.name)
        ),
        effect: "the share that the backend should get is not known".to_owned(),
        fix: format!(
            "add `[{}.each]` with `capacity_rps = 600`, or one for every backend",
            facts.path
        ),
    };
    findings.push(placed(side, &path, report));
}

/// The places of the facts by the paths that they have in the setup, so that a finding can show them.
fn place(side: &Side, setup: &Setup, places: &Places, first_waiver: usize, origin: &mut Origin) {
    let Some(text) = side.origin.sources.first() else {
        return;
    };
    let source = origin.sources.len();
    origin.sources.push(Source::clone(text));
    let mut moved: Vec<(String, String)> = Vec::new();
    for (facts, (pool, members)) in side
        .pools
        .iter()
        .zip(places.pools.iter().zip(&places.backends))
    {
        let Some(pool) = setup.pools.get(*pool) else {
            continue;
        };
        moved.push((facts.path.clone(), pool.path.clone()));
        for (facts, at) in facts.backends.iter().zip(members) {
            if let Some(backend) = pool.backends.get(*at) {
                moved.push((facts.path.clone(), backend.path.clone()));
            }
        }
    }
    for (index, waiver) in side.waivers.iter().enumerate() {
        moved.push((
            waiver.path.clone(),
            format!("audit.waiver.{}", first_waiver + index),
        ));
    }
    for (from, to) in moved {
        let below = format!("{from}.");
        let values = side.origin.spans.range(below.clone()..);
        let header = side.origin.spans.get_key_value(&from);
        let below = values.take_while(|(path, _)| path.starts_with(&below));
        for (path, span) in header.into_iter().chain(below) {
            let rest = path.strip_prefix(from.as_str()).unwrap_or("");
            let span = Span {
                source,
                range: span.range.clone(),
            };
            origin.spans.entry(format!("{to}{rest}")).or_insert(span);
        }
    }
}

fn near<'n>(name: &str, names: &BTreeMap<&'n str, usize>) -> Option<&'n str> {
    suggestion(name, names.keys().copied())
}

fn no_such_backend(path: &str, pool: &str, name: &str, index: &Index<'_>, at: usize) -> Report {
    let suggested = index.backends.get(at).and_then(|names| near(name, names));
    Report {
        id: "CFG-05",
        message: format!(
            "`{path}` names the backend \"{}\", which pool \"{}\" does not have",
            clip(name),
            clip(pool)
        ),
        effect: "it would change nothing, so the file is not used".to_owned(),
        fix: suggested.map_or_else(
            || "name a backend that exists".to_owned(),
            |name| format!("did you mean \"{}\"?", clip(name)),
        ),
    }
}

fn placed(side: &Side, path: &str, report: Report) -> Finding {
    let (file, location) = side.origin.locate(path);
    Finding {
        file,
        location,
        ..finding(path, report)
    }
}

fn finding(path: &str, report: Report) -> Finding {
    Finding {
        id: report.id,
        severity: Severity::Error,
        message: report.message,
        effect: report.effect,
        fix: report.fix,
        path: path.to_owned(),
        magnitude_ppm: 0,
        file: None,
        location: None,
        waived: None,
        effect_of: None,
    }
}
