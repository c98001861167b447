//! What differs between two set-ups, value by value, in the words of evenkeel.toml.
//!
//! For files of other balancers there is no canonical text to compare, so the parts that decide routing, spread and
//! failure are compared by name: a pool or backend that is renamed is one removed and one added.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_model::canonical::path_segment;
use evenkeel_model::diff::Change;
use evenkeel_model::setup::{Among, Backend, Cost, Pool, Role, Route, Selection, Setup, Tie, Wait};
use evenkeel_model::units::format_duration;

type Values = BTreeMap<String, String>;

/// Every value that differs: routes first, then pools in the order of the later set-up, then what was removed.
pub fn moves(before: &Setup, after: &Setup) -> Vec<Change> {
    let mut changes = compare(&routes(before), &routes(after));
    for pool in &after.pools {
        let old = before.pool(&pool.name);
        let old = old.map(|old| values(&renamed(old, pool)));
        changes.extend(compare(&old.unwrap_or_default(), &values(pool)));
    }
    for pool in &before.pools {
        if after.pool(&pool.name).is_none() {
            changes.extend(compare(&values(pool), &Values::new()));
        }
    }
    changes
}

/// `old` with the names of `new` where a backend has another name at the same address.
fn renamed(old: &Pool, new: &Pool) -> Pool {
    let names: BTreeSet<&str> = new.backends.iter().map(|b| b.name.as_str()).collect();
    let by_address: BTreeMap<&str, &str> = new
        .backends
        .iter()
        .map(|b| (b.address.as_str(), b.name.as_str()))
        .collect();
    let mut pool = old.clone();
    for backend in &mut pool.backends {
        if let Some(name) = by_address.get(backend.address.as_str())
            && !names.contains(backend.name.as_str())
        {
            (*name).clone_into(&mut backend.name);
        }
    }
    pool
}

fn compare(before: &Values, after: &Values) -> Vec<Change> {
    let mut paths: Vec<&String> = before.keys().chain(after.keys()).collect();
    paths.sort();
    paths.dedup();
    let change = |path: &String| Change {
        path: path.clone(),
        before: before.get(path).cloned(),
        after: after.get(path).cloned(),
    };
    let changes = paths.into_iter().map(change);
    changes.filter(|c| c.before != c.after).collect()
}

fn routes(setup: &Setup) -> Values {
    let mut values = Values::new();
    for route in &setup.routes {
        let mut path = place(route);
        // A second route for the same requests stands behind the first.
        while values.contains_key(&path) {
            path.push_str(" (again)");
        }
        let mut targets: Vec<String> = match route.targets.as_slice() {
            [] => vec!["no pool".to_owned()],
            [(pool, _)] if route.rest() <= 0.0 => vec![pool.clone()],
            _ => route.parts().map(|(p, part)| in_percent(p, part)).collect(),
        };
        if route.rest() > 0.0 && !route.targets.is_empty() {
            targets.push(in_percent("no pool", route.rest()));
        }
        values.insert(path, targets.join(", "));
    }
    values
}

fn in_percent(pool: &str, part: f64) -> String {
    format!("{pool} {} %", (part * 10_000.0).round() / 100.0)
}

fn place(route: &Route) -> String {
    let mut path = format!(
        "route.{} {}{}",
        path_segment(&route.listener),
        route.host.as_deref().unwrap_or("*"),
        route.path_prefix.as_deref().unwrap_or("/")
    );
    if let Some(condition) = &route.condition {
        path.push_str(" if ");
        path.push_str(condition);
    }
    path
}

fn values(pool: &Pool) -> Values {
    let mut values = Values::new();
    let base = format!("pool.{}", path_segment(&pool.name));
    let mut put = |key: &str, value: String| {
        values.insert(format!("{base}.{key}"), value);
    };
    put("algorithm", algorithm(&pool.selection));
    if let Some(sticky) = &pool.sticky {
        put("sticky", sticky.by.clone());
    }
    let times = pool.timeouts;
    for (key, wait) in [
        ("connect_timeout", times.connect),
        ("response_timeout", times.response),
        ("idle_timeout", times.idle),
        ("request_timeout", times.request),
        ("queue_timeout", times.queue),
    ] {
        put(
            key,
            match wait {
                Wait::For(time) => format_duration(time),
                Wait::Endless => "no limit".to_owned(),
            },
        );
    }
    let attempts = pool.retry.attempts;
    put(
        "retry.attempts",
        attempts.map_or_else(|| "one per backend".to_owned(), |n| n.to_string()),
    );
    if let Some(health) = &pool.health {
        put("health.kind", format!("{:?}", health.kind));
        put("health.interval", format_duration(health.interval));
        put("health.timeout", format_duration(health.timeout));
        put("health.rise", health.rise.to_string());
        put("health.fall", health.fall.to_string());
    }
    for backend in &pool.backends {
        of_backend(&mut values, &base, backend);
    }
    values
}

