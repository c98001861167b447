//! HC-05 to HC-09: whether taking out works, in time, and what happens when it takes out everybody.

use super::{
    Backend, CheckKind, Duration, Fault, Finding, Limit, Nobody, Passive, Rule, Severity, Subject,
    Words, checks, format_duration, keeps, largest_share, number, percent, serving, told,
};
use crate::rules::fold::value_at;

/// Words in the path of a check that asks for more than the backend alone. `/` is a page that users see.
const SHARED_WORDS: &[&str] = &[
    "all",
    "database",
    "db",
    "deep",
    "dependencies",
    "deps",
    "full",
    "login",
    "redis",
    "sql",
];

/// HC-05.
pub(super) const SHARED: Rule = Rule {
    id: "HC-05",
    title: "a check that fails everywhere at once does not stop everything",
    severity: Severity::Info,
    limit: None,
    text: "\
A balancer that refuses requests when no backend is healthy trusts its checks completely. An HTTP check
that asks a shared dependency (a database, a login service) fails on all backends at once, and all
traffic is refused although most pages would still have worked.

Evenkeel and Envoy use all backends then (fail-open); HAProxy does not. What a check asks for can only be
guessed, so this is an info, and only about a path that is a page (`/`) or names more than the backend, such
as `/health/deep` or `/db`: let the check answer for the backend alone.

Example: Stack Exchange in 2016: one slow page was the check of every server, and all of them went out.",
    check: check_shared,
};

fn check_shared(subject: &Subject<'_>) -> Vec<Finding> {
    let faults = subject.setup.pools.iter().filter_map(|pool| {
        let refuses = pool.failover.nobody == Nobody::Refuse && pool.failover.panic_below <= 0.0;
        if !refuses || serving(pool).count() < 2 {
            return None;
        }
        let (check, path) = checks(pool).into_iter().find_map(|(check, _)| match &check.kind {
            CheckKind::Http { path, .. } if asks_for_more(path) => Some((check, path)),
            _ => None,
        })?;
        let words = Words {
            message: format!(
                "the check of pool `{}` asks for `{path}`, which may need more than the backend itself",
                pool.name
            ),
            effect: "when what it needs fails, all backends go out at once and 100 % of the requests are refused"
                .to_owned(),
            fix: "let the check answer for the backend alone, without its database".to_owned(),
        };
        let at = check.path.clone();
        let kind = path.clone();
        Some(Fault { pool, severity: Severity::Info, at, kind, magnitude: 0.0, words })
    });
    told(subject, "HC-05", faults.collect())
}

/// Whether the path of a check is a page, or says that more than the backend answers.
fn asks_for_more(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or(path);
    let mut words = path.split(|c: char| !c.is_ascii_alphanumeric());
    path == "/" || words.any(|word| SHARED_WORDS.iter().any(|w| w.eq_ignore_ascii_case(word)))
}

/// HC-06.
pub(super) const PANIC: Rule = Rule {
    id: "HC-06",
    title: "the point at which sick backends are used again is chosen",
    severity: Severity::Warning,
    limit: None,
    text: "\
Below its panic threshold (Envoy: 50 % healthy unless set) a balancer uses all backends, sick ones too.
Just above the threshold the healthy ones carry everything: at 50 % each carries twice its load. Where
peak and capacities are known and that is more than a healthy backend can carry, it is a warning: the
pool would fall over before the threshold helps. A threshold that stands in no file is an info.

Example: six backends at 60 % of their capacity. With three out each remaining one would carry 120 %,
and the threshold of 50 % is not yet reached.",
    check: check_panic,
};

