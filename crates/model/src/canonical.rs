//! A configuration as text in one agreed form, and its content hash.
//!
//! The form spells out every effective value, defaults included, so that a changed default of a later
//! version cannot change what an old revision means. The one thing it leaves out is a weight that was
//! derived from capacity: "follows the capacity" is itself a statement that must survive.
//! The same list of values serves three purposes: text for people, lines for the hash, entries for [`crate::diff`].

mod backends;
mod route;
mod tls;

use std::fmt::Write as _;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::config::{
    Affinity, Choices, Config, Ejection, Expectation, HashKey, Health, HealthCheck, Lifetime,
    Listener, NPlusOne, Outcome, Overload, Pool, Protocols, Remedies, Remedy, Reported, RetryOn,
    Role, Session, Tunnels,
};
use crate::day::Day;
use crate::finding::Severity;
use crate::policy::{Policy, Waiver, rule};
use crate::record::ContentHash;
use crate::units::format_duration;

pub use tls::certificate_tables;

/// First line of what is hashed: a later form of the canonical text must not collide with this one.
const HASH_DOMAIN: &str = "evenkeel configuration 1\n";

/// One table of the canonical form: where it stands, how it is headed, what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    /// Path of the table, empty for the top level; `route.0` for an element of a list.
    pub(crate) path: String,
    /// Header line; empty for the top level.
    header: String,
    /// Keys with their values as TOML, in the order of the documentation.
    pub(crate) entries: Vec<(&'static str, String)>,
}

/// The configuration as TOML with every effective value. Reading it back gives an equal [`Config`].
pub fn to_toml(config: &Config) -> String {
    let mut text = String::new();
    for section in sections(config) {
        if !text.is_empty() {
            text.push('\n');
        }
        if !section.header.is_empty() {
            text.push_str(&section.header);
            text.push('\n');
        }
        for (key, value) in &section.entries {
            text.push_str(key);
            text.push_str(" = ");
            text.push_str(value);
            text.push('\n');
        }
    }
    text
}

/// SHA-256 over the sorted lines `path = value`: comments, order of tables and of keys, and spelled-out
/// defaults do not matter; the order of routes and of escalation levels does.
pub fn content_hash(config: &Config) -> ContentHash {
    let mut lines = entries(config);
    lines.sort_unstable();
    let mut hasher = Sha256::new();
    hasher.update(HASH_DOMAIN.as_bytes());
    for (path, value) in &lines {
        hasher.update(path.as_bytes());
        hasher.update(b" = ");
        hasher.update(value.as_bytes());
        hasher.update(b"\n");
    }
    ContentHash(hasher.finalize().into())
}

/// Every value with its full path, in file order.
pub(crate) fn entries(config: &Config) -> Vec<(String, String)> {
    let mut entries = Vec::new();
    for section in sections(config) {
        for (key, value) in section.entries {
            let path = if section.path.is_empty() {
                key.to_owned()
            } else {
                format!("{}.{key}", section.path)
            };
            entries.push((path, value));
        }
    }
    entries
}

/// One segment of a path, in quotes where TOML needs them: `web-1`, `"web.1"`.
pub fn path_segment(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !name.is_empty() && name.chars().all(bare) {
        name.to_owned()
    } else {
        quote(name)
    }
}

/// A list of what is written already.
fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// A basic TOML string.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => {
                write!(quoted, "\\u{:04X}", u32::from(c)).unwrap_or_default();
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn duration(value: Duration) -> String {
    quote(&format_duration(value))
}

/// Whole numbers without a fraction, others in the shortest form that reads back to the same bits.
fn number(value: f64) -> String {
    const WHOLE_MAX: f64 = 1e15;
    if value.fract() == 0.0 && value.abs() < WHOLE_MAX {
        format!("{value:.0}")
    } else {
        format!("{value:?}")
    }
}

