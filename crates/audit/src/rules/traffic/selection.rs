//! TRF-06, TRF-11, TRF-12, TRF-13: what the way of choosing does to the spread.

use evenkeel_forecast::PoolForecast;
use evenkeel_forecast::outlook::Method;
use evenkeel_model::config::Place;
use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::{Backend, Hash, HashTable, Pool, Role, Selection};

use super::one_key::is_one_key;
use super::spread::weight_shares;
use super::{EPSILON, active};
use crate::rule::{Limit, Rule, Subject, Words, number, percent};
use crate::rules::fold::{Fault, told};

/// Fewest distinct keys per backend under a hash.
const KEYS_MIN: Limit = Limit {
    default: 20.0,
    unit: "distinct keys per backend",
};

/// TRF-06.
pub(super) const FALLBACK: Rule = Rule {
    id: "TRF-06",
    title: "the selection that is written is the one in effect",
    severity: Severity::Warning,
    limit: None,
    text: "\
Some selections need what the pool does not have, and the balancer then silently takes another one.

Why: HAProxy falls back from a hash of the request to round robin in a pool that is not `mode http`: caches
behind it see every key on every server, and nothing in the log says why.

Example: `balance uri` in a backend of `mode tcp`: requests are dealt in turn.",
    check: check_fallback,
};

fn check_fallback(subject: &Subject<'_>) -> Vec<Finding> {
    let fallen = subject.setup.pools.iter();
    let fallen = fallen.filter_map(|pool| Some((pool, pool.fallback.as_ref()?)));
    let finding = |(pool, fallback): (&Pool, &evenkeel_model::setup::Fallback)| {
        let count = active(pool).count();
        let words = Words {
            message: format!(
                "pool `{}` asks for `{}` but gets another selection: {}",
                pool.name, fallback.requested, fallback.reason
            ),
            effect: format!(
                "the traffic is spread over {count} backends in another way than the file reads"
            ),
            fix: "give the pool what the selection needs, or write the one that is in effect"
                .to_owned(),
        };
        subject.finding(
            "TRF-06",
            Severity::Warning,
            (&pool.path, &pool.path),
            0.0,
            words,
        )
    };
    fallen.map(finding).collect()
}

/// TRF-11.
pub(super) const PER_WORKER: Rule = Rule {
    id: "TRF-11",
    title: "limits and counts hold for the whole process",
    severity: Severity::Warning,
    limit: None,
    text: "\
Without shared state (`zone` of nginx) each worker counts by itself. A limit of connections to a backend
then holds once per worker: a warning, as the backend meets many times the number in the file. A selection
by load compares only what its own worker has in flight: an info. With a single worker nothing is said.

Why: `max_conns` is what protects a backend from overload, and it is off by the number of cores.

Example: `server a max_conns=100;` without `zone` and 8 workers: up to 800 at once.",
    check: check_per_worker,
};

fn check_per_worker(subject: &Subject<'_>) -> Vec<Finding> {
    if subject.setup.workers == Some(1) {
        return Vec::new();
    }
    let pools = subject.setup.pools.iter();
    pools
        .filter_map(|pool| check_per_worker_of(subject, pool))
        .collect()
}

fn check_per_worker_of(subject: &Subject<'_>, pool: &Pool) -> Option<Finding> {
    let mut apart = pool.backends.iter().filter(|b| b.limit_per_worker);
    let by_load = matches!(pool.selection, Selection::LeastLoaded(_));
    let limited = apart.clone().find(|b| b.in_flight_max.is_some());
    let workers = subject.setup.workers;
    let (severity, at, words) = if let Some((backend, limit)) =
        limited.and_then(|b| Some((b, b.in_flight_max?)))
    {
        let reach = match workers {
            Some(n) => format!("up to {} at once with {n} workers", limit * u64::from(n)),
            None => format!("up to {limit} at once from each worker, one per core"),
        };
        let words = Words {
            message: format!(
                "the limit of {limit} at once on `{}` of pool `{}` holds in each worker by itself",
                backend.name, pool.name
            ),
            effect: format!("`{}` meets {reach}", backend.name),
            fix: "share the state between workers: `zone NAME 64k;` in the upstream".to_owned(),
        };
        (Severity::Warning, &backend.path, words)
    } else if by_load && active(pool).count() > 1 && apart.next().is_some() {
        let words = Words {
            message: format!(
                "pool `{}` chooses by load, and each worker knows only its own",
                pool.name
            ),
            effect: "a backend that is busy with the requests of other workers looks idle"
                .to_owned(),
            fix: "share the state between workers: `zone NAME 64k;` in the upstream".to_owned(),
        };
        (Severity::Info, &pool.path, words)
    } else {
        return None;
    };
    let magnitude = workers.map_or(0.0, f64::from);
    Some(subject.finding("TRF-11", severity, (&pool.path, at), magnitude, words))
}