fn check_panic(subject: &Subject<'_>) -> Vec<Finding> {
    let faults = subject.pools().filter_map(|(pool, forecast)| {
        let below = pool.failover.panic_below;
        let watched = !checks(pool).is_empty() || pool.ejection.is_some();
        if below <= 0.0 || !watched || serving(pool).count() < 2 {
            return None;
        }
        let loads = forecast.backends.iter().filter_map(|backend| backend.utilisation);
        let highest = loads.max_by(f64::total_cmp).map(|load| load / below);
        let at = value_at(subject, &pool.path, "health", "failover.panic_below");
        let name = &pool.name;
        let (severity, message, effect) = match highest {
            Some(load) if load > 1.0 + 1e-9 => (
                Severity::Warning,
                format!("pool `{name}` uses sick backends only when fewer than {} are healthy", percent(below)),
                format!("just above that each healthy backend would carry {} of its capacity at the peak", percent(load)),
            ),
            None if !subject.origin.declares(&at) => (
                Severity::Info,
                format!("pool `{name}` uses sick backends again below {} healthy, which no file says", percent(below)),
                format!("just above that each healthy backend carries {} times its load", number(1.0 / below)),
            ),
            _ => return None,
        };
        let fix = match highest {
            Some(load) => format!("raise the threshold to {} or add capacity", percent((load * below).min(1.0))),
            None => "set `common_lb_config.healthy_panic_threshold`, and declare capacities".to_owned(),
        };
        let words = Words { message, effect, fix };
        let magnitude = highest.unwrap_or(0.0);
        Some(Fault { pool, severity, at, kind: percent(below), magnitude, words })
    });
    told(subject, "HC-06", faults.collect())
}

/// HC-07.
pub(super) const POSSIBLE: Rule = Rule {
    id: "HC-07",
    title: "outlier ejection can take somebody out",
    severity: Severity::Warning,
    limit: None,
    text: "\
Ejection needs room: the number of backends x the largest part that may be out, rounded down, must be at
least 1 (current Envoy: 10 % unless set, so 10 backends; `always_eject_one_host` makes an exception). By
standard deviations alone it also needs enough backends: among K equal ones a single bad one lies at most
sqrt(K - 1) deviations off, 1.73 for four, below the usual 1.9.

Why: the setting looks like protection and does nothing. Without an active check it is a warning, with
one an info.

Example: `outlier_detection: {}` on a cluster of three: 3 x 10 % rounds down to 0, nobody is ever out.",
    check: check_possible,
};

fn check_possible(subject: &Subject<'_>) -> Vec<Finding> {
    let faults = subject.pools().filter_map(|(pool, forecast)| {
        let ejection = pool.ejection.as_ref()?;
        let count = serving(pool).count();
        let room = (count as f64 * ejection.part_max + 1e-9).floor();
        let reach = (count.saturating_sub(1) as f64).sqrt();
        let deviations = ejection.deviations.filter(|_| ejection.consecutive.is_none());
        let why = if room < 1.0 {
            format!("{count} backends x {} rounds down to 0", percent(ejection.part_max))
        } else if let Some(deviations) = deviations.filter(|deviations| reach <= *deviations) {
            format!(
                "one bad backend of {count} lies at most {} deviations off, {} are asked for",
                number(reach),
                number(deviations)
            )
        } else {
            return None;
        };
        if count < 2 {
            return None; // TRF-05 says what a single backend means
        }
        let is_checked = !checks(pool).is_empty();
        let severity = if is_checked { Severity::Info } else { Severity::Warning };
        let effect = if is_checked {
            "only the active check takes a backend out; one that answers checks and fails requests stays in".to_owned()
        } else {
            keeps(pool, forecast, |_| true)
        };
        let words = Words {
            message: format!("outlier ejection can never take a backend of pool `{}` out: {why}", pool.name),
            effect,
            fix: format!("allow at least {} of the pool to be out, and count consecutive failures", percent(1.0 / count as f64)),
        };
        Some(Fault { pool, severity, at: ejection.path.clone(), kind: format!("{count} {}", words.effect), magnitude: 0.0, words })
    });
    told(subject, "HC-07", faults.collect())
}

/// HC-08.
pub(super) const PASSIVE: Rule = Rule {
    id: "HC-08",
    title: "counting of failures is not switched off",
    severity: Severity::Warning,
    limit: None,
    text: "\
`max_fails=0` switches off the only thing that takes a failing server out of an nginx upstream: there are
no active checks in its free edition. Judged where the pool has several servers and no other check.
Beside that, an nginx upstream with one server never counts it as failed (TRF-05 speaks of single ones).

Why: a dead server keeps its share. Each of its requests first waits for the connection to fail.

Example: three servers with `max_fails=0` against needless switching: one dies, and a third of the
requests takes `proxy_connect_timeout` longer, 60 s unless set.",
    check: check_passive,
};

