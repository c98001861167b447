//! How a pool meets failure: retries, checks, and what Evenkeel has no counterpart for.

use std::time::Duration;

use evenkeel_model::setup::{Backend, CheckKind, Health, Nobody, Pool, Touches, Wait};

use super::Work;
use super::paper::quoted;
use super::terms::{self, ATTEMPTS_MAX, BACKEND_WAIT_MAX, CHECKS_MAX, INTERVAL_MIN};

/// Longest path of a check that Evenkeel accepts.
const PATH_MAX: usize = 1_024;
/// Most further tries per request over time: what the audit accepts (RTY-01).
const BUDGET_MAX: f64 = 0.2;
/// Every status there is.
const ANY_STATUS: (u16, u16) = (100, 599);

impl Work<'_> {
    pub(super) fn retry(&mut self, pool: &Pool, attempts: u32) -> Vec<(&'static str, String)> {
        let retry = pool.retry;
        let mut keys = vec![("attempts", attempts.to_string())];
        let budget = retry.budget.unwrap_or(f64::INFINITY).min(BUDGET_MAX);
        if attempts > 0 {
            keys.push(("budget", terms::percent(budget, 0.0, BUDGET_MAX)));
        }
        let mut lost = Vec::new();
        if retry.attempts != Some(attempts) {
            lost.push(format!("at most {attempts} further tries"));
        }
        if attempts > 0 && retry.budget != Some(budget) {
            let was = retry.budget.map_or_else(String::new, |budget| {
                format!(
                    ", not {}",
                    terms::percent(budget, 0.0, 1e3).replace('"', "")
                )
            });
            lost.push(format!(
                "at most one further try per five requests over time{was}"
            ));
        }
        if attempts > 0 && retry.unsafe_methods {
            lost.push("POST and the like are never sent twice".to_owned());
        }
        if attempts > 0 && !retry.after_sent {
            lost.push("a safe request is tried again after it was sent, too".to_owned());
        }
        if !lost.is_empty() {
            self.loss(
                &format!("{}.retry", pool.path),
                Touches::Resilience,
                format!("retries of pool `{}`", pool.name),
                "Evenkeel's rules for retries are its own",
                &lost.join("; "),
                "`attempts` and `budget` of the pool",
            );
        }
        keys
    }

    pub(super) fn health(
        &mut self,
        pool: &Pool,
        kept: &[(&Backend, String)],
    ) -> Vec<(&'static str, String)> {
        let checks: Vec<Option<&Health>> = kept.iter().map(|(b, _)| pool.check_of(b)).collect();
        let Some(first) = checks.iter().copied().flatten().next() else {
            return if is_passive(pool, kept) {
                self.any_answer(pool, &blank_check(pool))
            } else {
                Vec::new()
            };
        };
        let what = format!("the health check of pool `{}`", pool.name);
        let request = match &first.kind {
            CheckKind::Http { path, expect } if sound_path(path) => Some((path.as_str(), *expect)),
            CheckKind::Tcp => None,
            CheckKind::Http { .. } | CheckKind::Other(_) => return self.any_answer(pool, first),
        };
        let same = |check: Option<&Health>| {
            check.is_some_and(|check| {
                Health {
                    path: first.path.clone(),
                    ..check.clone()
                } == *first
            })
        };
        let (keys, in_range) = check(first, request);
        if !checks.iter().copied().all(same) || !in_range {
            self.loss(
                &first.path,
                Touches::Resilience,
                what,
                "Evenkeel has one check for every backend of a pool, within its bounds",
                "every backend is checked in the way that stands in the file",
                "put backends that are checked in another way into a pool of their own",
            );
        }
        keys
    }

    /// A check that any answer passes, in place of one by another protocol or of counting failed requests: without one
    /// nobody who is dead would be taken out.
    fn any_answer(&mut self, pool: &Pool, like: &Health) -> Vec<(&'static str, String)> {
        self.loss(
            &like.path,
            Touches::Resilience,
            format!("how pool `{}` finds out who is dead", pool.name),
            "Evenkeel checks by an HTTP request or by a connection, and the original by neither",
            "each backend is asked for `/`, and any answer counts as healthy, an error as well",
            "set `path` and `expect_status` of the check to what tells whether a backend can serve",
        );
        check(like, Some(("/", ANY_STATUS))).0
    }

    /// What has no counterpart at all.
    pub(super) fn behaviour(&mut self, pool: &Pool, kept: &[(&Backend, String)]) {
        let name = &pool.name;
        let mut lost: Vec<(String, Touches, String, &str, &str, &str)> = Vec::new();
        if let Some(sticky) = &pool.sticky {
            lost.push((
                sticky.path.clone(),
                Touches::Pool(name.clone()),
                format!("stickiness by {} in pool `{name}`", sticky.by),
                "this version keeps no client at one backend",
                "each request of a client is spread anew; sessions kept on one backend are lost",
                "keep sessions where every backend finds them",
            ));
        }
        let plain = |text: String, why, consequence, alternative| {
            (
                pool.path.clone(),
                Touches::Resilience,
                text,
                why,
                consequence,
                alternative,
            )
        };
        if pool.failover.nobody == Nobody::Refuse {
            lost.push(plain(
                format!("refusing when nobody is healthy in pool `{name}`"),
                "Evenkeel then uses every backend (fail-open)",
                "requests are tried at backends whose checks fail, instead of a 503",
                "nothing: a check that is wrong about everybody does no harm this way",
            ));
        }
        if pool.failover.panic_below > 0.0 {
            lost.push(plain(
                format!("the panic threshold of pool `{name}`"),
                "Evenkeel uses every backend only when none is healthy",
                "healthy backends alone take the traffic of all below that threshold",
                "plan capacity for it",
            ));
        }
        if is_passive(pool, kept) {
            lost.push(plain(
                format!("taking backends of pool `{name}` out by failed requests"),
                "this version takes them out by health checks only",
                "a backend that fails requests but passes checks keeps its traffic",
                "let the health check tell what requests would meet",
            ));
        }
        if kept.iter().any(|(b, _)| b.slow_start.is_some()) {
            lost.push(plain(
                format!("slow start in pool `{name}`"),
                "this version has none",
                "a backend that comes back takes its whole share at once",
                "let the health check pass only when it is warm",
            ));
        }
        for (path, touches, what, why, consequence, alternative) in lost {
            self.loss(&path, touches, what, why, consequence, alternative);
        }
    }
}

