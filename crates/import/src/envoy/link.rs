//! What routes say about the pools that they lead to.
//!
//! Envoy keeps timeouts, retries and hash keys with the route, a set-up keeps them with the pool. Where several routes
//! lead to one pool, the longest timeout and the most retries are taken: what the pool may have to bear. The place of
//! the value is that of the route it came from.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_model::setup::{Fallback, HashKey, Pool, Retry, Selection, Sticky, Touches, Wait};

use crate::book::Words;
use crate::envoy::Reading;
use crate::envoy::fields::put;
use crate::envoy::node::Place;

/// A value and where it stands, if it does.
pub(super) type Stated<T> = (T, Option<Place>);

/// What a route says about the pools behind it.
#[derive(Debug, Clone)]
pub(super) struct Manner {
    pub(super) is_http: bool,
    pub(super) request: Stated<Wait>,
    pub(super) response: Stated<Wait>,
    pub(super) idle: Stated<Wait>,
    pub(super) retry: Stated<Retry>,
    /// Where the number of retries stands.
    pub(super) attempts: Option<Place>,
    /// Hash keys, joined; `None`: none.
    pub(super) hash: Option<(HashKey, Place)>,
    pub(super) sticky: Option<(String, Wait, Place)>,
}

/// A route to a pool.
#[derive(Debug)]
pub(super) struct Use {
    pub(super) pool: String,
    /// Path that findings about the reference are about.
    pub(super) path: String,
    /// Where the pool is named.
    pub(super) place: Place,
    /// Envoy refuses to start when the pool is not there.
    pub(super) is_checked: bool,
    /// Index into [`Reading::manners`].
    pub(super) manner: usize,
}

/// Carries everything over to the pools, and says which are missing.
pub(super) fn link(reading: &mut Reading<'_, '_>) {
    let uses = std::mem::take(&mut reading.uses);
    let manners = std::mem::take(&mut reading.manners);
    let mut by_pool: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for one in &uses {
        match reading.pools.get(&one.pool) {
            Some(index) => {
                let of = by_pool.entry(*index).or_default();
                if of.last() != Some(&one.manner) {
                    of.push(one.manner);
                }
            }
            None => missing(reading, one),
        }
    }
    for (index, used) in by_pool {
        let Some(pool) = reading.setup.pools.get_mut(index) else {
            continue;
        };
        let manners: Vec<&Manner> = used.iter().filter_map(|i| manners.get(*i)).collect();
        pool.is_http = manners.iter().any(|manner| manner.is_http);
        for (path, place) in carry(pool, &manners) {
            put(reading.book, &path, place);
        }
    }
    by_scheme(reading);
    for pool in &mut reading.setup.pools {
        note_random_key(pool);
    }
    note_endless(reading);
}

/// `timeout: 0s` where nothing else in the file ends a request: five minutes of silence do, by Envoy's default, and a
/// backend that trickles is waited for without an end. With an idle timeout or one for each try it is a set-up for
/// streams, of which nothing is to be said.
fn note_endless(reading: &mut Reading<'_, '_>) {
    for pool in &reading.setup.pools {
        let times = &pool.timeouts;
        let at = |name: &str| format!("{}.timeout.{name}", pool.path);
        let is_off = times.request == Wait::Endless && reading.book.is_placed(&at("request"));
        let (true, Wait::For(silence)) = (is_off, times.response) else {
            continue;
        };
        if reading.book.is_placed(&at("response")) {
            continue;
        }
        let words = Words {
            id: "TMO-01",
            message: format!(
                "pool `{}` waits for an answer without an end: its route has `timeout: 0s`",
                pool.name
            ),
            effect: format!(
                "a backend that hangs holds each of its requests for {} s, the stream idle timeout \
                 that Envoy has by itself, and one that trickles holds them for ever",
                silence.as_secs()
            ),
            fix: "write how long a request may take, such as `timeout: 15s`; for streams set \
                  `idle_timeout` of the route"
                .to_owned(),
        };
        let severity = evenkeel_model::finding::Severity::Warning;
        reading.book.remark(severity, &at("request"), words);
    }
}

fn missing(reading: &mut Reading<'_, '_>, one: &Use) {
    put(reading.book, &one.path, one.place);
    if reading.has_clusters_elsewhere {
        let because = "the cluster may come from elsewhere";
        reading
            .book
            .unknowable(&one.path, &one.pool, because, Touches::Routing);
        return;
    }
    let (effect, is_error) = if one.is_checked {
        ("Envoy refuses the configuration", true)
    } else {
        (
            "every request or connection that comes this way fails",
            false,
        )
    };
    let words = Words {
        id: "IMP-04",
        message: format!("there is no cluster `{}`", one.pool),
        effect: effect.to_owned(),
        fix: "define the cluster or name another one".to_owned(),
    };
    if is_error {
        reading.book.error(&one.path, words);
    } else {
        let severity = evenkeel_model::finding::Severity::Warning;
        reading.book.remark(severity, &one.path, words);
    }
}