/// TRF-12.
pub(super) const KEYS: Rule = Rule {
    id: "TRF-12",
    title: "a hash has enough keys and an even enough table",
    severity: Severity::Warning,
    limit: Some(KEYS_MIN),
    text: "\
A hash sends each key to one backend. Three things bend the shares, and the worst is named:
the table itself: it is built as the balancer builds it, and no backend may get more than `tolerance`
beyond the part that its weight asks for;
few keys: fewer than 20 distinct keys per backend leave the spread to chance;
a hot key: one that carries more requests than an even share, 1 / number of backends, overloads whatever
backend it falls on. Keys are judged where they are known, declared or from live traffic.

Why: a hash ring with few points is uneven for good: HAProxy places 16 points per unit of weight, so ten
servers of weight 1 differ by a factor of two and more.

Example: `balance uri` with `hash-type consistent` and `weight 1` everywhere. `weight 100` everywhere is
the same intent with 1,600 points per server.",
    check: check_keys,
};

fn check_keys(subject: &Subject<'_>) -> Vec<Finding> {
    let hashed = subject.pools().filter_map(|(pool, forecast)| {
        let Selection::Hash(hash) = &pool.selection else {
            return None;
        };
        // One key for all: TRF-15 says what that means.
        if is_one_key(pool) {
            return None;
        }
        let (magnitude, words) = hot_key(subject, pool, hash)
            .or_else(|| few_keys(subject, pool))
            .or_else(|| uneven_table(pool, forecast, hash))?;
        let place = (pool.path.as_str(), pool.path.as_str());
        Some(subject.finding("TRF-12", Severity::Warning, place, magnitude, words))
    });
    hashed.collect()
}

fn hot_key(subject: &Subject<'_>, pool: &Pool, hash: &Hash) -> Option<(f64, Words)> {
    let keys = subject.facts.keys(pool)?;
    let top = keys.top_share.filter(|_| hash.balance_factor.is_none())?;
    let count = active(pool).filter(|b| b.weight > 0).count();
    let even = 1.0 / count.max(1) as f64;
    let words = || {
        Words {
        message: format!(
            "one key carries {} of the requests of pool `{}`; an even share of {count} backends is {}",
            percent(top),
            pool.name,
            percent(even)
        ),
        effect: format!(
            "the backend of that key gets at least {} times an even share",
            number(top / even)
        ),
        fix: match hash.table {
            HashTable::HaproxyMap | HashTable::HaproxyRing => {
                "bound the load: `hash-type consistent` with `hash-balance-factor 125`, or hash something finer"
            }
            HashTable::EnvoyRing { .. } | HashTable::EnvoyMaglev { .. } => {
                "bound the load: `hash_balance_factor: 125`, or hash something finer"
            }
            HashTable::EvenkeelRing | HashTable::EvenkeelMaglev | HashTable::EvenkeelRendezvous => {
                "bound the load: `bounded_load = 1.25`, or hash something finer"
            }
            HashTable::NginxModulo | HashTable::NginxRing => {
                "hash something finer, such as `$request_uri`, or choose by load with `least_conn`"
            }
        }
        .to_owned(),
    }
    };
    (count > 1 && top > even + EPSILON).then(|| (top / even, words()))
}

fn few_keys(subject: &Subject<'_>, pool: &Pool) -> Option<(f64, Words)> {
    let keys = subject.facts.keys(pool)?;
    let count = active(pool).filter(|b| b.weight > 0).count();
    let wanted = KEYS_MIN.of("TRF-12", pool);
    let per_backend = keys.distinct / count.max(1) as f64;
    // Each backend gets a number of keys that scatters by its square root.
    let scatter = 1.0 / per_backend.max(1.0).sqrt();
    let words = || Words {
        message: format!(
            "pool `{}` spreads {} distinct keys over {count} backends, {} each; the limit is {wanted}",
            pool.name,
            number(keys.distinct),
            number(per_backend)
        ),
        effect: format!(
            "shares scatter by about {} around the intended",
            percent(scatter)
        ),
        fix: "hash something with more values, or choose by load".to_owned(),
    };
    (count > 1 && per_backend < wanted).then(|| (wanted / per_backend.max(EPSILON), words()))
}

