//! HC: whether a dead backend is found, soon and only then.

use std::time::Duration;

use evenkeel_forecast::PoolForecast;
use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::{Backend, Balancer, CheckKind, Health, Nobody, Passive, Pool};
use evenkeel_model::units::format_duration;

use super::fold::{Fault, largest_share, serving, told};
use crate::rule::{Limit, Rule, Subject, Words, number, percent};

mod removal;

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[
    CHECKED,
    PATIENT,
    CALM,
    removal::SHARED,
    removal::PANIC,
    removal::POSSIBLE,
    removal::PASSIVE,
    removal::PROMPT,
];

/// HC-01.
const CHECKED: Rule = Rule {
    id: "HC-01",
    title: "a pool with several backends has a health check",
    severity: Severity::Warning,
    limit: None,
    text: "\
Every backend of a pool that has more than one should be checked, or taken out by what requests show
(Envoy's outlier detection, `observe` of HAProxy, `max_fails` of nginx). A single backend is not judged:
there is nowhere else to send its requests.

Why: without a check a dead backend keeps its share, and every request that it is chosen for fails or
waits for its timeout until somebody notices.

Example: one of three equal backends dies: a third of the requests fails at first try. In a haproxy.cfg
a `server` line without the word `check` is not checked, whatever `option httpchk` says.",
    check: check_health,
};

fn check_health(subject: &Subject<'_>) -> Vec<Finding> {
    let fault = |(pool, forecast)| unchecked(subject, pool, forecast);
    told(
        subject,
        "HC-01",
        subject.pools().filter_map(fault).collect(),
    )
}

fn unchecked<'a>(
    subject: &Subject<'_>,
    pool: &'a Pool,
    forecast: &PoolForecast,
) -> Option<Fault<'a>> {
    let count = serving(pool).count();
    let is_open =
        |backend: &&Backend| pool.check_of(backend).is_none() && backend.passive.is_none();
    let open: Vec<&Backend> = serving(pool).filter(is_open).collect();
    let first = open
        .first()
        .filter(|_| count > 1 && pool.ejection.is_none())?;
    let (message, at) = if open.len() == count {
        let message = format!(
            "pool `{}` has {count} backends and no health check",
            pool.name
        );
        (message, pool.path.clone())
    } else {
        let message = format!(
            "{} of {count} backends of pool `{}` have no health check, `{}` first",
            open.len(),
            pool.name,
            first.name
        );
        (message, first.path.clone())
    };
    let fix = match subject.setup.balancer {
        Balancer::Evenkeel => format!("add `[{}.health]` with `path = \"/healthz\"`", pool.path),
        Balancer::Haproxy => {
            "write `check` on every `server` line, or `default-server check`".to_owned()
        }
        Balancer::Nginx => "set `max_fails` and `fail_timeout` on every `server`".to_owned(),
        Balancer::Envoy => "add `health_checks` or `outlier_detection` to the cluster".to_owned(),
    };
    let is_open = |b: &Backend| pool.check_of(b).is_none() && b.passive.is_none();
    let effect = keeps(pool, forecast, is_open);
    let words = Words {
        message,
        effect,
        fix,
    };
    // Pools whose largest share differs are told apart: the number is a part of what is said.
    let kind = format!("{} {}", open.len() == count, words.effect);
    Some(Fault {
        pool,
        severity: Severity::Warning,
        at,
        kind,
        magnitude: 0.0,
        words,
    })
}

/// What a dead backend of those that are meant keeps, the largest of them.
fn keeps(pool: &Pool, forecast: &PoolForecast, is_meant: impl Fn(&Backend) -> bool) -> String {
    format!(
        "a dead backend keeps its share, up to {} of the requests",
        percent(largest_share(pool, forecast, is_meant))
    )
}

/// Checks of a pool that are told apart: it has a handful, and a file that has more must not be slow.
const KINDS_MAX: usize = 8;

/// The checks of a pool that differ, each with the first backend that has it.
pub(super) fn checks(pool: &Pool) -> Vec<(&Health, Option<&Backend>)> {
    let mut checks: Vec<(&Health, Option<&Backend>)> = Vec::new();
    for backend in serving(pool) {
        let Some(check) = pool.check_of(backend) else {
            continue;
        };
        let numbers = |h: &Health| (h.interval, h.timeout, h.rise, h.fall);
        let is_known = checks
            .iter()
            .any(|(known, _)| numbers(known) == numbers(check));
        if !is_known && checks.len() < KINDS_MAX {
            checks.push((check, Some(backend)));
        }
    }
    checks
}

const SHORTEST: Limit = Limit {
    default: 100.0,
    unit: "ms: shortest timeout of a check",
};

/// HC-02.
const PATIENT: Rule = Rule {
    id: "HC-02",
    title: "a check waits long enough for an answer",
    severity: Severity::Warning,
    limit: Some(SHORTEST),
    text: "\
The timeout of a check must be at least 100 ms, and at least twice the mean time that the backend takes
for a request, where that is measured.

Why: checks are answered by the same process as requests. A pause for garbage collection, a lost packet
(200 ms and more until it is sent again) or a full queue makes a check late on a healthy backend. Checks
that fail under load take capacity away just when it is needed, and the next backend follows.

Example: `timeout check 10ms` in a haproxy.cfg. `haproxy -c` has nothing to say about it.",
    check: check_patience,
};