/// How a backend is chosen, in words; equal words mean equal choices.
fn algorithm(selection: &Selection) -> String {
    match selection {
        Selection::ByWeight => "by weight".to_owned(),
        Selection::LeastLoaded(least) => format!(
            "least loaded of {}, by {}, {}",
            among(least.among),
            cost(least.cost),
            tie(least.tie)
        ),
        Selection::WeightOverLoad { bias } => format!("weight over load, bias {bias}"),
        Selection::Hash(hash) => {
            let bound = hash.balance_factor;
            let bound = bound.map_or_else(String::new, |factor| format!(", at most {factor}"));
            format!("hash of {:?} over {:?}{bound}", hash.key, hash.table)
        }
        Selection::BySpeed(algorithm) => format!("by speed, {}", algorithm.as_str()),
        Selection::First => "first that has room".to_owned(),
        Selection::Other(words) => words.clone(),
    }
}

fn among(among: Among) -> String {
    match among {
        Among::All => "all".to_owned(),
        Among::DrawnByWeight(draws) => format!("{draws} drawn by weight"),
        Among::DrawnEqually(draws) => format!("{draws} drawn with equal chance"),
        Among::DrawnFromRing(draws) => format!("{draws} drawn from the hash ring"),
    }
}

const fn cost(cost: Cost) -> &'static str {
    match cost {
        Cost::PerWeight => "requests in flight over weight",
        Cost::PlusOnePerWeight => "requests in flight and one more over weight",
        Cost::Plain => "requests in flight",
    }
}

const fn tie(tie: Tie) -> &'static str {
    match tie {
        Tie::InTurn => "ties in turn",
        Tie::ByWeight => "ties by weight",
        Tie::FirstDrawn => "ties to the first drawn",
        Tie::LastDrawn => "ties to the last drawn",
    }
}

fn of_backend(values: &mut Values, base: &str, backend: &Backend) {
    let base = format!("{base}.backend.{}", path_segment(&backend.name));
    let mut put = |key: &str, value: String| {
        values.insert(format!("{base}.{key}"), value);
    };
    put("address", backend.address.clone());
    put("weight", backend.weight.to_string());
    if backend.role != Role::Active {
        put("role", format!("{:?}", backend.role).to_ascii_lowercase());
    }
    if backend.priority > 0 {
        put("priority", backend.priority.to_string());
    }
    if let Some(most) = backend.in_flight_max {
        put("max_in_flight", most.to_string());
    }
    if let Some(time) = backend.slow_start {
        put("slow_start", format_duration(time));
    }
    if let Some(capacity) = backend.capacity_rps {
        put("capacity_rps", capacity.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::moves;
    use evenkeel_model::setup::{Backend, Balancer, Pool, Setup};

    #[test]
    fn weights_backends_and_pools_that_differ_are_named_and_the_rest_is_silent() {
        let mut before = Setup::blank(Balancer::Haproxy);
        let mut pool = Pool::blank("app", "backend.app");
        for (name, address) in [("a", "10.0.0.1:80"), ("b", "10.0.0.2:80")] {
            pool.backends.push(Backend::blank(name, "x", address));
        }
        before.pools = vec![pool, Pool::blank("old", "backend.old")];
        let mut after = before.clone();
        after.pools.pop();
        after.pools[0].backends[0].weight = 10;
        after.pools[0].backends.remove(1);
        assert_eq!(moves(&before, &before), []);
        let changes = moves(&before, &after);
        let paths: Vec<&str> = changes.iter().map(|c| c.path.as_str()).collect();
        assert!(
            paths.starts_with(&[
                "pool.app.backend.a.weight",
                "pool.app.backend.b.address",
                "pool.app.backend.b.weight",
                "pool.old.algorithm",
            ]),
            "{paths:?}"
        );
        assert_eq!(changes[0].before.as_deref(), Some("1"));
        assert_eq!(changes[0].after.as_deref(), Some("10"));
        assert!(changes[1..].iter().all(|c| c.after.is_none()));
    }
}