/// How often a request is tried again: as in the original within what is accepted; where the original tries every
/// backend once, as often as there are others.
pub(super) fn attempts(pool: &Pool, backends: usize) -> u32 {
    let others = u32::try_from(backends.saturating_sub(1)).unwrap_or(u32::MAX);
    pool.retry.attempts.unwrap_or(others).min(ATTEMPTS_MAX)
}

/// Whether failed requests take a backend out.
fn is_passive(pool: &Pool, kept: &[(&Backend, String)]) -> bool {
    let by_requests = |b: &Backend| b.passive.as_ref().is_some_and(|p| p.failures > 0);
    pool.ejection.is_some() || kept.iter().any(|(b, _)| by_requests(b))
}

/// A check with the values that a check has by default.
fn blank_check(pool: &Pool) -> Health {
    Health {
        path: pool.path.clone(),
        kind: CheckKind::Tcp,
        interval: Duration::from_secs(2),
        timeout: Duration::from_secs(1),
        rise: 2,
        fall: 3,
    }
}

/// The keys of a check as often as `like`, and whether its values are as they were. `request`: the path that is asked for
/// and what counts as good; `None`: a connection is all.
fn check(
    like: &Health,
    request: Option<(&str, (u16, u16))>,
) -> (Vec<(&'static str, String)>, bool) {
    let interval = like.interval.clamp(INTERVAL_MIN, BACKEND_WAIT_MAX);
    let (timeout, _) = terms::wait(Wait::For(like.timeout), BACKEND_WAIT_MAX);
    let row = |n: u32| n.clamp(1, CHECKS_MAX);
    let in_range = (interval, timeout) == (like.interval, like.timeout)
        && (row(like.rise), row(like.fall)) == (like.rise, like.fall);
    let mut keys = vec![match request {
        Some((path, _)) => ("path", quoted(path)),
        None => ("kind", quoted("tcp")),
    }];
    keys.extend([
        ("interval", terms::duration(interval)),
        ("timeout", terms::duration(timeout)),
        ("rise", row(like.rise).to_string()),
        ("fall", row(like.fall).to_string()),
    ]);
    keys.extend(request.map(|(_, expect)| ("expect_status", statuses(expect))));
    (keys, in_range)
}

/// A single status is a number.
fn statuses((first, last): (u16, u16)) -> String {
    if first == last {
        first.to_string()
    } else {
        format!("\"{first}-{last}\"")
    }
}

/// As the parser accepts the path of a check.
fn sound_path(path: &str) -> bool {
    let visible = path.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    path.starts_with('/') && visible && path.len() <= PATH_MAX
}
