//! CON: whether connections, requests at once and descriptors suffice, and whether they are bounded.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::{Balancer, Pool};

use super::fold::{Fault, serving, told, value_at};
use crate::rule::{Limit, Rule, Subject, Words, number, rate};

mod need;

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[
    need::SLOTS,
    CLIENTS,
    FILES,
    UNBOUNDED,
    PORTS,
    need::BREAKERS,
];

/// A client connection can stay open so long at the peak, at least, in seconds.
const OPEN_MIN_S: f64 = 1.0;

/// CON-02.
const CLIENTS: Rule = Rule {
    id: "CON-02",
    title: "as many clients may connect as come",
    severity: Severity::Warning,
    limit: None,
    text: "\
Connections at once over the peak rate is how long each may stay open when every request comes on its own
connection (Little's law). Below 1 s the limit is reached on a usual day. Judged for the whole process and
for each listener, with the peaks of the pools that its routes lead to.

Why: beyond the limit clients wait unseen in the kernel's queue, while every backend is idle. Clients that
keep connections open (browsers, 15 to 60 s) need far more.

Example: Stack Exchange in 2015 held 15 s of keep-alive against a limit of 40,000 connections; 5 s took
the number from 60,000 to 19,000. A `maxconn 500` at 900 requests per second leaves 0.56 s.",
    check: check_clients,
};

fn check_clients(subject: &Subject<'_>) -> Vec<Finding> {
    let setup = subject.setup;
    let peaks = subject
        .pools()
        .filter_map(|(pool, forecast)| Some((pool.name.as_str(), forecast.rps?)));
    let peaks: BTreeMap<&str, f64> = peaks.collect();
    let mut behind: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for route in &setup.routes {
        let targets = route.targets.iter().map(|(pool, _)| pool.as_str());
        behind.entry(&route.listener).or_default().extend(targets);
    }
    let mut findings = Vec::new();
    let mut told = u64::MAX;
    let routed: BTreeSet<&str> = behind.values().flatten().copied().collect();
    let total: f64 = routed.iter().filter_map(|pool| peaks.get(pool)).sum();
    let whole = setup.connections_max.map(|max| {
        (
            "the balancer".to_owned(),
            "connections_max".to_owned(),
            max,
            total,
        )
    });
    let listeners = setup.listeners.iter().filter_map(|listener| {
        let pools = behind.get(listener.name.as_str())?;
        let peak: f64 = pools.iter().filter_map(|pool| peaks.get(pool)).sum();
        let at = format!("{}.connections_max", listener.path);
        Some((
            format!("listener `{}`", listener.name),
            at,
            listener.connections_max?,
            peak,
        ))
    });
    for (who, at, max, peak) in whole.into_iter().chain(listeners) {
        let open = max as f64 / peak;
        // A listener as wide as the whole process, which comes first, is held up by that.
        if peak <= 0.0 || open >= OPEN_MIN_S || max >= told {
            continue;
        }
        if at == "connections_max" {
            told = max;
        }
        let words = Words {
            message: format!(
                "{who} takes {max} connections at once for a peak of {}",
                rate(peak)
            ),
            effect: format!(
                "each may stay open for {} s on average; beyond that clients wait in the kernel and time out",
                number(open)
            ),
            fix: format!("allow {:.0} or more (10 s each)", (peak * 10.0).ceil()),
        };
        findings.push(subject.finding("CON-02", Severity::Warning, (&at, &at), 1.0 / open, words));
    }
    findings
}

/// Open files per client connection: its own and that of the backend.
const FILES_EACH: f64 = 2.0;

/// CON-03.
const FILES: Rule = Rule {
    id: "CON-03",
    title: "the open files suffice for the connections",
    severity: Severity::Warning,
    limit: None,
    text: "\
Each client connection needs two descriptors, its own and that of the backend (nginx counts both as
`worker_connections`, so one there), and each listener one. Judged where the file states both numbers.

Why: the process accepts a client and then cannot reach a backend. It shows as errors of healthy backends.

Example: `worker_connections 10000` beside `worker_rlimit_nofile 1024`. GitHub in 2020: a limit silently
lowered to 65,536 took a database proxy down under load.",
    check: check_files,
};

fn check_files(subject: &Subject<'_>) -> Vec<Finding> {
    let setup = subject.setup;
    let (Some(files), Some(connections)) = (setup.files_max, setup.connections_max) else {
        return Vec::new();
    };
    let each = if setup.balancer == Balancer::Nginx {
        1.0
    } else {
        FILES_EACH
    };
    let needed = connections as f64 * each + setup.listeners.len() as f64;
    if files as f64 >= needed {
        return Vec::new();
    }
    let words = Words {
        message: format!(
            "{connections} connections need {needed:.0} open files; the process asks for {files}"
        ),
        effect: format!(
            "from about {:.0} connections on, clients are accepted and find no backend",
            files as f64 / each
        ),
        fix: match setup.balancer {
            Balancer::Nginx => format!(
                "set `worker_rlimit_nofile` above {}, or lower `worker_connections`",
                number(each * connections as f64 / f64::from(setup.workers.unwrap_or(1)))
            ),
            Balancer::Haproxy => {
                "leave `ulimit-n` out: HAProxy works it out from `maxconn`".to_owned()
            }
            _ => format!("allow {needed:.0} open files"),
        },
    };
    vec![subject.finding(
        "CON-03",
        Severity::Warning,
        ("files_max", "files_max"),
        needed / files.max(1) as f64,
        words,
    )]
}

