//! TMO: whether waiting ends, and in the right order.

use std::collections::BTreeSet;
use std::time::Duration;

use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::{Balancer, Listener, Pool, Wait};
use evenkeel_model::units::format_duration;

use super::fold::{Fault, told, value_at};
use crate::rule::{Limit, Rule, Subject, Words, number};

mod unit;

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[PRESENT, ORDER, KEPT, QUEUE, unit::UNIT];

/// TMO-01.
const PRESENT: Rule = Rule {
    id: "TMO-01",
    title: "every timeout of the traffic is there and above 0",
    severity: Severity::Error,
    limit: None,
    text: "\
Every wait for a client, a connection, an answer and a check must end, and not at once. A timeout of 0
is an error; one that is missing, where the balancer has no default, a warning. Evenkeel has defaults for
all of them, and its reader refuses a zero under this id.

Why: 0 means `never` to some proxies and `at once` to others. Never leaks connections until a limit is
reached, and then the balancer serves nobody; at once fails every request.

Example: a haproxy.cfg without `timeout server`: a backend that accepts and never answers holds each
request for ever. `haproxy -c` warns and still says that the file is valid.",
    check: check_present,
};

fn check_present(subject: &Subject<'_>) -> Vec<Finding> {
    let setup = subject.setup;
    let mut findings = Vec::new();
    for listener in &setup.listeners {
        findings.extend(zeros(subject, &listener.path, &client_waits(listener)));
    }
    findings.extend(endless_clients(subject));
    let mut faults = Vec::new();
    let targets = setup.routes.iter().flat_map(|route| &route.targets);
    let reached: BTreeSet<&str> = targets.map(|(pool, _)| pool.as_str()).collect();
    for (pool, forecast) in subject.pools() {
        findings.extend(zeros(subject, &pool.path, &pool_waits(pool)));
        // An Envoy cluster has its timeouts from the routes that lead to it; without one nothing waits.
        if setup.balancer != Balancer::Envoy || reached.contains(pool.name.as_str()) {
            faults.extend(endless(subject, pool, forecast.rps));
        }
    }
    findings.extend(told(subject, "TMO-01", faults));
    findings
}

/// What is waited for: words, Evenkeel's key, the path in other files, how long.
type Waiting = (&'static str, &'static str, &'static str, Wait);

fn client_waits(listener: &Listener) -> [Waiting; 3] {
    [
        (
            "a request head",
            "head_timeout",
            "timeout.head",
            listener.head_timeout,
        ),
        (
            "a client",
            "body_timeout",
            "timeout.client",
            listener.client_timeout,
        ),
        (
            "the next request",
            "idle_timeout",
            "timeout.idle",
            listener.idle_timeout,
        ),
    ]
}

fn pool_waits(pool: &Pool) -> Vec<Waiting> {
    let t = &pool.timeouts;
    let mut waits = vec![
        (
            "a connection",
            "connect_timeout",
            "timeout.connect",
            t.connect,
        ),
        (
            "an answer",
            "response_timeout",
            "timeout.response",
            t.response,
        ),
        (
            "progress of an answer",
            "idle_timeout",
            "timeout.idle",
            t.idle,
        ),
        (
            "all tries together",
            "request_timeout",
            "timeout.request",
            t.request,
        ),
    ];
    let check = pool.health.iter();
    waits.extend(check.map(|h| {
        (
            "a check",
            "health.timeout",
            "health.timeout",
            Wait::For(h.timeout),
        )
    }));
    waits
}

fn zeros<'a>(subject: &'a Subject<'_>, path: &'a str, waits: &[Waiting]) -> Vec<Finding> {
    let zero = waits
        .iter()
        .filter(|(.., wait)| *wait == Wait::For(Duration::ZERO));
    zero.map(|(_, own, other, _)| {
        let at = value_at(subject, path, own, other);
        let words = Words {
            message: format!("`{at}` is 0"),
            effect: "a timeout of 0 gives up on every request at once".to_owned(),
            fix: "write how long to wait, or remove the key for its default".to_owned(),
        };
        subject.finding("TMO-01", Severity::Error, (&at, &at), 0.0, words)
    })
    .collect()
}