fn check_patience(subject: &Subject<'_>) -> Vec<Finding> {
    let fault = |pool| impatient(subject, pool);
    told(
        subject,
        "HC-02",
        subject.setup.pools.iter().filter_map(fault).collect(),
    )
}

fn impatient<'a>(subject: &Subject<'_>, pool: &'a Pool) -> Option<Fault<'a>> {
    let floor = Duration::from_secs_f64(SHORTEST.of("HC-02", pool) / 1e3);
    let indices = 0..pool.backends.len();
    let slowest = indices
        .filter_map(|index| subject.facts.service_mean(pool, index))
        .max();
    let needed = floor.max(slowest.map_or(Duration::ZERO, |mean| mean.saturating_mul(2)));
    let checks = checks(pool).into_iter();
    let (check, _) = checks
        .filter(|(c, _)| !c.timeout.is_zero())
        .min_by_key(|(c, _)| c.timeout)?;
    if check.timeout >= needed {
        return None;
    }
    let (timeout, needed) = (format_duration(check.timeout), format_duration(needed));
    let reason = match slowest {
        Some(mean) if mean.saturating_mul(2) > floor => {
            format!("requests take {} on average", format_duration(mean))
        }
        _ => "one pause or one lost packet takes longer".to_owned(),
    };
    let words = Words {
        message: format!(
            "a check of pool `{}` waits only {timeout}; the limit is {needed}",
            pool.name
        ),
        effect: format!(
            "{reason}: {} a healthy backend out, {} of the capacity",
            late(check.fall),
            percent(1.0 / serving(pool).count().max(1) as f64)
        ),
        fix: format!("let checks wait {needed} or longer"),
    };
    let magnitude = 1.0 / check.timeout.as_secs_f64();
    let at = format!("{}.timeout", check.path);
    Some(Fault {
        pool,
        severity: Severity::Warning,
        kind: timeout,
        at,
        magnitude,
        words,
    })
}

const FEWEST: Limit = Limit {
    default: 3.0,
    unit: "failed checks in a row that take a backend out, at least",
};
/// Part of the checks that fail by chance on a healthy backend, for the effect in numbers.
const CHANCE: f64 = 0.001;

/// HC-03.
const CALM: Rule = Rule {
    id: "HC-03",
    title: "one bad check does not take a backend out",
    severity: Severity::Warning,
    limit: Some(FEWEST),
    text: "\
`fall` should be at least 3 and `rise` at least 2. One failed check that takes a backend out is a warning,
two, or one good check that brings it back, an info.

Why: single checks fail by chance. With one in a thousand lost and a check each second, `fall 1` takes
every backend out about 86 times a day, `fall 3` once in 30 years. With `rise 1` a backend that answers
every other check goes in and out all the time.

Example: `fall 1 rise 1`, the values of a test environment, in production.",
    check: check_calm,
};

fn check_calm(subject: &Subject<'_>) -> Vec<Finding> {
    told(
        subject,
        "HC-03",
        subject.setup.pools.iter().filter_map(nervous).collect(),
    )
}

fn nervous(pool: &Pool) -> Option<Fault<'_>> {
    let fewest = FEWEST.of("HC-03", pool);
    let is_nervous = |h: &Health| f64::from(h.fall) < fewest || h.rise < 2;
    let checks = checks(pool).into_iter();
    let (check, _) = checks
        .filter(|(h, _)| is_nervous(h))
        .min_by_key(|(h, _)| (h.fall, h.rise))?;
    let is_bad = f64::from(check.fall) < fewest;
    let severity = match check.fall {
        1 if is_bad => Severity::Warning,
        _ if is_bad && pool.policy.limits.contains_key("HC-03") => Severity::Warning,
        _ => Severity::Info,
    };
    let interval = check.interval.as_secs_f64().max(1e-3);
    let a_day = 86_400.0 / interval * CHANCE.powi(i32::try_from(check.fall).unwrap_or(i32::MAX));
    let (message, effect, key) = if is_bad {
        let message = format!(
            "{} a backend of pool `{}` out; the limit is {}",
            takes(check.fall),
            pool.name,
            number(fewest)
        );
        let effect = format!(
            "if one check in 1,000 is lost by chance, each backend goes out {} times a day while it is healthy",
            number(a_day)
        );
        (message, effect, "fall")
    } else {
        let message = format!(
            "one good check brings a backend of pool `{}` back; the limit is 2",
            pool.name
        );
        let effect =
            "a backend that answers every other check goes in and out with its whole share"
                .to_owned();
        (message, effect, "rise")
    };
    let words = Words {
        message,
        effect,
        fix: format!("write fall {} or more and rise 2 or more", number(fewest)),
    };
    let at = format!("{}.{key}", check.path);
    let kind = format!(
        "{} {} {}",
        check.fall,
        check.rise,
        format_duration(check.interval)
    );
    Some(Fault {
        pool,
        severity,
        at,
        kind,
        magnitude: if is_bad { a_day } else { 0.0 },
        words,
    })
}

fn takes(fall: u32) -> String {
    if fall == 1 {
        "one failed check takes".to_owned()
    } else {
        format!("{fall} failed checks in a row take")
    }
}

fn late(n: u32) -> String {
    if n == 1 {
        "one late answer takes".to_owned()
    } else {
        format!("{n} late answers in a row take")
    }
}

#[cfg(test)]
mod tests;
