//! What each pool would be asked for when a set-up sends routes elsewhere than they go now.
//!
//! A running instance counts requests by route. Where the set-up at hand gives a pool the same counted routes as now,
//! the pool's own highest minute stands. Where it does not, the pool's rate is the sum of the highest minutes of the
//! routes that it is given: at most too high, because the minutes need not be the same. The requests of a route that
//! is gone come by the first route that takes all of them. A route that takes only a part of another's requests has
//! no count of its own: it adds nothing, and a note says so.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use evenkeel_model::setup::{Route, Setup};
use evenkeel_model::tally::RouteKey;

use crate::facts::Facts;

/// Routes that a note names one by one.
const NAMED_MAX: usize = 3;

/// The facts with the rates of pools whose counted routes are others than now; and what a reader must know of it.
pub(crate) fn under<'a>(setup: &Setup, facts: &'a Facts) -> (Cow<'a, Facts>, Vec<String>) {
    if facts.routes.is_empty() {
        return (Cow::Borrowed(facts), Vec::new());
    }
    let (now, then) = (feeds_now(facts), feeds_under(setup, facts));
    let mut routed = Cow::Borrowed(facts);
    let mut notes = Vec::new();
    for pool in &setup.pools {
        let name = pool.name.as_str();
        let feeds = then.get(name);
        if feeds == now.get(name) {
            continue;
        }
        let rps = feeds.map_or(0.0, |feeds| feeds.values().sum());
        let known = routed.to_mut().pools.entry(pool.name.clone());
        known.or_default().highest_minute_rps = Some(rps);
        if pool.peak_rps.is_none() {
            notes.push(note(setup, facts, name, feeds));
        }
    }
    (routed, notes)
}

/// Requests per second by counted route.
type Feeds<'a> = BTreeMap<&'a RouteKey, f64>;

/// What each pool gets now.
fn feeds_now(facts: &Facts) -> BTreeMap<&str, Feeds<'_>> {
    let mut feeds: BTreeMap<&str, Feeds<'_>> = BTreeMap::new();
    for (key, route) in counted(facts) {
        if let Some(pool) = &route.pool {
            let pool = feeds.entry(pool.as_str()).or_default();
            pool.insert(key, route.highest_minute_rps);
        }
    }
    feeds
}

/// What each pool would get under `setup`.
fn feeds_under<'a>(setup: &'a Setup, facts: &'a Facts) -> BTreeMap<&'a str, Feeds<'a>> {
    let mut listeners: BTreeMap<&str, Vec<&Route>> = BTreeMap::new();
    for route in &setup.routes {
        listeners.entry(&route.listener).or_default().push(route);
    }
    let mut feeds: BTreeMap<&str, Feeds<'_>> = BTreeMap::new();
    for (key, seen) in counted(facts) {
        let mut routes = listeners.get(key.listener.as_str()).into_iter().flatten();
        let Some(taker) = routes.find(|route| takes_all(route, key)) else {
            continue;
        };
        for (pool, part) in taker.parts() {
            let rps = feeds.entry(pool).or_default().entry(key).or_default();
            *rps += seen.highest_minute_rps * part;
        }
    }
    feeds
}

/// The routes by which requests came.
fn counted(facts: &Facts) -> impl Iterator<Item = (&RouteKey, &crate::facts::RouteFacts)> {
    let routes = facts.routes.iter();
    routes.filter(|(_, seen)| seen.highest_minute_rps > 0.0)
}

/// Whether `route` matches every request that a route with this key matches.
fn takes_all(route: &Route, key: &RouteKey) -> bool {
    let host = match (route.host.as_deref(), key.host.as_deref()) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wide), Some(host)) => {
            let suffix = wide.strip_prefix('*');
            let ends = |suffix: &str| host.len() > suffix.len() && host.ends_with(suffix);
            wide == host || suffix.is_some_and(ends)
        }
    };
    let prefix = route.path_prefix.as_deref().unwrap_or_default();
    let prefix = prefix.trim_end_matches('/');
    let rest = key.path_prefix.trim_end_matches('/').strip_prefix(prefix);
    let is_whole = |rest: &str| {
        !route.whole_segments || prefix.is_empty() || rest.is_empty() || rest.starts_with('/')
    };
    // What a condition asks for is asked of every request of a route with the very same one.
    let condition = route.condition.is_none() || route.condition == key.condition;
    host && condition && rest.is_some_and(is_whole)
}

fn note(setup: &Setup, facts: &Facts, pool: &str, feeds: Option<&Feeds<'_>>) -> String {
    let known: BTreeSet<String> = counted(facts).map(|(key, _)| key.to_string()).collect();
    let leads_here = |route: &&Route| route.targets.iter().any(|(name, _)| name == pool);
    let to_here = setup.routes.iter().filter(leads_here).map(label);
    let unseen: Vec<String> = to_here.filter(|label| !known.contains(label)).collect();
    let count = feeds.map_or(0, BTreeMap::len);
    let named: Vec<&str> = unseen.iter().take(NAMED_MAX).map(String::as_str).collect();
    let more = match unseen.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let unseen = match named.join("`, `") {
        none if none.is_empty() => none,
        named => format!("; no request was seen by `{named}`{more}, which counts as 0"),
    };
    format!(
        "pool `{pool}`: its rate is the sum of the highest minutes of the {count} routes in use that lead to it, \
         x 1.2{unseen}"
    )
}

/// As a [`RouteKey`] is written.
fn label(route: &Route) -> String {
    RouteKey {
        listener: route.listener.clone(),
        host: route.host.clone(),
        path_prefix: route.path_prefix.clone().unwrap_or_default(),
        condition: route.condition.clone(),
    }
    .to_string()
}

#[cfg(test)]
mod tests;