/// Listeners that wait for their clients without an end: one finding, since a default is missing for all of them.
fn endless_clients(subject: &Subject<'_>) -> Option<Finding> {
    let is_endless = |listener: &&Listener| listener.client_timeout == Wait::Endless;
    let endless: Vec<&Listener> = subject.setup.listeners.iter().filter(is_endless).collect();
    let first = endless.first()?;
    let more = match endless.len() - 1 {
        0 => String::new(),
        n => format!(" (and {n} more listeners)"),
    };
    let held = first.connections_max.or(subject.setup.connections_max);
    let held = held.map_or_else(
        || "the connections that it may hold".to_owned(),
        |n| format!("{n} connections"),
    );
    let words = Words {
        message: format!(
            "listener `{}`{more} waits for silent clients without an end",
            first.name
        ),
        effect: format!(
            "clients that vanish or hold still fill up {held}, and nobody else gets in"
        ),
        fix: match subject.setup.balancer {
            Balancer::Haproxy => "add `timeout client 30s` to `defaults`",
            Balancer::Envoy => {
                "set `stream_idle_timeout` or `idle_timeout` of the listener's filter"
            }
            _ => "set how long a silent client is waited for",
        }
        .to_owned(),
    };
    let at = value_at(subject, &first.path, "body_timeout", "timeout.client");
    Some(subject.finding("TMO-01", Severity::Warning, (&first.path, &at), 0.0, words))
}

fn endless<'a>(subject: &Subject<'_>, pool: &'a Pool, rps: Option<f64>) -> Option<Fault<'a>> {
    let t = &pool.timeouts;
    let mut missing = Vec::new();
    if t.connect == Wait::Endless {
        missing.push(("a connection", "connect"));
    }
    // Any of the three ends a request that gets no answer.
    if [t.response, t.idle, t.request]
        .iter()
        .all(|wait| *wait == Wait::Endless)
    {
        missing.push(("an answer", "server"));
    }
    if missing.is_empty() || pool.backends.is_empty() {
        return None;
    }
    let words: Vec<&str> = missing.iter().map(|(words, _)| *words).collect();
    let words = words.join(" and for ");
    let keys: Vec<String> = missing
        .iter()
        .map(|(_, key)| format!("`timeout {key} ...`"))
        .collect();
    let fix = match subject.setup.balancer {
        Balancer::Haproxy => format!("add {} to `defaults`", keys.join(" and ")),
        _ => "set how long to wait".to_owned(),
    };
    let share = rps.map(|rps| rps / pool.backends.len() as f64);
    let words = Words {
        message: format!("pool `{}` waits for {words} without an end", pool.name),
        effect: share.map_or_else(
            || "one backend that hangs holds all its requests until the balancer has no connection left".to_owned(),
            |rps| format!("one backend that hangs holds {} more requests each second until nothing is left", number(rps)),
        ),
        fix,
    };
    let kind = missing
        .iter()
        .map(|(_, key)| *key)
        .collect::<Vec<_>>()
        .join(" ");
    Some(Fault {
        pool,
        severity: Severity::Warning,
        at: pool.path.clone(),
        kind,
        magnitude: 0.0,
        words,
    })
}

/// TMO-02.
const ORDER: Rule = Rule {
    id: "TMO-02",
    title: "each wait fits into the one around it",
    severity: Severity::Warning,
    limit: None,
    text: "\
Connecting takes less than a whole try, and (retries + 1) tries fit into the time for the whole request.
When not even a second try fits it is a warning, when some of several do not, an info.

Why: a retry that the outer timeout cuts off adds load and helps nobody. That happens exactly when a
backend hangs, which is what retries after a timeout are for.

Example: `response_timeout = \"30s\"` beside `request_timeout = \"30s\"` and one retry: the first try may use
up all the time.",
    check: check_order,
};

fn check_order(subject: &Subject<'_>) -> Vec<Finding> {
    let mut faults = Vec::new();
    for pool in &subject.setup.pools {
        faults.extend(slow_connect(subject, pool));
        faults.extend(cut_tries(subject, pool));
    }
    told(subject, "TMO-02", faults)
}

