//! A configuration that was read, in a compact form for snapshots: one line for each part, values as they are in effect.

#![expect(clippy::unwrap_used, reason = "writing to a string cannot fail")]

use std::fmt::Write as _;

use evenkeel_import::Imported;
use evenkeel_model::setup::{Backend, Check, Pool, Route, Setup, Wait};

/// All that came out: setup, findings with their places.
pub(crate) fn summary(imported: &Imported) -> String {
    let mut text = imported
        .setup
        .as_ref()
        .map_or_else(|| "no setup\n".to_owned(), setup);
    for finding in &imported.findings {
        let at = finding.location.as_ref().map_or_else(
            || "-".to_owned(),
            |place| format!("{}:{}", place.line, place.column),
        );
        let file = finding.file.as_deref().unwrap_or("-");
        let (severity, id, message) = (finding.severity, finding.id, &finding.message);
        writeln!(text, "{severity} {id} {file}:{at} {message}").unwrap();
    }
    text
}

fn setup(setup: &Setup) -> String {
    let mut text = format!(
        "{} workers={} connections={} files={}\n",
        setup.balancer.as_str(),
        opt(setup.workers),
        opt(setup.connections_max),
        opt(setup.files_max),
    );
    for l in &setup.listeners {
        let kind = if l.is_http { "http" } else { "tcp" };
        let tls = if l.is_tls { " tls" } else { "" };
        let (head, client, idle) = (
            wait(l.head_timeout),
            wait(l.client_timeout),
            wait(l.idle_timeout),
        );
        let most = opt(l.connections_max);
        let (name, address) = (&l.name, &l.address);
        writeln!(text, "listener {name} at {address} {kind}{tls} head={head} client={client} idle={idle} most={most}")
            .unwrap();
    }
    for r in &setup.routes {
        text.push_str(&route(r));
    }
    for p in &setup.pools {
        text.push_str(&pool(p));
    }
    for gap in &setup.gaps {
        writeln!(text, "gap {:?}: {}", gap.touches, gap.what).unwrap();
    }
    text
}

fn route(route: &Route) -> String {
    let host = route.host.as_deref().unwrap_or("*");
    let prefix = route.path_prefix.as_deref().unwrap_or("");
    let whole = if route.whole_segments { " whole" } else { "" };
    let condition = route
        .condition
        .as_ref()
        .map_or_else(String::new, |c| format!(" if [{c}]"));
    let targets: Vec<String> = route
        .targets
        .iter()
        .map(|(pool, part)| format!("{pool} {part:.3}"))
        .collect();
    let targets = if targets.is_empty() {
        "nobody".to_owned()
    } else {
        targets.join(", ")
    };
    format!(
        "route {} {host}{prefix}{whole}{condition} -> {targets}\n",
        route.listener
    )
}

fn pool(pool: &Pool) -> String {
    let kind = if pool.is_http { "http" } else { "tcp" };
    let t = &pool.timeouts;
    let keep = t.keep.map_or_else(|| "-".to_owned(), wait);
    let r = &pool.retry;
    let mut text = format!("pool {} {kind} {:?}\n", pool.name, pool.selection);
    writeln!(
        text,
        "  connect={} response={} idle={} request={} queue={} keep={keep} waiting={}",
        wait(t.connect),
        wait(t.response),
        wait(t.idle),
        wait(t.request),
        wait(t.queue),
        opt(pool.queue_max),
    )
    .unwrap();
    writeln!(
        text,
        "  retries={} budget={} unsafe={} after_sent={} {:?} {:?}",
        opt(r.attempts),
        opt(r.budget),
        r.unsafe_methods,
        r.after_sent,
        pool.failover.backups,
        pool.failover.nobody,
    )
    .unwrap();
    let f = &pool.failover;
    if f.panic_below > 0.0 || f.overprovisioning > 1.0 {
        writeln!(
            text,
            "  panic={} overprovisioning={}",
            f.panic_below, f.overprovisioning
        )
        .unwrap();
    }
    let b = &pool.breakers;
    if b.connections_max
        .or(b.requests_max)
        .or(b.retries_max)
        .is_some()
    {
        let (connections, requests) = (opt(b.connections_max), opt(b.requests_max));
        let retries = opt(b.retries_max);
        writeln!(
            text,
            "  breakers connections={connections} requests={requests} retries={retries}"
        )
        .unwrap();
    }
    for part in [
        pool.fallback.as_ref().map(|part| format!("{part:?}")),
        pool.sticky.as_ref().map(|part| format!("{part:?}")),
        pool.health.as_ref().map(|part| format!("{part:?}")),
        pool.ejection.as_ref().map(|part| format!("{part:?}")),
    ]
    .into_iter()
    .flatten()
    {
        writeln!(text, "  {part}").unwrap();
    }
    for b in &pool.backends {
        text.push_str(&backend(b));
    }
    text
}

fn backend(b: &Backend) -> String {
    let declared = if b.weight_path.is_some() { "" } else { "*" };
    let mut text = format!(
        "  {} at {} weight={}{declared} {:?}",
        b.name, b.address, b.weight, b.role
    );
    if b.identity != b.address {
        write!(text, " identity={}", b.identity).unwrap();
    }
    if b.is_degraded {
        text.push_str(" degraded");
    }
    if let Some((pool, name)) = &b.follows {
        write!(text, " follows={pool}/{name}").unwrap();
    }
    if b.priority > 0 {
        write!(text, " priority={}", b.priority).unwrap();
    }
    if let Some(most) = b.in_flight_max {
        let each = if b.limit_per_worker { " a worker" } else { "" };
        write!(text, " most={most}{each}").unwrap();
    }
    if let Some(time) = b.slow_start {
        write!(text, " slow_start={time:?}").unwrap();
    }
    match &b.check {
        Check::AsPool => {}
        Check::Never => text.push_str(" unchecked"),
        Check::Own(health) => write!(text, " {health:?}").unwrap(),
    }
    if let Some(passive) = b.passive {
        write!(
            text,
            " out after {} in {:?}",
            passive.failures, passive.window
        )
        .unwrap();
    }
    for (name, value) in [("zone", &b.zone), ("version", &b.version)] {
        if let Some(value) = value {
            write!(text, " {name}={value}").unwrap();
        }
    }
    if let Some(is_verified) = b.tls_verified {
        write!(text, " tls verified={is_verified}").unwrap();
    }
    text.push('\n');
    text
}

fn wait(wait: Wait) -> String {
    match wait {
        Wait::For(duration) => format!("{duration:?}"),
        Wait::Endless => "endless".to_owned(),
    }
}

fn opt<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
