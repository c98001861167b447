//! RTY: whether retries help in a fault or make it larger.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::{Balancer, Pool, Setup, Wait};
use evenkeel_model::units::format_duration;

use super::fold::{Fault, reachable, serving, told, value_at};
use crate::rule::{Limit, Rule, Subject, Words, number, percent};

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[BUDGET, LAYERS, UNLIMITED, SAFE];

const BUDGET_MAX: Limit = Limit {
    default: 0.2,
    unit: "retries per request over time, at most",
};

/// RTY-01.
const BUDGET: Rule = Rule {
    id: "RTY-01",
    title: "retries are bounded over time",
    severity: Severity::Warning,
    limit: Some(BUDGET_MAX),
    text: "\
Retries should add at most 20 % to the requests over time, whatever fails. Without a budget or a limit of
retries at once, n retries per request multiply the load by n + 1: from two on a warning, with one an
info where the balancer knows budgets (Evenkeel, Envoy). Retries of failed connections only are not judged:
they reach nobody.

Why: when backends fail because they are overloaded, each retry makes it worse, and the fault stays after
its cause is gone (Google's SRE book, chapter 22).

Example: `retry-on all-retryable-errors` with `retries 3` in a haproxy.cfg: a pool that answers 503 gets
four times its load.",
    check: check_budget,
};

fn check_budget(subject: &Subject<'_>) -> Vec<Finding> {
    let faults = subject.setup.pools.iter().filter_map(|pool| {
        let attempts = pool.retry.attempts.filter(|attempts| *attempts > 0)?;
        if !pool.retry.after_sent {
            return None;
        }
        let limit = BUDGET_MAX.of("RTY-01", pool);
        let name = &pool.name;
        let (severity, message, factor) = match pool.retry.budget {
            Some(budget) if budget <= limit + 1e-9 => return None,
            Some(budget) => (
                Severity::Warning,
                format!(
                    "pool `{name}` may retry {} of its requests; the limit is {}",
                    percent(budget),
                    percent(limit)
                ),
                1.0 + budget.min(f64::from(attempts)),
            ),
            None if pool.breakers.retries_max.is_some() => return None,
            // One retry is all that can be asked for where the balancer knows no budget.
            None if attempts == 1 && !knows_budgets(subject.setup.balancer) => return None,
            None => (
                if attempts > 1 {
                    Severity::Warning
                } else {
                    Severity::Info
                },
                format!(
                    "pool `{name}` retries failed answers {}, without a budget",
                    times(attempts)
                ),
                1.0 + f64::from(attempts),
            ),
        };
        let words = Words {
            message,
            effect: format!(
                "when the backends fail under load, they get up to {} times that load",
                number(factor)
            ),
            fix: match subject.setup.balancer {
                Balancer::Evenkeel => "write `budget = \"20%\"`",
                Balancer::Envoy => "set `retry_budget` in the cluster's circuit breakers",
                _ => "retry once, and failed connections only",
            }
            .to_owned(),
        };
        let at = value_at(subject, &pool.path, "retry.budget", "retry");
        Some(Fault {
            pool,
            severity,
            at,
            kind: number(factor),
            magnitude: factor,
            words,
        })
    });
    told(subject, "RTY-01", faults.collect())
}

fn times(attempts: u32) -> String {
    if attempts == 1 {
        "once".to_owned()
    } else {
        format!("up to {attempts} times")
    }
}

const fn knows_budgets(balancer: Balancer) -> bool {
    matches!(balancer, Balancer::Evenkeel | Balancer::Envoy)
}

const TRIES_MAX: Limit = Limit {
    default: 4.0,
    unit: "tries of one request over all layers, at most",
};

/// RTY-02.
const LAYERS: Rule = Rule {
    id: "RTY-02",
    title: "tries do not multiply over layers",
    severity: Severity::Warning,
    limit: Some(TRIES_MAX),
    text: "\
One request should be tried at most 4 times over all layers. Where a backend of one pool is a listener of
the same file, the tries of both are multiplied; layers that other files configure cannot be seen.

Why: three layers with three retries each send 64 requests for one (Google's SRE book, chapter 22).
Retry in one layer, the one next to the backends.

Example: `retries 100` in a haproxy.cfg: a client waits while 101 connections are tried. Where RTY-01 names
the number of one layer already, this rule is silent.",
    check: check_layers,
};

/// Whether RTY-01 names the number of tries already: with one layer it is the same fault.
const fn is_unbounded(pool: &Pool) -> bool {
    let retry = &pool.retry;
    retry.after_sent && retry.budget.is_none() && pool.breakers.retries_max.is_none()
}

/// Layers that are followed; a file that has more sends requests in a circle.
const LAYERS_MAX: usize = 8;

fn check_layers(subject: &Subject<'_>) -> Vec<Finding> {
    let next = Next::of(subject.setup);
    let faults = subject.setup.pools.iter().filter_map(|pool| {
        pool.retry.attempts?; // RTY-03 speaks of tries without a limit
        let (tries, layers) = next.tries(pool);
        let limit = TRIES_MAX.of("RTY-02", pool);
        if tries <= limit + 1e-9 || tries < 2.0 || (layers < 2 && is_unbounded(pool)) {
            return None;
        }
        let over = if layers > 1 {
            format!(" over {layers} layers")
        } else {
            String::new()
        };
        let words = Words {
            message: format!(
                "a request to pool `{}` is tried up to {} times{over}; the limit is {}",
                pool.name,
                number(tries),
                number(limit)
            ),
            effect: format!(
                "a fault behind it gets up to {} times the load, and its clients wait as long",
                number(tries)
            ),
            fix: "retry in one layer only, once or twice".to_owned(),
        };
        let at = value_at(subject, &pool.path, "retry.attempts", "retry.attempts");
        let kind = format!("{layers} {}", number(tries));
        Some(Fault {
            pool,
            severity: Severity::Warning,
            at,
            kind,
            magnitude: tries,
            words,
        })
    });
    told(subject, "RTY-02", faults.collect())
}

/// Which pools lie behind a backend that is a listener of the same file.
struct Next<'a> {
    by_address: BTreeMap<String, Vec<&'a Pool>>,
}

impl<'a> Next<'a> {
    fn of(setup: &'a Setup) -> Self {
        let pools: BTreeMap<&str, &Pool> =
            setup.pools.iter().map(|p| (p.name.as_str(), p)).collect();
        let mut behind: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for route in &setup.routes {
            let targets = route.targets.iter().map(|(pool, _)| pool.as_str());
            behind.entry(&route.listener).or_default().extend(targets);
        }
        let mut by_address = BTreeMap::new();
        for listener in &setup.listeners {
            let names = behind.get(listener.name.as_str());
            let found = names
                .into_iter()
                .flatten()
                .filter_map(|name| pools.get(name).copied());
            by_address.insert(local(&listener.address), found.collect::<Vec<_>>());
        }
        Self { by_address }
    }

    /// The most tries of one request that enters `pool`, and the layers that it goes through.
    fn tries(&self, pool: &Pool) -> (f64, usize) {
        self.walk(pool, LAYERS_MAX)
    }

    fn walk(&self, pool: &Pool, left: usize) -> (f64, usize) {
        let own = 1.0 + f64::from(pool.retry.attempts.unwrap_or(0));
        if left == 0 {
            return (own, 1);
        }
        let behind =
            serving(pool).filter_map(|backend| self.by_address.get(&local(&backend.address)));
        // A pool has few backends that are listeners of the same file; the first few decide.
        let behind = behind
            .flatten()
            .filter(|next| next.name != pool.name)
            .take(LAYERS_MAX);
        let deepest = behind
            .map(|next| self.walk(next, left / 2))
            .max_by(|a, b| a.0.total_cmp(&b.0));
        deepest.map_or((own, 1), |(tries, layers)| (own * tries, layers + 1))
    }
}

/// An address as both sides write it when they mean this machine.
fn local(address: &str) -> String {
    let Some((host, port)) = address.rsplit_once(':') else {
        return address.to_owned();
    };
    let is_here = matches!(
        host,
        "" | "*" | "0.0.0.0" | "[::]" | "127.0.0.1" | "[::1]" | "localhost"
    );
    if is_here {
        format!("127.0.0.1:{port}")
    } else {
        address.to_owned()
    }
}

const UNLIMITED_MAX: Limit = Limit {
    default: 3.0,
    unit: "tries where the file sets no limit, at most",
};

/// RTY-03.
const UNLIMITED: Rule = Rule {
    id: "RTY-03",
    title: "the number of tries has a limit",
    severity: Severity::Warning,
    limit: Some(UNLIMITED_MAX),
    text: "\
Without a limit nginx tries a request on every server of the upstream in turn
(`proxy_next_upstream_tries 0`, the default). From more than 3 servers on that is a warning, unless
`proxy_next_upstream_timeout` ends it.

Why: one request that makes servers fail or hang is carried to all of them. Each try may take the whole
read timeout, so the client holds its connection for as many times that long.

Example: six servers and `proxy_read_timeout 60s`: a slow report is started six times and held for 6
minutes. Write `proxy_next_upstream_tries 2`.",
    check: check_unlimited,
};

fn check_unlimited(subject: &Subject<'_>) -> Vec<Finding> {
    let faults = subject.setup.pools.iter().filter_map(|pool| {
        let tries = reachable(pool).count();
        let is_bounded = pool.retry.attempts.is_some() || pool.timeouts.request != Wait::Endless;
        if is_bounded || tries as f64 <= UNLIMITED_MAX.of("RTY-03", pool) {
            return None;
        }
        let each = pool.timeouts.response.duration();
        let held = each.map_or_else(
            || "without an end".to_owned(),
            |each| {
                format!(
                    "for up to {}",
                    format_duration(each.saturating_mul(u32::try_from(tries).unwrap_or(u32::MAX)))
                )
            },
        );
        let words = Words {
            message: format!(
                "pool `{}` tries a request on all its {tries} backends, without a limit",
                pool.name
            ),
            effect: format!(
                "one request that makes backends hang reaches all {tries} and is held {held}"
            ),
            fix: match subject.setup.balancer {
                Balancer::Nginx => {
                    "write `proxy_next_upstream_tries 2` and `proxy_next_upstream_timeout 10s`"
                }
                _ => "limit the number of tries",
            }
            .to_owned(),
        };
        let at = format!("{}.retry", pool.path);
        Some(Fault {
            pool,
            severity: Severity::Warning,
            at,
            kind: tries.to_string(),
            magnitude: tries as f64,
            words,
        })
    });
    told(subject, "RTY-03", faults.collect())
}

/// RTY-04.
const SAFE: Rule = Rule {
    id: "RTY-04",
    title: "only requests that are safe to repeat are sent twice",
    severity: Severity::Warning,
    limit: None,
    text: "\
A request that changes something (POST, PATCH) must not be sent again after a backend may have begun to
work on it. Retries of connections that failed before anything was sent are safe for every request.

Why: the first try may have succeeded and only its answer was lost. The order is then placed, the card
charged, the mail sent twice.

Example: `proxy_next_upstream error timeout non_idempotent` in an nginx.conf; `retry-on
all-retryable-errors` in a haproxy.cfg without `http-request disable-l7-retry if METH_POST`; `retry_on:
5xx` in an Envoy route that takes POST.",
    check: check_safe,
};

fn check_safe(subject: &Subject<'_>) -> Vec<Finding> {
    let faults = subject.setup.pools.iter().filter_map(|pool| {
        let retries = pool
            .retry
            .attempts
            .map_or(reachable(pool).count().saturating_sub(1), |n| n as usize);
        let is_unsafe = pool.is_http && pool.retry.unsafe_methods && pool.retry.after_sent;
        if !is_unsafe || retries == 0 {
            return None;
        }
        let words = Words {
            message: format!(
                "pool `{}` sends POST requests again after a failure or a timeout",
                pool.name
            ),
            effect: format!(
                "what a client orders once may be carried out up to {} times",
                retries + 1
            ),
            fix: match subject.setup.balancer {
                Balancer::Nginx => "remove `non_idempotent`",
                Balancer::Haproxy => "add `http-request disable-l7-retry if METH_POST`",
                Balancer::Envoy => {
                    "retry only connect-failure and refused-stream on routes that take POST"
                }
                Balancer::Evenkeel => "remove `unsafe_methods`",
            }
            .to_owned(),
        };
        let at = format!("{}.retry", pool.path);
        Some(Fault {
            pool,
            severity: Severity::Warning,
            at,
            kind: retries.to_string(),
            magnitude: retries as f64,
            words,
        })
    });
    told(subject, "RTY-04", faults.collect())
}

#[cfg(test)]
mod tests;