fn uneven_table(pool: &Pool, forecast: &PoolForecast, hash: &Hash) -> Option<(f64, Words)> {
    // An instance that prefers a zone or uses a subset has a table of its own.
    if forecast.method != Method::Table || pool.place != Place::default() {
        return None;
    }
    let by_weight = weight_shares(pool);
    let backends = pool.backends.iter().zip(&forecast.backends).zip(by_weight);
    let off = backends.filter_map(|((backend, f), wanted)| {
        let share = f.expected_share?;
        (backend.role == Role::Active && wanted > 0.0)
            .then(|| (share / wanted, backend, share, wanted))
    });
    let (factor, backend, share, wanted): (f64, &Backend, f64, f64) =
        off.max_by(|a, b| a.0.total_cmp(&b.0))?;
    if factor <= 1.0 + pool.tolerance + EPSILON {
        return None;
    }
    let fix = match hash.table {
        HashTable::HaproxyRing => {
            "multiply all weights alike, up to 256: HAProxy places 16 points per unit of weight"
                .to_owned()
        }
        HashTable::EnvoyRing { .. } => "raise `minimum_ring_size`, or use Maglev".to_owned(),
        HashTable::NginxRing => {
            "multiply all weights alike: nginx places 160 points per unit of weight".to_owned()
        }
        HashTable::EnvoyMaglev { .. } => {
            "raise `table_size` to a prime of at least 100 places for each backend".to_owned()
        }
        HashTable::EvenkeelRing => "write `algorithm = \"maglev\"`".to_owned(),
        HashTable::EvenkeelMaglev | HashTable::EvenkeelRendezvous => {
            "multiply all weights alike, or raise the smallest: it asks for less than a slot"
                .to_owned()
        }
        // These need no table and follow the weights.
        HashTable::HaproxyMap | HashTable::NginxModulo => return None,
    };
    let words = Words {
        message: format!(
            "the hash table of pool `{}` gives `{}` {} of the keys, its weight asks for {}",
            pool.name,
            backend.name,
            fine(share),
            fine(wanted)
        ),
        effect: format!(
            "`{}` gets {} times its part of the traffic, for as long as the pool stays as it is",
            backend.name,
            number(factor)
        ),
        fix,
    };
    Some((factor, words))
}

/// A fraction in per cent, fine enough for one of a thousand backends.
fn fine(fraction: f64) -> String {
    format!("{} %", number(fraction * 100.0))
}

/// TRF-13.
pub(super) const CONNECTIONS: Rule = Rule {
    id: "TRF-13",
    title: "requests are spread, not connections that carry many",
    severity: Severity::Info,
    limit: None,
    text: "\
A TCP pool chooses a backend once per connection; all requests on it go there. An info, because a file does
not say what a connection carries.

Why: with kept-alive connections and HTTP/2 (gRPC) a few clients carry most requests, and shares follow
who connected when. Shares of requests scatter as if there were 2m - 1 times fewer of them, m being the
mean number of requests per connection: 39 times fewer at 20 requests. After a backend restarts, it gets
nothing until clients connect again.

Example: gRPC through `mode tcp` with three servers: one of them restarts and stays idle for hours.",
    check: check_connections,
};

fn check_connections(subject: &Subject<'_>) -> Vec<Finding> {
    let pools = subject.setup.pools.iter();
    let spread = pools.filter(|pool| !pool.is_http && active(pool).count() > 1);
    let faults = spread.map(|pool| {
        let words = Words {
            message: format!("pool `{}` spreads connections, not requests", pool.name),
            effect: "the shares are those of connections; at 20 requests on each, shares of \
                     requests scatter like 1/39 of their number"
                .to_owned(),
            fix: "spread requests (`mode http`, an HTTP upstream) where they are HTTP".to_owned(),
        };
        Fault {
            pool,
            severity: Severity::Info,
            at: pool.path.clone(),
            kind: String::new(),
            magnitude: 0.0,
            words,
        }
    });
    told(subject, "TRF-13", faults.collect())
}
