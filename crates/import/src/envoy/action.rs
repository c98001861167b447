//! Where a route sends a request, and how: clusters, timeouts, retries, hash keys.

use std::time::Duration;

use evenkeel_model::setup::{Retry, Touches, Wait};

use crate::book::Book;
use crate::envoy::Reading;
use crate::envoy::asides;
use crate::envoy::fields::Fields;
use crate::envoy::http::Web;
use crate::envoy::known;
use crate::envoy::link::{Manner, Stated, Use};
use crate::envoy::node::Place;
use crate::envoy::route::{Target, hash_keys, targets};
use crate::envoy::upstream::wait;

/// A whole request, unless set.
const REQUEST: Wait = Wait::For(Duration::from_secs(15));

/// What a route takes from its virtual host.
#[derive(Debug)]
pub(super) struct Inherited {
    pub(super) retry: Option<Retries>,
    /// It sets filters up anew.
    pub(super) is_anew: bool,
}

/// A retry policy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retries {
    retry: Retry,
    place: Place,
    attempts: Option<Place>,
    per_try: Option<Stated<Wait>>,
    per_try_idle: Option<Stated<Wait>>,
}

/// Reads the `RouteAction` of the route at `path`.
pub(super) fn read(
    reading: &mut Reading<'_, '_>,
    mut fields: Fields<'_>,
    path: &str,
    web: &Web,
    inherited: &Inherited,
) -> Vec<Target> {
    let found = targets(reading, &mut fields, path);
    let book = &mut *reading.book;
    for name in [
        "cluster_header",
        "cluster_specifier_plugin",
        "inline_cluster_specifier_plugin",
        "metadata_match",
        "request_mirror_policies",
    ] {
        fields.unknown(book, name, &Touches::Routing);
    }
    let stated = |fields: &mut Fields<'_>, book: &mut Book<'_>, name: &str| {
        let time = fields.duration(book, name).map(wait)?;
        Some((time, fields.take(name).map(|node| node.place)))
    };
    let request = stated(&mut fields, book, "timeout").unwrap_or((REQUEST, None));
    let idle = stated(&mut fields, book, "idle_timeout").unwrap_or(web.idle);
    let retries = retry(book, &mut fields).or(inherited.retry);
    // One try may take as long as the request; without progress it ends with the stream's idle timeout.
    let shortest = |one: Stated<Wait>, other: Stated<Wait>| match (one.0, other.0) {
        (Wait::For(a), Wait::For(b)) if b < a => other,
        (Wait::Endless, Wait::For(_)) => other,
        _ => one,
    };
    let mut response = shortest(request, idle);
    for limit in retries
        .iter()
        .flat_map(|r| [r.per_try, r.per_try_idle])
        .flatten()
    {
        response = shortest(response, limit);
    }
    let no_retry = Retry {
        attempts: Some(0),
        budget: None,
        unsafe_methods: false,
        after_sent: false,
    };
    let manner = Manner {
        is_http: true,
        request,
        response,
        idle,
        retry: retries.map_or((no_retry, None), |r| (r.retry, Some(r.place))),
        attempts: retries.and_then(|r| r.attempts),
        hash: hash_keys(book, &mut fields),
        sticky: web.sticky.clone(),
    };
    asides::fields(book, &mut fields, asides::ROUTING);
    fields.close(book, known::ACTION, &Touches::Resilience);
    reading.manners.push(manner);
    for (pool, _, place, path) in &found {
        reading.uses.push(Use {
            pool: pool.clone(),
            path: path.clone(),
            place: *place,
            is_checked: web.is_checked,
            manner: reading.manners.len() - 1,
        });
    }
    found
}

/// The `retry_policy` of a route or virtual host.
pub(super) fn retry(book: &mut Book<'_>, fields: &mut Fields<'_>) -> Option<Retries> {
    fields.unknown(book, "retry_policy_typed_config", &Touches::Resilience);
    fields.unknown(book, "hedge_policy", &Touches::Resilience);
    let place = fields.entry("retry_policy").map(|(key, _)| key.place)?;
    let mut policy = fields.message(book, "retry_policy")?;
    let on = policy.text(book, "retry_on").unwrap_or("");
    let before_sent = ["connect-failure", "refused-stream", "reset-before-request"];
    let words: Vec<&str> = on
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .collect();
    let after_sent = words.iter().any(|word| !before_sent.contains(word));
    let number = policy.number(book, "num_retries", 0..=u64::from(u32::MAX));
    // Without a condition nothing is tried again.
    let attempts = if words.is_empty() {
        0
    } else {
        number.unwrap_or(1)
    };
    // Only a match on request headers keeps a POST from being tried again.
    let is_limited = !policy.list(book, "retriable_request_headers").is_empty();
    let stated = |policy: &mut Fields<'_>, book: &mut Book<'_>, name: &str| {
        let time = policy.duration(book, name).map(wait)?;
        Some((time, policy.take(name).map(|node| node.place)))
    };
    let per_try = stated(&mut policy, book, "per_try_timeout");
    let per_try_idle = stated(&mut policy, book, "per_try_idle_timeout");
    let attempts_place = policy.take("num_retries").map(|node| node.place);
    policy.unknown(book, "retry_priority", &Touches::Resilience);
    policy.close(book, known::RETRY, &Touches::Resilience);
    Some(Retries {
        retry: Retry {
            attempts: Some(attempts as u32),
            budget: None,
            unsafe_methods: after_sent && !is_limited && attempts > 0,
            after_sent: after_sent && attempts > 0,
        },
        place,
        attempts: attempts_place,
        per_try,
        per_try_idle,
    })
}