fn check_passive(subject: &Subject<'_>) -> Vec<Finding> {
    let faults = subject.pools().filter_map(|(pool, forecast)| {
        let count = serving(pool).count();
        let is_off = |passive: &Passive| passive.failures == 0;
        let off = |backend: &&Backend| {
            pool.check_of(backend).is_none() && backend.passive.as_ref().is_some_and(is_off)
        };
        let off: Vec<_> = serving(pool).filter(off).collect();
        let first = off.first().filter(|_| count > 1 && pool.ejection.is_none())?;
        let wait = pool.timeouts.connect.duration();
        let wait = wait.map_or_else(|| "without an end".to_owned(), |wait| format!("up to {}", format_duration(wait)));
        let words = Words {
            message: format!(
                "{} of {count} backends of pool `{}` are never taken out: failures are not counted, `{}` first",
                off.len(),
                pool.name,
                first.name
            ),
            effect: format!(
                "a dead one keeps up to {} of the requests, and each waits {wait} for it first",
                percent(largest_share(pool, forecast, |b| b.passive.as_ref().is_some_and(is_off)))
            ),
            fix: "leave `max_fails` out (1) or set it to 2 or 3 with a `fail_timeout` of some seconds".to_owned(),
        };
        let at = format!("{}.max_fails", first.path);
        let kind = format!("{} {}", off.len() == count, words.effect);
        Some(Fault { pool, severity: Severity::Warning, at, kind, magnitude: 0.0, words })
    });
    told(subject, "HC-08", faults.collect())
}

const LONGEST: Limit = Limit {
    default: 30.0,
    unit: "s from a fault until the backend is out, at most",
};

/// HC-09.
pub(super) const PROMPT: Rule = Rule {
    id: "HC-09",
    title: "a dead backend is out in time",
    severity: Severity::Warning,
    limit: Some(LONGEST),
    text: "\
interval x fall + timeout is how long a dead backend keeps its share: at most 30 s. Not judged where
consecutive failures of requests take it out too.

Why: until then its share of the requests fails or waits. Slow checks are chosen to spare the backends;
a check a second is nothing to a server that answers hundreds of requests.

Example: `interval: 30s`, `unhealthy_threshold: 5` and `timeout: 5s` are 155 s; with three backends at
900 rps about 46,500 requests go to the dead one.",
    check: check_prompt,
};

fn check_prompt(subject: &Subject<'_>) -> Vec<Finding> {
    let faults = subject.pools().filter_map(|(pool, forecast)| {
        let by_requests = pool
            .ejection
            .as_ref()
            .is_some_and(|ejection| ejection.consecutive.is_some());
        let count = serving(pool).count();
        if by_requests || count < 2 {
            return None;
        }
        let until_out = |h: &evenkeel_model::setup::Health| {
            h.interval.saturating_mul(h.fall).saturating_add(h.timeout)
        };
        let slow = checks(pool)
            .into_iter()
            .map(|(check, _)| (until_out(check), check));
        let (took, check) = slow.max_by_key(|(took, _)| *took)?;
        let limit = LONGEST.of("HC-09", pool);
        if took.as_secs_f64() <= limit {
            return None;
        }
        let is_slow = |b: &Backend| pool.check_of(b).is_some_and(|h| until_out(h) == took);
        let share = largest_share(pool, forecast, is_slow);
        let lost = forecast.rps.map(|rps| rps * share * took.as_secs_f64());
        let share = percent(share);
        let words = Words {
            message: format!(
                "a dead backend of pool `{}` stays in for up to {}; the limit is {}",
                pool.name,
                format_duration(whole_seconds(took)),
                format_duration(Duration::from_secs_f64(limit))
            ),
            effect: lost.map_or_else(
                || format!("up to {share} of the requests go to it until then"),
                |lost| {
                    format!(
                        "up to {share} of the requests, {lost:.0} at the peak, go to it until then"
                    )
                },
            ),
            fix: format!(
                "check more often: every {} with fall {}",
                format_duration(Duration::from_secs(2)),
                check.fall.min(3)
            ),
        };
        let at = format!("{}.interval", check.path);
        Some(Fault {
            pool,
            severity: Severity::Warning,
            at,
            kind: took.as_millis().to_string(),
            magnitude: took.as_secs_f64(),
            words,
        })
    });
    told(subject, "HC-09", faults.collect())
}

const fn whole_seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}