/// CON-04.
const UNBOUNDED: Rule = Rule {
    id: "CON-04",
    title: "a backend with a known capacity has a limit of requests at once",
    severity: Severity::Info,
    limit: None,
    text: "\
Where a capacity is declared, a limit of requests at once on the backend (`max_in_flight`, `maxconn`,
`max_conns`) keeps an overload at the balancer. An info, and only where no peak is known: with one, CAP-01
and CAP-02 judge the load itself.

Why: without a limit a slow backend collects requests until it runs out of memory or threads, and takes
long to come back. A limit of capacity x the slowest fine answer never holds up a sound backend.

Example: 600 requests per second with answers within 500 ms are at most 300 at once.",
    check: check_unbounded,
};

fn check_unbounded(subject: &Subject<'_>) -> Vec<Finding> {
    let faults = subject.pools().filter_map(|(pool, forecast)| {
        if pool.breakers.requests_max.is_some() || forecast.rps.is_some() {
            return None;
        }
        let open = |b: &&evenkeel_model::setup::Backend| {
            b.capacity_rps.is_some() && b.in_flight_max.is_none()
        };
        let open: Vec<_> = serving(pool).filter(open).collect();
        let first = open.first()?;
        let capacity = first.capacity_rps?;
        let p99 = pool
            .objective
            .map_or(1.0, |objective| objective.p99.as_secs_f64());
        let key = match subject.setup.balancer {
            Balancer::Evenkeel => "max_in_flight = ",
            Balancer::Haproxy => "maxconn ",
            Balancer::Nginx => "max_conns=",
            Balancer::Envoy => "max_requests: ",
        };
        let words = Words {
            message: format!(
                "{} of {} backends of pool `{}` have a capacity and no limit of requests at once",
                open.len(),
                serving(pool).count(),
                pool.name
            ),
            effect: "a slow backend collects requests without an end instead of passing them on"
                .to_owned(),
            fix: format!(
                "write `{key}{:.0}`: {} with answers within {} s",
                (capacity * p99).ceil().max(1.0),
                rate(capacity),
                number(p99)
            ),
        };
        let at = value_at(subject, &pool.path, "max_in_flight", "in_flight_max");
        Some(Fault {
            pool,
            severity: Severity::Info,
            at,
            kind: String::new(),
            magnitude: 0.0,
            words,
        })
    });
    told(subject, "CON-04", faults.collect())
}

const PORTS_MAX: Limit = Limit {
    default: 28_232.0,
    unit: "local ports for connections to one address",
};
/// How long a closed connection holds its port (TIME_WAIT on Linux), seconds.
const TIME_WAIT_S: f64 = 60.0;

/// CON-05.
const PORTS: Rule = Rule {
    id: "CON-05",
    title: "local ports suffice for connections to a backend",
    severity: Severity::Warning,
    limit: Some(PORTS_MAX),
    text: "\
Where connections to backends are not kept, each request takes a local port, and closing holds it for 60 s
(TIME_WAIT on Linux) where this side closes first. To one address there are 28,232 ports by default
(`net.ipv4.ip_local_port_range` 32768 to 60999): 470 requests per second. Judged where the rate is known;
Unix sockets need none.

Why: when the ports are used up, connections fail with `cannot assign requested address`, at the peak and
not before. `net.ipv4.tcp_tw_reuse` helps some, keeping connections helps for good.

Example: an nginx upstream without `keepalive` at 600 requests per second to one server.",
    check: check_ports,
};

fn check_ports(subject: &Subject<'_>) -> Vec<Finding> {
    let faults = subject.pools().filter_map(|(pool, forecast)| {
        if pool.timeouts.keep.is_some() {
            return None;
        }
        let rated = pool.backends.iter().zip(&forecast.backends);
        let rated = rated.filter(|(backend, _)| !backend.address.starts_with("unix:"));
        let (backend, rps) = rated
            .filter_map(|(backend, forecast)| Some((backend, forecast.expected_rps?)))
            .reduce(|most, b| if b.1 > most.1 { b } else { most })?;
        let (ports, needed) = (PORTS_MAX.of("CON-05", pool), rps * TIME_WAIT_S);
        if needed <= ports {
            return None;
        }
        let words = Words {
            message: format!(
                "pool `{}` opens a connection for each request: {} to `{}` hold up to {needed:.0} ports of {ports:.0}",
                pool.name,
                rate(rps),
                backend.name
            ),
            effect: format!("above {} new connections may fail for lack of a port", rate(ports / TIME_WAIT_S)),
            fix: match subject.setup.balancer {
                Balancer::Nginx => "write `keepalive 32` in the upstream, with `proxy_http_version 1.1` and an empty `Connection`",
                _ => "keep connections to the backends",
            }
            .to_owned(),
        };
        let at = backend.path.clone();
        Some(Fault { pool, severity: Severity::Warning, at, kind: String::new(), magnitude: needed / ports, words })
    });
    told(subject, "CON-05", faults.collect())
}

/// Requests at once that `pool` needs at its peak: rate x mean time (Little's law); `None`: not known.
fn need(
    subject: &Subject<'_>,
    pool: &Pool,
    forecast: &evenkeel_forecast::PoolForecast,
) -> Option<f64> {
    let mut need = 0.0;
    for (index, backend) in forecast.backends.iter().enumerate() {
        let rps = backend.expected_rps?;
        if rps > 0.0 {
            need += rps * subject.facts.service_mean(pool, index)?.as_secs_f64();
        }
    }
    (need > 0.0).then_some(need)
}

#[cfg(test)]
mod tests;
