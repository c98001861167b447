//! What a reader must know of the numbers of a pool.

use evenkeel_model::setup::{Hash, HashKey, Pool, Selection, Wait};

use crate::facts::Facts;
use crate::failover::Why;
use crate::outlook::{Method, PoolForecast};
use crate::pool::{self, Day};

/// Adds the notes on `pool`, whose usual day is `base`.
pub(crate) fn add(notes: &mut Vec<String>, pool: &Pool, facts: &Facts, base: &PoolForecast) {
    let mut note = |text: &str| notes.push(format!("pool `{}`: {text}", pool.name));
    match pool::turnout(pool, facts, &Day::usual()).why {
        Why::Usual => {}
        Why::Backups => note("no active backend is healthy; backups take the traffic"),
        Why::Panic => note("too few backends are healthy; unhealthy ones are used as well"),
        Why::Nobody if pool.backends.is_empty() => {
            note("none of its backends stand in the file; its shares are not known");
            return;
        }
        Why::Nobody => {
            note("nobody is left to take traffic; requests are refused");
            return;
        }
    }
    match (base.method, &pool.selection) {
        (Method::Simulated, _) => note(
            "the shares follow the load; these are estimated by simulation, for steady traffic and the declared \
             capacities",
        ),
        (Method::LowLoad, Selection::First) => note(
            "the shares follow the load; all to the first holds for few requests in flight (the rate or the service \
             times are not known)",
        ),
        (Method::LowLoad, _) => note(
            "the shares follow the load; these hold for few requests in flight, and the span assumes backends of equal \
             speed (the rate or the capacities are not known, or the pool is too large to simulate)",
        ),
        _ if pool.sticky.as_ref().is_some_and(|sticky| sticky.one_key) => {
            note(
                "every request shows the same key, so all are bound to one backend and it gets everything; which one is \
                 not known",
            );
            return;
        }
        (
            method,
            Selection::Hash(Hash {
                key: HashKey::Constant(value),
                ..
            }),
        ) => note(&of_constant(method, value, base)),
        (Method::Unknown, Selection::Hash(_)) if pool.one_unknown_key().is_some() => {
            note(&format!(
                "every request has the same key `{}`, so one backend gets all, which one is not known",
                pool.one_unknown_key().unwrap_or_default()
            ));
        }
        (_, Selection::Hash(hash)) => of_hash(&mut note, hash, pool, facts),
        (Method::Unknown, Selection::Other(name)) => {
            note(&format!("the shares under `{name}` are not known"));
        }
        _ => {}
    }
    if pool.follows_reports {
        note(
            "the load that its backends report moves the shares; these are those of the declared weights, before any \
             report",
        );
    }
    if let Some(sticky) = &pool.sticky {
        let until = match sticky.lasts {
            Wait::Endless => "for as long as it keeps it".to_owned(),
            Wait::For(time) => format!("for {} s", time.as_secs_f64()),
        };
        note(&format!(
            "a client stays with the backend that it had, by `{}`, {until}; the shares are those of new sessions, and \
             those of requests follow as old sessions end",
            sticky.by
        ));
    }
}

/// Whose shares and rates they are, where there are other instances beside this one.
pub(crate) fn of_place(pool: &Pool) -> Option<String> {
    let name = &pool.name;
    if let Some(subset) = &pool.place.subset {
        return Some(format!(
            "pool `{name}`: the shares and rates are those of instance `{}` alone, which uses {} of the backends of each \
             level; other instances use others",
            subset.instance, subset.size
        ));
    }
    let locality = pool.place.locality.as_ref()?;
    Some(format!(
        "pool `{name}`: the shares and rates are those of an instance in zone `{}` alone; the instances in the other \
         zones add theirs",
        locality.zone
    ))
}

fn of_constant(method: Method, value: &str, base: &PoolForecast) -> String {
    let all = base
        .backends
        .iter()
        .find(|b| b.expected_share.is_some_and(|share| share > 0.5));
    match all.filter(|_| method != Method::Unknown) {
        Some(backend) => format!(
            "every request has the same key `{value}`, so `{}` gets everything",
            backend.name
        ),
        None => format!(
            "every request has the same key `{value}`, so one of them gets everything; which one is not known"
        ),
    }
}

fn of_hash(note: &mut impl FnMut(&str), hash: &Hash, pool: &Pool, facts: &Facts) {
    match facts.keys(pool) {
        Some(keys) => note(&format!(
            "the shares are those of the hash table; the span is for about {} distinct keys",
            keys.distinct.round()
        )),
        None => note(
            "the shares are those of the hash table; few or unlike keys stray from them, how far is not known without \
             the keys",
        ),
    }
    if let Some(factor) = hash.balance_factor {
        note(&format!(
            "no backend takes more than {factor} times the average in flight, which draws the shares towards the weights"
        ));
    }
}
