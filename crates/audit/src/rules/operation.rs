//! HC, TMO, ADM: health checks, timeouts, the admin address.

use std::time::Duration;

use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::{Listener, Pool, Wait};

use crate::rule::{Rule, Subject, Words, percent};

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[CHECKED, TIMEOUTS, ADMIN];

/// HC-01.
const CHECKED: Rule = Rule {
    id: "HC-01",
    title: "a pool with several backends has a health check",
    severity: Severity::Warning,
    limit: None,
    text: "\
A pool with more than one backend should have `[pool.NAME.health]`. A single backend is not judged: there
is nowhere else to send its requests.

Why: without a check a dead backend keeps its share, and every request that it is chosen for fails or
waits for its timeout until somebody notices.

Example: one of three equal backends dies: a third of the requests fails at first try.",
    check: check_health,
};

fn check_health(subject: &Subject<'_>) -> Vec<Finding> {
    let unchecked = |pool: &&Pool| pool.backends.len() > 1 && pool.health.is_none();
    let finding = |pool: &Pool| {
        let count = pool.backends.len();
        let words = Words {
            message: format!(
                "pool `{}` has {count} backends and no health check",
                pool.name
            ),
            effect: format!(
                "a dead backend keeps its share, about {} of the requests",
                percent(1.0 / count as f64)
            ),
            fix: format!("add `[{}.health]` with `path = \"/healthz\"`", pool.path),
        };
        let path = &pool.path;
        subject.finding("HC-01", Severity::Warning, (path, path), 0.0, words)
    };
    subject
        .setup
        .pools
        .iter()
        .filter(unchecked)
        .map(finding)
        .collect()
}

/// TMO-01.
const TIMEOUTS: Rule = Rule {
    id: "TMO-01",
    title: "no timeout of the traffic is 0",
    severity: Severity::Error,
    limit: None,
    text: "\
Every timeout of a listener, a pool and a health check must be above 0. The reader of the file refuses a
zero already, under this id; the rule holds the same for configurations that come from elsewhere.

Why: 0 means `never` to some proxies and `at once` to others. Never leaks connections until a limit is
reached; at once fails every request. Leave the key out for its default.

Example: `connect_timeout = \"0s\"`.",
    check: check_timeouts,
};

fn check_timeouts(subject: &Subject<'_>) -> Vec<Finding> {
    let config = subject.setup;
    let listeners = config.listeners.iter().flat_map(listener_timeouts);
    let pools = config.pools.iter().flat_map(pool_timeouts);
    let zero = listeners
        .chain(pools)
        .filter(|(_, timeout)| timeout.is_zero());
    zero.map(|(path, _)| {
        let words = Words {
            message: format!("`{path}` is 0"),
            effect: "a timeout of 0 gives up on every request at once".to_owned(),
            fix: "write how long to wait, or remove the key for its default".to_owned(),
        };
        subject.finding("TMO-01", Severity::Error, (&path, &path), 0.0, words)
    })
    .collect()
}

fn listener_timeouts(listener: &Listener) -> Vec<(String, Duration)> {
    let path = |key: &str| format!("{}.{key}", listener.path);
    let timeouts = [
        (path("head_timeout"), listener.head_timeout),
        (path("body_timeout"), listener.client_timeout),
        (path("idle_timeout"), listener.idle_timeout),
    ];
    finite(&timeouts)
}

fn pool_timeouts(pool: &Pool) -> Vec<(String, Duration)> {
    let path = |key: &str| format!("{}.{key}", pool.path);
    let mut timeouts = vec![
        (path("connect_timeout"), pool.timeouts.connect),
        (path("response_timeout"), pool.timeouts.response),
        (path("idle_timeout"), pool.timeouts.idle),
        (path("request_timeout"), pool.timeouts.request),
    ];
    timeouts.extend(
        pool.health
            .iter()
            .map(|health| (path("health.timeout"), Wait::For(health.timeout))),
    );
    finite(&timeouts)
}

fn finite(timeouts: &[(String, Wait)]) -> Vec<(String, Duration)> {
    let finite = timeouts
        .iter()
        .filter_map(|(path, wait)| Some((path.clone(), wait.duration()?)));
    finite.collect()
}

/// ADM-01.
const ADMIN: Rule = Rule {
    id: "ADM-01",
    title: "the admin address is on loopback",
    severity: Severity::Error,
    limit: None,
    text: "\
`[admin] address` must be a loopback address. There is no TLS on the admin listener in this version.

Why: page, API and metrics would travel in the clear, the token that may change the configuration with
them. From elsewhere, use an SSH tunnel or a proxy with TLS on the same machine.

Example: `address = \"0.0.0.0:7700\"` is reachable on every interface.",
    check: check_admin,
};

fn check_admin(subject: &Subject<'_>) -> Vec<Finding> {
    let Some(address) = subject.setup.admin else {
        return Vec::new();
    };
    if address.ip().to_canonical().is_loopback() {
        return Vec::new();
    }
    let words = Words {
        message: format!("the admin address {address} is not on loopback, and it has no TLS"),
        effect: "whoever is on the way can read the token and change where traffic goes".to_owned(),
        fix: format!(
            "write `address = \"127.0.0.1:{}\"` and reach it through a tunnel",
            address.port()
        ),
    };
    vec![subject.finding(
        "ADM-01",
        Severity::Error,
        ("admin.address", "admin.address"),
        0.0,
        words,
    )]
}
