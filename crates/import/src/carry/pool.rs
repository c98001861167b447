//! Pools: how a backend is chosen, who they are, how they are checked, how long things may take.

use std::time::Duration;

use evenkeel_model::canonical::path_segment;
use evenkeel_model::config::{Intent, NPlusOne};
use evenkeel_model::setup::{
    Among, Backend, Cost, HashKey, LeastLoaded, Pool, Role, Selection, Tie, Touches, Wait,
};

use super::paper::{Paper, quoted};
use super::terms::{self, BACKEND_WAIT_MAX, COUNT_MAX};
use super::{Loss, Work, address, edge, failure};

use crate::{Aside, AsideKind};

const KIND: &str = "pool";
/// Longest time for a connection where the original has no limit.
const CONNECT_MAX: Duration = Duration::from_secs(60);

/// A pool as it will stand in the text.
pub(super) struct PoolText {
    /// Its name in the original.
    pub(super) original: String,
    pub(super) name: String,
    tables: Vec<Table>,
}

/// One table: keys, and comments below them.
struct Table {
    /// Behind the pool's own path; empty: the pool itself.
    sub: String,
    keys: Vec<(&'static str, String)>,
    remarks: Vec<String>,
}

/// The key of a hash as the pool's `hash`; `None`: Evenkeel has none like it.
fn hash_key(key: &HashKey) -> Option<String> {
    let letter = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    let named = |kind: &str, name: &str| {
        let is_plain = (1..=128).contains(&name.len()) && name.bytes().all(letter);
        is_plain.then(|| format!("{{ {kind} = {} }}", quoted(name)))
    };
    match key {
        HashKey::ClientAddress => Some("{ client_address = true }".to_owned()),
        HashKey::Uri => Some("{ path = true }".to_owned()),
        HashKey::Header(name) => named("header", name),
        HashKey::Cookie(name) => named("cookie", name),
        HashKey::Query(name) => named("query", name),
        HashKey::Constant(_) | HashKey::Other(_) => None,
    }
}

/// `hash` and `bounded_load` of a pool that hashes.
fn by_key(pool: &Pool, keys: &mut Vec<(&'static str, String)>) {
    const BOUND: (f64, f64) = (1.01, 10.0);
    let Selection::Hash(hash) = &pool.selection else {
        return;
    };
    if let Some(key) = hash_key(&hash.key) {
        keys.push(("hash", key));
        let bound = hash.balance_factor.map(|f| f.clamp(BOUND.0, BOUND.1));
        keys.extend(bound.map(|factor| ("bounded_load", factor.to_string())));
    }
}

impl PoolText {
    pub(super) fn write(&self, paper: &mut Paper) {
        for table in &self.tables {
            if table.keys.is_empty() && table.remarks.is_empty() {
                continue;
            }
            paper.table(&format!("[pool.{}{}]", path_segment(&self.name), table.sub));
            for (key, value) in &table.keys {
                paper.key(key, value);
            }
            for remark in &table.remarks {
                paper.remark(remark);
            }
        }
    }
}

impl Work<'_> {
    /// The pools that serve HTTP and have a backend left.
    pub(super) fn pools(&mut self) -> Vec<PoolText> {
        let setup = self.setup;
        self.names
            .reserve(KIND, setup.pools.iter().map(|pool| pool.name.as_str()));
        let pools = setup.pools.iter();
        pools.filter_map(|pool| self.pool(pool)).collect()
    }

    fn pool(&mut self, pool: &Pool) -> Option<PoolText> {
        if !pool.is_http {
            self.loss(
                &pool.path,
                Touches::Pool(pool.name.clone()),
                format!("pool `{}`", pool.name),
                "it passes on TCP connections; Evenkeel serves HTTP",
                "it is left out",
                "keep this part where it is",
            );
            return None;
        }
        let speaks = |aside: &&Aside| aside.kind == AsideKind::Protocol && aside.path == pool.path;
        if let Some(aside) = self.asides.iter().find(speaks) {
            self.loss(
                &pool.path,
                Touches::Pool(pool.name.clone()),
                format!("pool `{}`", pool.name),
                &format!(
                    "its backends speak another protocol (`{}`); Evenkeel speaks HTTP/1",
                    aside.what
                ),
                "it is left out, with the routes to it",
                "keep this part where it is",
            );
            return None;
        }
        let (kept, left_out) = self.members(pool);
        if kept.is_empty() {
            self.loss(
                &pool.path,
                Touches::Pool(pool.name.clone()),
                format!("pool `{}`", pool.name),
                "no backend of it could be carried over",
                "it is left out, with the routes to it",
                "see what became of its backends",
            );
            return None;
        }
        let name = self.names.of(KIND, &pool.name);
        let mut main = Table {
            sub: String::new(),
            keys: vec![("algorithm", self.algorithm(pool))],
            remarks: left_out,
        };
        let is_stated = self.origin.declares(&format!("{}.intent", pool.path));
        by_key(pool, &mut main.keys);
        facts(pool, &kept, is_stated, &mut main.keys);
        let attempts = failure::attempts(pool, kept.len());
        self.waits(pool, attempts, &mut main.keys);
        self.limits(pool, &kept, &mut main.keys);
        let mut tables = vec![main];
        if let Some(objective) = pool.objective {
            let rate = terms::percent(objective.error_rate.as_f64(), 1e-6, 1.0);
            let keys = vec![
                ("error_rate", rate),
                ("p99", terms::duration(objective.p99)),
            ];
            tables.push(table(".objective", keys));
        }
        tables.push(table(".retry", self.retry(pool, attempts)));
        let health = self.health(pool, &kept);
        tables.push(table(".health", health));
        self.behaviour(pool, &kept);
        tables.extend(self.backends(pool, &kept));
        Some(PoolText {
            original: pool.name.clone(),
            name,
            tables,
        })
    }

    /// The backends that come along with their address, and comments about the others.
    fn members<'p>(&mut self, pool: &'p Pool) -> (Vec<(&'p Backend, String)>, Vec<String>) {
        let (mut kept, mut left_out) = (Vec::new(), Vec::new());
        for backend in &pool.backends {
            let known = format!("backend `{}` ({})", backend.name, backend.address);
            let found = address::backend(&backend.address, self.setup.balancer, self.addresses);
            let active =
                backend.role == Role::Active && backend.priority == 0 && !backend.is_degraded;
            let idle = active && backend.weight == 0;
            let (why, consequence, alternative) = match (found, active) {
                _ if idle => (
                    "its weight is 0".to_owned(),
                    "it takes no traffic, as now".to_owned(),
                    "add it when it is to serve".to_owned(),
                ),
                (Ok(_), true) if backend.tls_verified.is_some() => (
                    "it is spoken to by TLS, whose files and names are not carried over".to_owned(),
                    format!(
                        "the other backends of `{}` take its part of the traffic",
                        pool.name
                    ),
                    "add it with `[pool.NAME.tls]`: `ca`, the authority of its certificate, and `name`"
                        .to_owned(),
                ),
                (Ok(address), true) => {
                    kept.push((backend, address));
                    continue;
                }
                (_, false) if backend.role == Role::Disabled => (
                    "it is disabled".to_owned(),
                    "it takes no traffic, as now".to_owned(),
                    "add it when it is to serve".to_owned(),
                ),
                (_, false) => stands_by(backend),
                (Err(stays), true) => {
                    let (why, alternative) = edge::reasons(&stays);
                    let consequence = format!(
                        "the other backends of `{}` take its part of the traffic",
                        pool.name
                    );
                    (why, consequence, alternative)
                }
            };
            left_out.push(format!(
                "left out: {known}, weight {}: {why}",
                backend.weight
            ));
            let touches = if idle || backend.role == Role::Disabled {
                Touches::Resilience
            } else if active {
                Touches::Pool(pool.name.clone())
            } else {
                Touches::Resilience
            };
            self.losses.push(Loss {
                path: backend.path.clone(),
                what: known,
                why,
                consequence,
                alternative,
                touches,
                aside: None,
            });
        }
        (kept, left_out)
    }

    /// The algorithm that comes nearest.
    fn algorithm(&mut self, pool: &Pool) -> String {
        let exact = LeastLoaded {
            among: Among::DrawnByWeight(2),
            cost: Cost::PerWeight,
            tie: Tie::FirstDrawn,
        };
        let (word, lost) = match &pool.selection {
            Selection::ByWeight => ("round_robin", None),
            Selection::BySpeed(algorithm) => (algorithm.as_str(), None),
            Selection::LeastLoaded(least) if *least == exact => ("least_request", None),
            Selection::LeastLoaded(_) | Selection::WeightOverLoad { .. } => (
                "least_request",
                Some((
                    "the way the least loaded backend is chosen",
                    "`least_request` takes the less loaded of two drawn by weight",
                    "at low load the shares follow the weights, which they may not do now",
                )),
            ),
            Selection::Hash(hash) if hash_key(&hash.key).is_some() => (
                "maglev",
                Some((
                    "the table of the hash",
                    "Evenkeel places keys by a table of its own",
                    "every key may have another backend than now; caches of the backends start cold",
                )),
            ),
            Selection::Hash(_) => (
                "round_robin",
                Some((
                    "choosing by a hash",
                    "its key is none that Evenkeel hashes",
                    "requests of one key reach every backend; caches of the backends fill several times",
                )),
            ),
            Selection::First => (
                "round_robin",
                Some((
                    "filling backends in order",
                    "no algorithm of this version does so",
                    "every backend takes its part by weight",
                )),
            ),
            Selection::Other(_) => (
                "round_robin",
                Some((
                    "the way a backend is chosen",
                    "it is not understood",
                    "every backend takes its part by weight",
                )),
            ),
        };
        if let Some((what, why, consequence)) = lost {
            self.loss(
                &format!("{}.algorithm", pool.path),
                Touches::Pool(pool.name.clone()),
                format!("{what} in pool `{}`", pool.name),
                why,
                consequence,
                "compare the forecast of both files before you switch",
            );
        }
        format!("\"{word}\"")
    }

    fn waits(&mut self, pool: &Pool, attempts: u32, keys: &mut Vec<(&'static str, String)>) {
        let waits = pool.timeouts;
        let tries = attempts + 1;
        // Tries of which none has an end must fit into the longest request that there is.
        let response = match waits.response {
            Wait::Endless => Wait::For(BACKEND_WAIT_MAX / tries),
            limited @ Wait::For(_) => limited,
        };
        // Who waits longer for a connection than for an answer holds requests for a backend that is gone.
        let connect = match (waits.connect, response) {
            (Wait::Endless, Wait::For(answer)) => Wait::For(answer.min(CONNECT_MAX)),
            (given, _) => given,
        };
        let mut cut = Vec::new();
        let mut put = |key: &'static str, given: Wait, wait: Wait| {
            let (time, _) = terms::wait(wait, BACKEND_WAIT_MAX);
            keys.push((key, terms::duration(time)));
            if given != Wait::For(time) {
                cut.push(format!("{key} = {}", terms::duration(time)));
            }
            time
        };
        let connect = put("connect_timeout", waits.connect, connect);
        let each = put("response_timeout", waits.response, response);
        put("idle_timeout", waits.idle, waits.idle);
        // Without a limit of its own a request takes as long as its tries; and so it does where a try may take all of
        // it, or the first slow one would leave no time for another.
        let request = match waits.request {
            Wait::Endless => Wait::For(((connect + each) * tries).min(BACKEND_WAIT_MAX)),
            Wait::For(whole) if attempts > 0 && whole <= each => Wait::For(each * tries),
            limited @ Wait::For(_) => limited,
        };
        let is_own = waits.request == Wait::Endless;
        put(
            "request_timeout",
            if is_own { request } else { waits.request },
            request,
        );
        if !cut.is_empty() {
            self.loss(
                &pool.path,
                Touches::Resilience,
                format!("timeouts of pool `{}`", pool.name),
                "Evenkeel ends every wait, from 1 ms to 1 hour, and a request outlasts its tries",
                &format!("what stands now: {}", cut.join(", ")),
                "choose what a request may take",
            );
        }
    }

    fn limits(
        &mut self,
        pool: &Pool,
        kept: &[(&Backend, String)],
        keys: &mut Vec<(&'static str, String)>,
    ) {
        let limits: Vec<Option<u64>> = kept.iter().map(|(b, _)| b.in_flight_max).collect();
        let Some(largest) = limits.iter().flatten().max() else {
            return;
        };
        let limit = (*largest).clamp(1, COUNT_MAX);
        keys.push(("max_in_flight", limit.to_string()));
        let per_worker = kept.iter().any(|(b, _)| b.limit_per_worker);
        if limits.iter().any(|l| *l != Some(limit)) || per_worker {
            self.loss(
                &pool.path,
                Touches::Resilience,
                format!("limits of requests in flight of pool `{}`", pool.name),
                "Evenkeel has one limit for every backend of a pool, over all workers",
                &format!("each backend takes up to {limit}"),
                "put backends with other limits into a pool of their own",
            );
        }
        if pool.queue_max != Some(0) {
            self.loss(
                &pool.path,
                Touches::Resilience,
                format!("the queue of pool `{}`", pool.name),
                "Evenkeel has no queue",
                "a request that finds every backend at its limit is refused at once with 503",
                "raise `max_in_flight`, or let clients try again",
            );
        }
    }

    fn backends(&mut self, pool: &Pool, kept: &[(&Backend, String)]) -> Vec<Table> {
        let kind = format!("backend of {}", pool.name);
        let names = kept.iter().map(|(backend, _)| backend.name.as_str());
        self.names.reserve(&kind, names);
        let given: Vec<u32> = kept.iter().map(|(backend, _)| backend.weight).collect();
        let (weights, is_exact) = terms::weights(&given);
        if !is_exact {
            self.loss(
                &pool.path,
                Touches::Pool(pool.name.clone()),
                format!("the exact weights of pool `{}`", pool.name),
                "the largest weight is 65535",
                "shares differ by less than a thousandth",
                "write smaller weights",
            );
        }
        let mut tables = Vec::with_capacity(kept.len());
        for ((backend, address), weight) in kept.iter().zip(weights) {
            let name = self.names.of(&kind, &backend.name);
            let mut keys = vec![("address", quoted(address)), ("weight", weight.to_string())];
            if let Some(capacity) = backend.capacity_rps.and_then(terms::rate) {
                keys.push(("capacity_rps", capacity));
            }
            for (key, value) in [("zone", &backend.zone), ("version", &backend.version)] {
                if let Some(value) = value {
                    keys.push((key, quoted(&self.names.of(key, value))));
                }
            }
            tables.push(table(&format!(".backend.{}", path_segment(&name)), keys));
        }
        tables
    }
}

/// What was declared about the pool.
fn facts(
    pool: &Pool,
    kept: &[(&Backend, String)],
    is_stated: bool,
    keys: &mut Vec<(&'static str, String)>,
) {
    let by_capacity = kept
        .iter()
        .all(|(b, _)| b.capacity_rps.and_then(terms::rate).is_some());
    let intent = match pool.intent {
        Intent::Capacity if !by_capacity => Intent::Even,
        intent => intent,
    };
    // Files of other balancers state no intent: unless somebody did beside them, their weights are all that tells what
    // was meant.
    let unequal = kept
        .windows(2)
        .any(|two| two[0].0.weight != two[1].0.weight);
    let intent = if intent == Intent::Even && unequal && !is_stated {
        Intent::Weight
    } else {
        intent
    };
    keys.push(("intent", format!("\"{}\"", intent.as_str())));
    if let Some(peak) = pool.peak_rps.and_then(terms::rate) {
        keys.push(("peak_rps", peak));
    }
    keys.push(("headroom", terms::percent(pool.headroom, 0.0, 0.95)));
    keys.push(("tolerance", terms::percent(pool.tolerance, 0.001, 10.0)));
    if let Some(least) = pool.min_healthy {
        keys.push(("min_healthy", least.max(1).to_string()));
    }
    if pool.n_plus_one == NPlusOne::Refuse {
        keys.push(("n_plus_one", "\"refuse\"".to_owned()));
    }
}

fn table(sub: &str, keys: Vec<(&'static str, String)>) -> Table {
    Table {
        sub: sub.to_owned(),
        keys,
        remarks: Vec::new(),
    }
}

/// Why a backend that takes traffic only when others do not suffice stays behind, what follows, and what to do.
fn stands_by(backend: &Backend) -> (String, String, String) {
    if backend.is_degraded {
        return (
            "it is degraded, and Evenkeel has no such state".to_owned(),
            "it takes no traffic, also when too few of the others are healthy".to_owned(),
            "make it a backend like the others once it is well".to_owned(),
        );
    }
    (
        "it is a backup, and Evenkeel has none".to_owned(),
        "it takes no traffic, also when the others are down".to_owned(),
        "make it a backend like the others, or keep capacity for the loss of one".to_owned(),
    )
}
