//! How a pool meets failure: retries, checks, and what Evenkeel has no counterpart for.

use evenkeel_model::setup::{Backend, CheckKind, Health, Nobody, Pool, Touches, Wait};

use super::Work;
use super::paper::quoted;
use super::terms::{self, ATTEMPTS_MAX, BACKEND_WAIT_MAX, CHECKS_MAX, INTERVAL_MIN};

/// Longest path of a check that Evenkeel accepts.
const PATH_MAX: usize = 1_024;
/// Further tries per request where the original has no budget: what the audit accepts (RTY-01).
const BUDGET: f64 = 0.2;

impl Work<'_> {
    pub(super) fn retry(&mut self, pool: &Pool) -> Vec<(&'static str, String)> {
        let retry = pool.retry;
        let attempts = retry.attempts.unwrap_or(ATTEMPTS_MAX).min(ATTEMPTS_MAX);
        let mut keys = vec![("attempts", attempts.to_string())];
        if attempts > 0 {
            let budget = retry.budget.unwrap_or(BUDGET);
            keys.push(("budget", terms::percent(budget, 0.0, 1.0)));
        }
        let mut lost = Vec::new();
        if retry.attempts != Some(attempts) {
            lost.push(format!("at most {attempts} further tries"));
        }
        if attempts > 0 && retry.budget.is_none() {
            lost.push("at most one further try per five requests over time".to_owned());
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
            return Vec::new();
        };
        let what = format!("the health check of pool `{}`", pool.name);
        let http = match &first.kind {
            CheckKind::Http { path, expect } if sound_path(path) => Some((path, expect)),
            _ => None,
        };
        let Some((path, expect)) = http else {
            self.loss(
                &first.path,
                Touches::Resilience,
                what,
                "Evenkeel checks by an HTTP request for a path, and this is none",
                "backends count as healthy until requests fail",
                "add `[pool.NAME.health]` with a path that tells whether a backend can serve",
            );
            return Vec::new();
        };
        let same = |check: Option<&Health>| {
            check.is_some_and(|check| {
                Health {
                    path: first.path.clone(),
                    ..check.clone()
                } == *first
            })
        };
        let interval = first.interval.clamp(INTERVAL_MIN, BACKEND_WAIT_MAX);
        let (timeout, _) = terms::wait(Wait::For(first.timeout), BACKEND_WAIT_MAX);
        let row = |n: u32| n.clamp(1, CHECKS_MAX);
        let in_range = (interval, timeout) == (first.interval, first.timeout)
            && (row(first.rise), row(first.fall)) == (first.rise, first.fall);
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
        vec![
            ("path", quoted(path)),
            ("interval", terms::duration(interval)),
            ("timeout", terms::duration(timeout)),
            ("rise", row(first.rise).to_string()),
            ("fall", row(first.fall).to_string()),
            ("expect_status", format!("\"{}-{}\"", expect.0, expect.1)),
        ]
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
        let passive = pool.ejection.is_some()
            || kept
                .iter()
                .any(|(b, _)| b.passive.as_ref().is_some_and(|p| p.failures > 0));
        if passive {
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
        if kept.iter().any(|(b, _)| b.tls_verified.is_some()) {
            lost.push(plain(
                format!("TLS to the backends of pool `{name}`"),
                "this version speaks plain HTTP to backends",
                "a backend that wants TLS fails every request",
                "let the backends listen without TLS on a network you trust, or wait",
            ));
        }
        for (path, touches, what, why, consequence, alternative) in lost {
            self.loss(&path, touches, what, why, consequence, alternative);
        }
    }
}

/// As the parser accepts the path of a check.
fn sound_path(path: &str) -> bool {
    let visible = path.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    path.starts_with('/') && visible && path.len() <= PATH_MAX
}