/// A wait for an answer below this is the one that is wrong, not the longer one for a connection.
const ANSWER_MIN: Duration = Duration::from_millis(500);

fn slow_connect<'a>(subject: &Subject<'_>, pool: &'a Pool) -> Option<Fault<'a>> {
    let (connect, whole) = (
        pool.timeouts.connect.duration()?,
        pool.timeouts.response.duration()?,
    );
    if connect <= whole || whole.is_zero() {
        return None;
    }
    let is_short = whole < ANSWER_MIN;
    let (connect, whole) = (format_duration(connect), format_duration(whole));
    let message = format!(
        "pool `{}` waits {connect} for a connection and {whole} for an answer",
        pool.name
    );
    let words = if is_short {
        Words {
            message,
            effect: format!("every answer that takes longer than {whole} is given up"),
            fix: "wait for an answer as long as the slowest sound one takes".to_owned(),
        }
    } else {
        Words {
            message,
            effect: format!(
                "a backend that is gone holds a request for {connect}, longer than one that is slow"
            ),
            fix: format!("wait at most {whole} for a connection; 1 s is enough in one network"),
        }
    };
    let at = if is_short {
        value_at(subject, &pool.path, "response_timeout", "timeout.response")
    } else {
        value_at(subject, &pool.path, "connect_timeout", "timeout.connect")
    };
    let kind = format!("connect {connect} {whole}");
    Some(Fault {
        pool,
        severity: Severity::Warning,
        at,
        kind,
        magnitude: 0.0,
        words,
    })
}

fn cut_tries<'a>(subject: &Subject<'_>, pool: &'a Pool) -> Option<Fault<'a>> {
    let attempts = pool.retry.attempts.filter(|attempts| *attempts > 0)?;
    if !pool.retry.after_sent {
        return None; // no retry follows a slow answer
    }
    let (each, whole) = (
        pool.timeouts.response.duration()?,
        pool.timeouts.request.duration()?,
    );
    if each.is_zero() || whole.is_zero() {
        return None;
    }
    if subject.setup.balancer == Balancer::Envoy && each == whole {
        return None; // no timeout per try is set: its retries are for failures, not for slow answers
    }
    let fitting = (whole.as_secs_f64() / each.as_secs_f64() + 1e-9).floor();
    let wanted = f64::from(attempts) + 1.0;
    if fitting >= wanted {
        return None;
    }
    let severity = if fitting < 2.0 {
        Severity::Warning
    } else {
        Severity::Info
    };
    let (each_text, whole_text) = (format_duration(each), format_duration(whole));
    let words = Words {
        message: format!(
            "{} tries of {each_text} do not fit into the {whole_text} that pool `{}` gives a request",
            number(wanted),
            pool.name
        ),
        effect: format!(
            "when a backend hangs, {} of {} tries come to their end; the rest is load without an answer",
            number(fitting),
            number(wanted)
        ),
        fix: format!(
            "give each try at most {}, or retry less",
            format_duration(Duration::from_millis(
                (whole.as_secs_f64() / wanted * 1e3) as u64
            ))
        ),
    };
    let at = value_at(subject, &pool.path, "response_timeout", "timeout.response");
    let kind = format!("tries {attempts} {each_text} {whole_text}");
    Some(Fault {
        pool,
        severity,
        at,
        kind,
        magnitude: wanted - fitting,
        words,
    })
}

const KEPT_MAX: Limit = Limit {
    default: 60.0,
    unit: "s that an idle connection to a backend is kept, at most",
};

/// TMO-03.
const KEPT: Rule = Rule {
    id: "TMO-03",
    title: "idle connections are given up before the backend does",
    severity: Severity::Info,
    limit: Some(KEPT_MAX),
    text: "\
An idle connection to a backend should be closed on this side first: kept for at most 60 s, or less than
the keep-alive timeout of the backends where that is known. Many servers close after 5 s (Node.js, Apache)
to 75 s (nginx).

Why: when the backend closes at the very moment at which a request is sent, the request fails with a reset.
It is rare, cannot be reproduced, and grows with the number of idle connections. Retries hide it for
requests that are safe to repeat, not for POST.

Limit: the timeout of the backends is in no file of the balancer, so this is an info.

Example: an Envoy cluster keeps idle connections for an hour unless `idle_timeout` is set.",
    check: check_kept,
};