fn expect_entries(expectation: &Expectation) -> Vec<(&'static str, String)> {
    let request = format!("{} {}", expectation.method, expectation.url);
    let mut entries = vec![
        ("listener", quote(expectation.listener.as_str())),
        ("request", quote(&request)),
    ];
    if !expectation.headers.is_empty() {
        entries.push(("headers", headers_text(&expectation.headers)));
    }
    let outcome = &expectation.outcome;
    match outcome {
        Outcome::Pool(pool) => entries.push(("pool", quote(pool.as_str()))),
        Outcome::Redirect { to, .. } => entries.push(("redirect", quote(to))),
        Outcome::NoRoute | Outcome::Ambiguous | Outcome::Status(_) => {}
    }
    entries.extend(
        outcome
            .status()
            .map(|status| ("status", status.to_string())),
    );
    let sent = &expectation.sent;
    entries.extend(sent.path.iter().map(|path| ("path_sent", quote(path))));
    entries.extend(sent.host.iter().map(|host| ("host_sent", quote(host))));
    entries
}

fn headers_text(headers: &[(String, String)]) -> String {
    let header =
        |(name, value): &(String, String)| format!("{} = {}", path_segment(name), quote(value));
    let headers: Vec<String> = headers.iter().map(header).collect();
    format!("{{ {} }}", headers.join(", "))
}

/// The tables of `config` in file order.
fn sections(config: &Config) -> Vec<Section> {
    let mut sections = vec![top(config)];
    sections.extend(operations(config));
    for listener in &config.listeners {
        let section = listener_section(listener);
        let tls = listener.tls.as_ref();
        let tls = tls.map(|tls| tls::tls_section(&section.path, tls));
        sections.push(section);
        sections.extend(tls);
    }
    sections.extend(config.certificates.iter().map(tls::seen_section));
    for (index, route) in config.routes.iter().enumerate() {
        sections.push(element("route", index, route::entries(route)));
    }
    for (index, expectation) in config.expectations.iter().enumerate() {
        sections.push(element("expect", index, expect_entries(expectation)));
    }
    for pool in &config.pools {
        pool_sections(pool, &mut sections);
    }
    sections
}

