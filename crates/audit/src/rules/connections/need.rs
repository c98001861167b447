//! CON-01, CON-06: limits of requests at once against what the peak needs.

use super::{
    Fault, Finding, Limit, Rule, Severity, Subject, Words, need, number, rate, serving, told,
};

const SPARE: Limit = Limit {
    default: 1.5,
    unit: "times the requests at once that the peak needs, at least",
};

/// CON-01.
pub(super) const SLOTS: Rule = Rule {
    id: "CON-01",
    title: "the limits of the backends suffice with one of them out",
    severity: Severity::Warning,
    limit: Some(SPARE),
    text: "\
The limits of requests at once, without the largest one, must be at least 1.5 x what the peak needs: rate
x mean time of a request (Little's law). Judged where every backend has a limit and the times are
measured, so on a running instance. A limit that each worker applies by itself is taken as it stands.

Why: limits are set for a sound day. With one backend out for an upgrade the rest must hold its requests
too, and answers get slower at the same time.

Example: GitHub in January 2024: a limit of connections that was too low during an upgrade, and 5 to 10 %
errors.",
    check: check_slots,
};

fn check_slots(subject: &Subject<'_>) -> Vec<Finding> {
    let faults = subject.pools().filter_map(|(pool, forecast)| {
        let limits: Option<Vec<u64>> = serving(pool).map(|backend| backend.in_flight_max).collect();
        let limits = limits.filter(|limits| limits.len() > 1)?;
        let largest = limits.iter().copied().max()?;
        let left = limits.iter().fold(0u64, |sum, limit| sum.saturating_add(*limit)) - largest;
        let needed = need(subject, pool, forecast)?;
        let spare = SPARE.of("CON-01", pool);
        if left as f64 >= spare * needed {
            return None;
        }
        let words = Words {
            message: format!(
                "with its largest backend out, pool `{}` holds {left} requests at once; the peak needs {needed:.0}, the limit is {} times that",
                pool.name,
                number(spare)
            ),
            effect: if (left as f64) < needed {
                format!("{:.0} requests at once wait or are refused", needed - left as f64)
            } else {
                format!("answers may get {} times as slow before requests wait", number(left as f64 / needed))
            },
            fix: format!("allow {:.0} on each backend", (spare * needed / (limits.len() - 1) as f64).ceil()),
        };
        let at = super::value_at(subject, &pool.path, "max_in_flight", "in_flight_max");
        let magnitude = spare * needed / left.max(1) as f64;
        Some(Fault { pool, severity: Severity::Warning, at, kind: String::new(), magnitude, words })
    });
    told(subject, "CON-01", faults.collect())
}

/// CON-06.
pub(super) const BREAKERS: Rule = Rule {
    id: "CON-06",
    title: "limits of a whole pool are chosen and suffice",
    severity: Severity::Warning,
    limit: None,
    text: "\
Envoy allows 1,024 connections, 1,024 requests at once and 3 retries at once for each cluster, whether the
file says so or not. With the peak known, the mean time at which that is full is a number: 1,024 requests
at 900 a second are 1.14 s. Less than 1.5 x what the peak needs is a warning where times are measured, or
where it would be full within half of the objective's p99; a limit that stands in no file is an info.

Why: what goes beyond a breaker is refused at once with 503 (`UO`), while the backends have room.

Example: a cluster at 5,000 requests per second without `circuit_breakers`: answers slower than 0.2 s on
average are refused.",
    check: check_breakers,
};

fn check_breakers(subject: &Subject<'_>) -> Vec<Finding> {
    let faults = subject.pools().filter_map(|(pool, forecast)| {
        let limit = pool.breakers.requests_max? as f64;
        let at = format!("{}.breakers.requests_max", pool.path);
        let full = forecast.rps.filter(|rps| *rps > 0.0).map(|rps| limit / rps);
        let needed = need(subject, pool, forecast);
        let p99 = pool.objective.map(|objective| objective.p99.as_secs_f64());
        let is_tight = needed.is_some_and(|needed| limit < 1.5 * needed);
        let is_short = full.zip(p99).is_some_and(|(full, p99)| full < p99 / 2.0);
        let is_hidden = !subject.origin.declares(&at);
        let severity = match () {
            () if is_tight || (needed.is_none() && is_short) => Severity::Warning,
            () if is_hidden => Severity::Info,
            () => return None,
        };
        let whose = if is_hidden {
            ", which no file says"
        } else {
            ""
        };
        let words = Words {
            message: format!(
                "pool `{}` takes {limit:.0} requests at once{whose}",
                pool.name
            ),
            effect: match (needed, full, forecast.rps) {
                (Some(needed), _, _) => {
                    format!("the peak needs {needed:.0}; what goes beyond is refused with 503")
                }
                (None, Some(full), Some(rps)) => format!(
                    "at {} requests are refused with 503 once answers take {} s on average",
                    rate(rps),
                    number(full)
                ),
                _ => "what goes beyond is refused with 503 while the backends have room".to_owned(),
            },
            fix: "set `circuit_breakers` to at least 1.5 times what the peak needs".to_owned(),
        };
        let magnitude = needed.map_or(0.0, |needed| needed / limit.max(1.0));
        Some(Fault {
            pool,
            severity,
            at,
            kind: format!("{limit}"),
            magnitude,
            words,
        })
    });
    told(subject, "CON-06", faults.collect())
}