fn check_kept(subject: &Subject<'_>) -> Vec<Finding> {
    let faults = subject.setup.pools.iter().filter_map(|pool| {
        let limit = KEPT_MAX.of("TMO-03", pool);
        let kept = match pool.timeouts.keep? {
            Wait::For(kept) if kept.as_secs_f64() <= limit => return None,
            Wait::For(kept) => format!("for {}", format_duration(kept)),
            Wait::Endless => "without an end".to_owned(),
        };
        let limit = format_duration(Duration::from_secs_f64(limit));
        let words = Words {
            message: format!(
                "idle connections of pool `{}` are kept {kept}; the limit is {limit}",
                pool.name
            ),
            effect:
                "a request that meets a connection that its backend just closed fails with a reset"
                    .to_owned(),
            fix: "keep them for less than the backends do, such as 4 s for Node.js".to_owned(),
        };
        let at = value_at(subject, &pool.path, "connect_timeout", "timeout.keep");
        Some(Fault {
            pool,
            severity: Severity::Info,
            at,
            kind: kept,
            magnitude: 0.0,
            words,
        })
    });
    told(subject, "TMO-03", faults.collect())
}

const QUEUE_MAX: Limit = Limit {
    default: 10.0,
    unit: "s that a request waits for a backend with room, at most",
};

/// TMO-04.
const QUEUE: Rule = Rule {
    id: "TMO-04",
    title: "the queue for a backend is bounded",
    severity: Severity::Warning,
    limit: Some(QUEUE_MAX),
    text: "\
Where backends have a limit of requests at once, the others wait. The queue should be bounded in time (at
most 10 s) or in length; one without either is a warning, one that is long in time and not bounded in
length an info.

Why: in an overload the queue fills with requests whose clients have given up. The backends then work for
nobody, and after the overload it takes as long again until fresh requests are served. Google's SRE book
advises a queue of at most half the requests that are worked on.

Example: `maxconn 100` on the servers and `timeout queue 5m`: after a peak clients wait for minutes.",
    check: check_queue,
};

fn check_queue(subject: &Subject<'_>) -> Vec<Finding> {
    let faults = subject.setup.pools.iter().filter_map(|pool| {
        let limits = pool.backends.iter().any(|backend| backend.in_flight_max.is_some());
        if !limits || pool.queue_max.is_some() {
            return None;
        }
        let limit = QUEUE_MAX.of("TMO-04", pool);
        let (severity, message, effect) = match pool.timeouts.queue {
            Wait::For(wait) if wait.as_secs_f64() <= limit => return None,
            Wait::For(wait) => (
                Severity::Info,
                format!(
                    "requests to pool `{}` may wait {} for room; the limit is {}",
                    pool.name,
                    format_duration(wait),
                    format_duration(Duration::from_secs_f64(limit))
                ),
                "in an overload the backends work for clients that have given up".to_owned(),
            ),
            Wait::Endless => (
                Severity::Warning,
                format!("the queue of pool `{}` is bounded neither in length nor in time", pool.name),
                "in an overload it grows until memory or connections end, and all of it is answered too late".to_owned(),
            ),
        };
        let fix = match subject.setup.balancer {
            Balancer::Haproxy => "set `timeout queue 5s`, or `maxqueue` on the servers",
            _ => "bound the queue in time or in length",
        };
        let words = Words { message, effect, fix: fix.to_owned() };
        let at = value_at(subject, &pool.path, "max_in_flight", "timeout.queue");
        Some(Fault { pool, severity, at, kind: format!("{:?}", pool.timeouts.queue), magnitude: 0.0, words })
    });
    told(subject, "TMO-04", faults.collect())
}

#[cfg(test)]
mod tests;