/// Takes the values of `manners` over; the paths that stand in a file, with their places.
fn carry(pool: &mut Pool, manners: &[&Manner]) -> Vec<(String, Place)> {
    let mut places = Vec::new();
    let mut note = |name: &str, place: Option<Place>| {
        if let Some(place) = place {
            places.push((format!("{}.{name}", pool.path), place));
        }
    };
    let longest = |of: fn(&Manner) -> Stated<Wait>| {
        let length = |wait: &Wait| wait.duration().map_or((1, None), |d| (0, Some(d)));
        let all = manners.iter().map(|manner| of(manner));
        all.max_by_key(|(wait, _)| length(wait))
            .unwrap_or((Wait::Endless, None))
    };
    let request = longest(|manner| manner.request);
    let response = longest(|manner| manner.response);
    let idle = longest(|manner| manner.idle);
    pool.timeouts.request = request.0;
    pool.timeouts.response = response.0;
    pool.timeouts.idle = idle.0;
    // A request that waits for a connection waits within its own timeout.
    pool.timeouts.queue = request.0;
    note("timeout.request", request.1);
    note("timeout.response", response.1);
    note("timeout.idle", idle.1);
    if let Some(most) = manners.iter().max_by_key(|manner| manner.retry.0.attempts) {
        let any = |of: fn(&Retry) -> bool| manners.iter().any(|manner| of(&manner.retry.0));
        pool.retry = Retry {
            attempts: most.retry.0.attempts,
            budget: pool.retry.budget,
            unsafe_methods: any(|retry| retry.unsafe_methods),
            after_sent: any(|retry| retry.after_sent),
        };
        note("retry", most.retry.1);
        note("retry.attempts", most.attempts);
    }
    if let Selection::Hash(hash) = &mut pool.selection {
        let mut keys = manners.iter().filter_map(|manner| manner.hash.as_ref());
        if let Some((key, place)) = keys.next() {
            hash.key = if keys.all(|(other, _)| other == key) {
                key.clone()
            } else {
                HashKey::Other("a different key on each route".to_owned())
            };
            note("hash_key", Some(*place));
        }
    }
    if let Some((by, lasts, place)) = manners.iter().find_map(|manner| manner.sticky.as_ref()) {
        let path = format!("{}.sticky", pool.path);
        note("sticky", Some(*place));
        pool.sticky = Some(Sticky {
            path,
            by: by.clone(),
            lasts: *lasts,
            one_key: false,
        });
    }
    places
}

/// A hash of `:scheme` has one value where all listeners that lead to the pool speak TLS, or none does.
fn by_scheme(reading: &mut Reading<'_, '_>) {
    let setup = &mut reading.setup;
    let is_scheme = |pool: &Pool| {
        let key = HashKey::Header(":scheme".to_owned());
        matches!(&pool.selection, Selection::Hash(hash) if hash.key == key)
    };
    if !setup.pools.iter().any(is_scheme) {
        return;
    }
    let listeners = setup.listeners.iter();
    let is_tls: BTreeMap<&str, bool> = listeners.map(|l| (l.name.as_str(), l.is_tls)).collect();
    let mut schemes: BTreeMap<&str, BTreeSet<bool>> = BTreeMap::new();
    for route in &setup.routes {
        let Some(is_tls) = is_tls.get(route.listener.as_str()) else {
            continue;
        };
        for (pool, _) in &route.targets {
            schemes.entry(pool).or_default().insert(*is_tls);
        }
    }
    for pool in setup.pools.iter_mut().filter(|pool| is_scheme(pool)) {
        let of_pool = schemes.get(pool.name.as_str());
        let only = of_pool.filter(|schemes| schemes.len() == 1);
        match (only.and_then(BTreeSet::first), &mut pool.selection) {
            (Some(is_tls), Selection::Hash(hash)) => {
                let scheme = if *is_tls { "https" } else { "http" };
                hash.key = HashKey::Constant(scheme.to_owned());
            }
            _ => pool.keys = Some(2),
        }
    }
}

/// The words of a key that is drawn anew for each request.
pub(super) const NO_KEY: &str = "at random for each request";

/// Without a hash policy Envoy gives each request a random key, and nobody returns to the same host.
fn note_random_key(pool: &mut Pool) {
    let Selection::Hash(hash) = &pool.selection else {
        return;
    };
    if hash.key == HashKey::Other(NO_KEY.to_owned()) && pool.fallback.is_none() {
        pool.fallback = Some(Fallback {
            requested: "a hash".to_owned(),
            reason:
                "no route to the cluster has a `hash_policy`, so each request gets a random key"
                    .to_owned(),
        });
    }
}