fn table(path: String, entries: Vec<(&'static str, String)>) -> Section {
    Section {
        header: format!("[{path}]"),
        path,
        entries,
    }
}

fn element(list: &str, index: usize, entries: Vec<(&'static str, String)>) -> Section {
    Section {
        header: format!("[[{list}]]"),
        path: format!("{list}.{index}"),
        entries,
    }
}

fn top(config: &Config) -> Section {
    let mut entries = Vec::new();
    if let Some(workers) = config.workers {
        entries.push(("workers", workers.to_string()));
    }
    if let Some(instance) = &config.here.instance {
        entries.push(("instance", quote(instance.as_str())));
    }
    if let Some(zone) = &config.here.zone {
        entries.push(("zone", quote(zone.as_str())));
    }
    entries.push(("watch", config.watch.to_string()));
    if let Some(path) = &config.access_log {
        entries.push(("access_log", quote(&path.to_string_lossy())));
    }
    if !config.access_log_fields.is_empty() {
        let fields = config.access_log_fields.iter();
        let fields = fields.map(|field| quote(&field.name()));
        entries.push(("access_log_fields", list(fields)));
    }
    Section {
        path: String::new(),
        header: String::new(),
        entries,
    }
}

/// Admin, audits, drills and notification: what serves operators rather than traffic.
fn operations(config: &Config) -> Vec<Section> {
    let mut sections = vec![table(
        "admin".to_owned(),
        vec![("address", quote(&config.admin.address.to_string()))],
    )];
    for token in &config.admin.tokens {
        let role = match token.role {
            Role::Read => "read",
            Role::Operate => "operate",
        };
        sections.push(table(
            format!("admin.token.{}", path_segment(token.name.as_str())),
            vec![
                ("file", quote(&token.file.to_string_lossy())),
                ("role", quote(role)),
            ],
        ));
    }
    if let Some(tracing) = &config.tracing {
        let entries = vec![
            ("endpoint", quote(&tracing.endpoint)),
            ("sample", quote(&tracing.sample.to_string())),
            ("follow", tracing.follow.to_string()),
            ("service_name", quote(&tracing.service_name)),
        ];
        sections.push(table("tracing".to_owned(), entries));
    }
    let overload = overload_entries(config.overload);
    if !overload.is_empty() {
        sections.push(table("overload".to_owned(), overload));
    }
    sections.push(table(
        "audit".to_owned(),
        vec![("every", duration(config.audit_every))],
    ));
    sections.extend(config.waivers.iter().enumerate().map(waiver));
    sections.push(table(
        "drills".to_owned(),
        vec![("allowed", config.drills_allowed.to_string())],
    ));
    for receiver in &config.receivers {
        sections.push(table(
            format!("notify.{}", path_segment(receiver.name.as_str())),
            vec![
                ("url", quote(&receiver.url)),
                (
                    "secret_file",
                    quote(&receiver.secret_file.to_string_lossy()),
                ),
            ],
        ));
    }
    for webhook in &config.webhooks {
        sections.push(table(
            format!("webhook.{}", path_segment(webhook.name.as_str())),
            vec![("secret_file", quote(&webhook.secret_file.to_string_lossy()))],
        ));
    }
    for (index, level) in config.escalation.iter().enumerate() {
        let names = level.notify.iter().map(|name| quote(name.as_str()));
        let entries = vec![
            ("name", quote(level.name.as_str())),
            ("notify", list(names)),
            ("ack_within", duration(level.ack_within)),
        ];
        sections.push(element("escalation", index, entries));
    }
    sections
}

fn overload_entries(overload: Overload) -> Vec<(&'static str, String)> {
    let memory = overload.memory;
    let memory = memory.map(|memory| ("memory", quote(&memory.to_string())));
    let connections = overload.connections;
    let connections = connections.map(|most| ("connections", most.to_string()));
    memory.into_iter().chain(connections).collect()
}

fn waiver((index, waiver): (usize, &Waiver)) -> Section {
    let mut entries = vec![("rule", quote(&waiver.rule))];
    if let Some(pool) = &waiver.pool {
        entries.push(("pool", quote(pool)));
    }
    let until = Day::before(waiver.until).to_string();
    entries.extend([("reason", quote(&waiver.reason)), ("until", quote(&until))]);
    element("audit.waiver", index, entries)
}

/// What differs from the rules themselves: without a policy there are no lines, and old hashes stay.
fn policy_sections(path: &str, policy: &Policy, sections: &mut Vec<Section>) {
    // Only ids from the list of rules come out of the reader.
    let id = |id: &str| rule(id).map(|rule| rule.id);
    let severity =
        |(rule, severity): (&String, &Severity)| Some((id(rule)?, quote(severity.as_str())));
    let limit = |(rule, limit): (&String, &f64)| Some((id(rule)?, number(*limit)));
    let severities: Vec<_> = policy.severities.iter().filter_map(severity).collect();
    let limits: Vec<_> = policy.limits.iter().filter_map(limit).collect();
    for (key, entries) in [("severity", severities), ("limit", limits)] {
        if !entries.is_empty() {
            sections.push(table(format!("{path}.audit.{key}"), entries));
        }
    }
}

fn listener_section(listener: &Listener) -> Section {
    let mut entries = vec![
        ("address", quote(&listener.address.to_string())),
        ("head_timeout", duration(listener.head_timeout)),
        ("body_timeout", duration(listener.body_timeout)),
        ("idle_timeout", duration(listener.idle_timeout)),
        ("write_timeout", duration(listener.write_timeout)),
        ("head_max", quote(&listener.head_max.to_string())),
        ("body_max", quote(&listener.body_max.to_string())),
        ("connections_max", listener.connections_max.to_string()),
    ];
    entries.extend(lifetime_entries(
        &listener.lifetime,
        ("connection_max_age", "connection_max_requests"),
    ));
    let accept_rate = listener.accept_rate;
    entries.extend(accept_rate.map(|rate| ("accept_rate", rate.to_string())));
    entries.extend(listener.proxy_protocol.as_ref().map(|proxied| {
        let from = proxied.from.iter();
        let from = from.map(|network| quote(&network.to_string()));
        ("proxy_protocol.from", list(from))
    }));
    entries.extend(protocol_entries(listener.protocols));
    let path = path_segment(listener.name.as_str());
    table(format!("listener.{path}"), entries)
}

/// Nothing where HTTP/1.1 is spoken as before, so that the hashes of older revisions stay.
fn protocol_entries(protocols: Protocols) -> impl Iterator<Item = (&'static str, String)> {
    let default = Protocols::default();
    let spoken = Protocols {
        streams_max: default.streams_max,
        ..protocols
    };
    let spoken = (spoken != default).then(|| ("protocols", list(protocols.words().map(quote))));
    let streams_max = protocols.streams_max;
    let streams = (streams_max != default.streams_max).then(|| streams_max.to_string());
    let streams = streams.map(|max| ("streams_max", max));
    spoken.into_iter().chain(streams)
}

fn lifetime_entries(
    lifetime: &Lifetime,
    (age, requests): (&'static str, &'static str),
) -> impl Iterator<Item = (&'static str, String)> {
    let age = lifetime.age_max.map(|max| (age, duration(max)));
    let requests = lifetime.requests_max.map(|max| (requests, max.to_string()));
    age.into_iter().chain(requests)
}

/// Nothing where nothing is tied, so that the hashes of older revisions stay.
fn affinity_entries(affinity: &Affinity) -> Vec<(&'static str, String)> {
    let hash = affinity.hash.as_ref().map(|key| match key {
        HashKey::Header(name) => ("hash.header", quote(name)),
        HashKey::Cookie(name) => ("hash.cookie", quote(name)),
        HashKey::Query(name) => ("hash.query", quote(name)),
        HashKey::Path => ("hash.path", true.to_string()),
        HashKey::ClientAddress => ("hash.client_address", true.to_string()),
    });
    let bound = affinity
        .bounded_load
        .map(|factor| ("bounded_load", number(factor)));
    let sticky = affinity.sticky.iter().flat_map(|cookie| {
        let name = ("sticky.cookie", quote(&cookie.name));
        [name, ("sticky.ttl", duration(cookie.ttl))]
    });
    hash.into_iter().chain(bound).chain(sticky).collect()
}

fn pool_sections(pool: &Pool, sections: &mut Vec<Section>) {
    let path = format!("pool.{}", path_segment(pool.name.as_str()));
    let mut entries = spread_entries(pool);
    entries.extend(connection_entries(pool));
    entries.extend(limit_entries(pool));
    sections.push(table(path.clone(), entries));
    if let Some(ejection) = &pool.ejection {
        sections.push(table(
            format!("{path}.ejection"),
            ejection_entries(ejection),
        ));
    }
    if let Some(health) = &pool.health {
        sections.push(table(format!("{path}.health"), health_entries(health)));
    }
    let tls = pool.tls.as_ref();
    sections.extend(tls.map(|tls| tls::backend_section(&path, tls)));
    let remedies = remedy_entries(pool.remedies);
    if !remedies.is_empty() {
        sections.push(table(format!("{path}.remedies"), remedies));
    }
    if let Some(members) = &pool.members {
        let entries = backends::members_entries(members);
        sections.push(table(format!("{path}.members"), entries));
    }
    for (zone, origin) in pool.place.locality.iter().flat_map(|l| &l.origins) {
        let path = format!("{path}.zone.{}", path_segment(zone.as_str()));
        let origin = ("origin", quote(&origin.to_string()));
        sections.push(table(path, vec![origin]));
    }
    policy_sections(&path, &pool.policy, sections);
    // What was found at run time was not declared: a change of members is no other revision.
    for backend in pool.backends.iter().filter(|b| !b.discovered) {
        let path = format!("{path}.backend.{}", path_segment(backend.name.as_str()));
        sections.push(table(path, backends::backend_entries(backend)));
    }
}

fn spread_entries(pool: &Pool) -> Vec<(&'static str, String)> {
    let mut entries = vec![
        ("algorithm", quote(pool.algorithm.as_str())),
        ("intent", quote(pool.intent.as_str())),
    ];
    entries.extend(affinity_entries(&pool.affinity));
    if let Some(peak_rps) = pool.peak_rps {
        entries.push(("peak_rps", number(peak_rps)));
    }
    entries.extend([
        ("headroom", quote(&pool.headroom.to_string())),
        ("tolerance", quote(&pool.tolerance.to_string())),
        ("min_healthy", pool.min_healthy.to_string()),
        ("n_plus_one", quote(n_plus_one_word(pool.n_plus_one))),
        (
            "objective.error_rate",
            quote(&pool.objective.error_rate.to_string()),
        ),
        ("objective.p99", duration(pool.objective.p99)),
    ]);
    if pool.false_alarm_every != Pool::FALSE_ALARM_EVERY_DEFAULT {
        entries.push(("false_alarm_every", duration(pool.false_alarm_every)));
    }
    if let Session::Cookie(cookie) = &pool.session {
        entries.push(("session.cookie", quote(cookie)));
    }
    entries
}

fn connection_entries(pool: &Pool) -> Vec<(&'static str, String)> {
    let mut entries = vec![
        ("connect_timeout", duration(pool.connect_timeout)),
        ("response_timeout", duration(pool.response_timeout)),
        ("idle_timeout", duration(pool.idle_timeout)),
        ("request_timeout", duration(pool.request_timeout)),
    ];
    // Nothing where it is the default, so that the hashes of older revisions stay.
    let usual = Tunnels::default();
    if pool.tunnels.idle != usual.idle {
        entries.push(("tunnel_idle", duration(pool.tunnels.idle)));
    }
    if pool.tunnels.drain != usual.drain {
        entries.push(("tunnel_drain", duration(pool.tunnels.drain)));
    }
    match pool.choices {
        Choices::DEFAULT => {}
        Choices::Drawn(count) => entries.push(("choices", count.to_string())),
        Choices::All => entries.push(("choices", quote("all"))),
    }
    entries.extend(lifetime_entries(
        &pool.keep,
        ("keep_max_age", "keep_max_requests"),
    ));
    entries
}

fn limit_entries(pool: &Pool) -> Vec<(&'static str, String)> {
    let mut entries = Vec::new();
    if let Some(max_in_flight) = pool.max_in_flight {
        entries.push(("max_in_flight", max_in_flight.to_string()));
    }
    if let Some(adaptive) = &pool.adaptive {
        entries.push(("adaptive.min", adaptive.min.to_string()));
        entries.push(("adaptive.max", adaptive.max.to_string()));
    }
    if let Some(max_in_flight_total) = pool.max_in_flight_total {
        entries.push(("max_in_flight_total", max_in_flight_total.to_string()));
    }
    if let Some(queue) = &pool.queue {
        entries.push(("queue.length", queue.length.to_string()));
        entries.push(("queue.timeout", duration(queue.timeout)));
    }
    entries.extend([
        ("harmed_clients_min", pool.harmed_clients_min.to_string()),
        ("retry.attempts", pool.retry.attempts.to_string()),
        ("retry.budget", quote(&pool.retry.budget.to_string())),
    ]);
    // Keys that came later stand here only where they differ: the hash of an older file stays what it was.
    if let Some(slow_start) = pool.slow_start {
        entries.push(("slow_start", duration(slow_start)));
    }
    if pool.overprovisioning.to_bits() != Pool::OVERPROVISIONING_DEFAULT.to_bits() {
        entries.push(("overprovisioning", number(pool.overprovisioning)));
    }
    if let Some(subset) = &pool.place.subset {
        entries.push(("subset.size", subset.size.to_string()));
    }
    if pool.place.locality.is_some() {
        entries.push(("zone_aware", true.to_string()));
    }
    if pool.retry.on != RetryOn::default() {
        entries.push(("retry.on", causes(pool.retry.on)));
    }
    if pool.retry.unsafe_methods {
        entries.push(("retry.unsafe_methods", "true".to_owned()));
    }
    if let Some(hedge) = &pool.hedge {
        entries.push(("hedge.after", quote(&hedge.after.to_string())));
        entries.push(("hedge.budget", quote(&hedge.budget.to_string())));
    }
    if let Some(reported) = &pool.reported {
        entries.extend(reported_entries(reported));
    }
    entries.extend(probe_entries(pool));
    entries
}

/// Those that differ from the default, so that the hashes of older revisions stay.
fn remedy_entries(remedies: Remedies) -> Vec<(&'static str, String)> {
    let usual = Remedies::default();
    let moved = Remedy::ALL.into_iter();
    let moved = moved.filter(|remedy| remedies.of(*remedy) != usual.of(*remedy));
    let entry = |remedy: Remedy| (remedy.as_str(), quote(remedies.of(remedy).as_str()));
    moved.map(entry).collect()
}

fn probe_entries(pool: &Pool) -> Vec<(&'static str, String)> {
    let Some(probe) = &pool.probe else {
        return Vec::new();
    };
    let mut entries = vec![
        ("probe.path", quote(&probe.path)),
        ("probe.rate", number(probe.rate)),
        ("probe.timeout", duration(probe.timeout)),
    ];
    if let Some(interval) = probe.idle_interval {
        entries.push(("probe.idle_interval", duration(interval)));
    }
    entries
}

fn reported_entries(reported: &Reported) -> [(&'static str, String); 6] {
    [
        ("reported.signal", quote(reported.signal.as_str())),
        ("reported.period", duration(reported.period)),
        ("reported.min", number(reported.min)),
        ("reported.max", number(reported.max)),
        ("reported.stale_after", duration(reported.stale_after)),
        ("reported.error_penalty", number(reported.error_penalty)),
    ]
}

fn causes(on: RetryOn) -> String {
    list(on.causes().map(|cause| quote(cause.as_str())))
}

fn health_entries(health: &Health) -> Vec<(&'static str, String)> {
    let mut entries = Vec::new();
    match &health.check {
        HealthCheck::Tcp => entries.push(("kind", quote("tcp"))),
        HealthCheck::Http(http) => {
            entries.push(("path", quote(&http.path)));
            if let Some(host) = &http.host {
                entries.push(("host", quote(host)));
            }
        }
    }
    entries.extend([
        ("interval", duration(health.interval)),
        ("timeout", duration(health.timeout)),
        ("rise", health.rise.to_string()),
        ("fall", health.fall.to_string()),
    ]);
    if let Some((low, high)) = health.http().map(|http| http.expect_status) {
        let expect_status = if low == high {
            low.to_string()
        } else {
            quote(&format!("{low}-{high}"))
        };
        entries.push(("expect_status", expect_status));
    }
    if health.interval_down != health.interval {
        entries.push(("interval_down", duration(health.interval_down)));
    }
    entries
}

fn ejection_entries(ejection: &Ejection) -> Vec<(&'static str, String)> {
    let mut entries = vec![
        ("consecutive", ejection.consecutive.to_string()),
        ("success_rate", quote(&ejection.success_rate.to_string())),
    ];
    if let Some(latency) = ejection.latency {
        entries.push(("latency", number(latency)));
    }
    entries.extend([
        ("time", duration(ejection.time)),
        ("time_max", duration(ejection.time_max)),
    ]);
    entries
}

/// The word of `n_plus_one` in the configuration.
pub(crate) const fn n_plus_one_word(value: NPlusOne) -> &'static str {
    match value {
        NPlusOne::Warn => "warn",
        NPlusOne::Refuse => "refuse",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{content_hash, path_segment, to_toml};
    use crate::diff::diff;
    use crate::parse::parse;
    use crate::parse::strategies::{config, pair};

    #[test]
    fn a_segment_is_quoted_only_where_toml_needs_it() {
        assert_eq!(path_segment("web-1"), "web-1");
        assert_eq!(path_segment("web.1"), "\"web.1\"");
    }

    #[test]
    fn the_hash_of_a_file_stays_the_same_between_versions() {
        let text = "[listener.web]\naddress='127.0.0.1:80'\n[[route]]\nlistener='web'\npool='p'\n[pool.p.backend.b]\naddress='127.0.0.1:81'\n";
        let config = parse(text, None).config.unwrap();
        assert_eq!(
            content_hash(&config).to_string(),
            "9814bf2ba3fe73d0667ca21d3bee146b3784c150ffad7dd5befadba7a7d9b73d"
        );
        let text = to_toml(&config);
        let begin =
            "watch = false\n\n[admin]\naddress = \"127.0.0.1:7700\"\n\n[audit]\nevery = \"1d\"\n";
        let end = "[pool.p.backend.b]\naddress = \"127.0.0.1:81\"\n";
        assert!(text.starts_with(begin) && text.ends_with(end), "{text}");
    }

    proptest! {
        #[test]
        fn order_of_tables_does_not_matter_to_the_hash_but_order_of_routes_does(config in config()) {
            let mut other = config.clone();
            other.pools.reverse();
            other.listeners.reverse();
            other.receivers.reverse();
            other.webhooks.reverse();
            other.pools.iter_mut().for_each(|pool| pool.backends.reverse());
            prop_assert_eq!(content_hash(&other), content_hash(&config));
            other.routes.reverse();
            prop_assert_eq!(content_hash(&other) == content_hash(&config), other.routes == config.routes);
        }

        #[test]
        fn the_hash_is_equal_exactly_when_the_difference_is_empty((a, b) in pair()) {
            prop_assert_eq!(content_hash(&a) == content_hash(&b), diff(&a, &b).is_empty());
            prop_assert!(diff(&a, &a).is_empty());
        }
    }
}
