//! What keeps requests from bad hosts: active checks, outlier detection, circuit breakers.
//!
//! Envoy checks a cluster that never carried traffic only every `no_traffic_interval`, and takes a host out at the
//! first answer with an unexpected status, whatever `unhealthy_threshold` says; `interval` and `fall` are what the
//! file states.

use std::time::Duration;

use evenkeel_model::setup::{CheckKind, Ejection, Health, Touches};

use crate::book::Book;
use crate::envoy::fields::{Fields, put, refuse};
use crate::envoy::node::Place;

/// Largest whole number of protobuf's `uint32`.
const WORD: u64 = u32::MAX as u64;

/// The check of the cluster at `path`. Envoy runs all of several; the first is taken and the others are gaps.
pub(super) fn health(book: &mut Book<'_>, cluster: &mut Fields<'_>, path: &str) -> Option<Health> {
    let at = format!("{path}.health");
    cluster.place_key(book, "health_checks", &at);
    let mut first = None;
    for (index, node) in cluster.list(book, "health_checks").iter().enumerate() {
        if index == 0 {
            let fields = Fields::open(book, node, &at)?;
            first = check(book, fields, &at, node.place);
        } else {
            let at = format!("{at}.{index}");
            put(book, &at, node.place);
            book.gap(&at, "health_checks, further check", Touches::Resilience);
        }
    }
    if first.is_none() {
        cluster.entry("health_checks")?;
    }
    first
}

fn check(book: &mut Book<'_>, mut fields: Fields<'_>, at: &str, place: Place) -> Option<Health> {
    let harmless = [
        "name",
        "initial_jitter",
        "interval_jitter",
        "interval_jitter_percent",
        "alt_port",
        "reuse_connection",
        "no_traffic_interval",
        "no_traffic_healthy_interval",
        "unhealthy_interval",
        "unhealthy_edge_interval",
        "healthy_edge_interval",
        "event_log_path",
        "event_logger",
        "event_service",
        "always_log_health_check_failures",
        "always_log_health_check_success",
        "tls_options",
        "transport_socket_match_criteria",
    ];
    let mut missing = Vec::new();
    let mut time = |book: &mut Book<'_>, fields: &mut Fields<'_>, name: &'static str| {
        let time = fields.some_time(book, name);
        if fields.take(name).is_none() {
            missing.push(name);
        }
        time
    };
    let timeout = time(book, &mut fields, "timeout");
    let interval = time(book, &mut fields, "interval");
    let mut count =
        |book: &mut Book<'_>, fields: &mut Fields<'_>, name: &'static str, as_: &str| {
            let number = fields.number(book, name, 0..=WORD);
            fields.place(book, name, &format!("{at}.{as_}"));
            if fields.take(name).is_none() {
                missing.push(name);
            }
            number.map(|number| number as u32)
        };
    let fall = count(book, &mut fields, "unhealthy_threshold", "fall");
    let rise = count(book, &mut fields, "healthy_threshold", "rise");
    for name in ["timeout", "interval"] {
        fields.place(book, name, &format!("{at}.{name}"));
    }
    let kind = kind(book, &mut fields);
    if kind.is_none() {
        missing
            .push("http_health_check, tcp_health_check, grpc_health_check or custom_health_check");
    }
    fields.close(book, &harmless, &Touches::Resilience);
    if !missing.is_empty() {
        let message = format!("a health check needs {}", missing.join(", "));
        refuse(book, at, place, message);
        return None;
    }
    Some(Health {
        path: at.to_owned(),
        kind: kind?,
        interval: interval?,
        timeout: timeout?,
        rise: rise?,
        fall: fall?,
    })
}

fn kind(book: &mut Book<'_>, fields: &mut Fields<'_>) -> Option<CheckKind> {
    if let Some(http) = fields.message(book, "http_health_check") {
        return Some(http_kind(book, http));
    }
    if let Some(mut tcp) = fields.message(book, "tcp_health_check") {
        let talks = tcp.take("send").is_some() | !tcp.list(book, "receive").is_empty();
        tcp.close(book, &["proxy_protocol_config"], &Touches::Resilience);
        return Some(if talks {
            CheckKind::Other("tcp_health_check with a dialogue".to_owned())
        } else {
            CheckKind::Tcp
        });
    }
    for name in ["grpc_health_check", "custom_health_check"] {
        if fields.take(name).is_some() {
            return Some(CheckKind::Other(name.to_owned()));
        }
    }
    None
}

fn http_kind(book: &mut Book<'_>, mut http: Fields<'_>) -> CheckKind {
    let path = http.text(book, "path").unwrap_or("").to_owned();
    if path.is_empty()
        && let Some(place) = http.start()
    {
        let message = "`path` of `http_health_check` is missing".to_owned();
        refuse(book, &http.at("path"), place, message);
    }
    let mut expect = (200, 200);
    let ranges = http.list(book, "expected_statuses");
    for (index, node) in ranges.iter().enumerate() {
        let at = format!("{}.{index}", http.at("expected_statuses"));
        let Some(mut range) = Fields::open(book, node, &at) else {
            continue;
        };
        let start = range.number(book, "start", 100..=599).unwrap_or(200);
        let end = range.number(book, "end", 101..=600).unwrap_or(201);
        range.close(book, &[], &Touches::Resilience);
        if start >= end {
            let message = format!("`expected_statuses` starts at {start} and ends before {end}");
            refuse(book, &at, node.place, message);
        } else if index == 0 {
            expect = (start as u16, (end - 1) as u16);
        } else {
            put(book, &at, node.place);
            let what = "expected_statuses, further range";
            book.gap(&at, what, Touches::Resilience);
        }
    }
    let harmless = [
        "host",
        "send",
        "receive",
        "response_buffer_size",
        "request_headers_to_add",
        "request_headers_to_remove",
        "retriable_statuses",
        "codec_client_type",
        "service_name_matcher",
        "method",
    ];
    http.close(book, &harmless, &Touches::Resilience);
    CheckKind::Http { path, expect }
}

/// Outlier detection of a cluster with `hosts` hosts; it is on when it is there at all.
pub(super) fn ejection(
    book: &mut Book<'_>,
    cluster: &mut Fields<'_>,
    path: &str,
    hosts: usize,
) -> Option<Ejection> {
    let at = format!("{path}.ejection");
    cluster.place_key(book, "outlier_detection", &at);
    let mut fields = cluster.message_at(book, "outlier_detection", &at)?;
    let mut number = |book: &mut Book<'_>, name: &str, default: u64, max: u64| {
        fields.number(book, name, 0..=max).unwrap_or(default)
    };
    let consecutive = number(book, "consecutive_5xx", 5, WORD);
    let enforced = number(book, "enforcing_consecutive_5xx", 100, 100);
    let gateway = number(book, "consecutive_gateway_failure", 5, WORD);
    let gateway_enforced = number(book, "enforcing_consecutive_gateway_failure", 0, 100);
    let part = number(book, "max_ejection_percent", 10, 100);
    let deviations_enforced = number(book, "enforcing_success_rate", 100, 100);
    let factor = number(book, "success_rate_stdev_factor", 1_900, WORD);
    let lasts = fields.some_time(book, "base_ejection_time");
    // The interval of the sweep decides how soon a statistical ejection comes, not whether.
    fields.some_time(book, "interval");
    let harmless = [
        "success_rate_minimum_hosts",
        "success_rate_request_volume",
        "split_external_local_origin_errors",
        "consecutive_local_origin_failure",
        "enforcing_consecutive_local_origin_failure",
        "enforcing_local_origin_success_rate",
        "failure_percentage_threshold",
        "enforcing_failure_percentage",
        "enforcing_failure_percentage_local_origin",
        "failure_percentage_minimum_hosts",
        "failure_percentage_request_volume",
        "max_ejection_time",
        "max_ejection_time_jitter",
        "successful_active_health_check_uneject_host",
        "monitors",
    ];
    for (name, as_) in [
        ("consecutive_5xx", "consecutive"),
        ("base_ejection_time", "lasts"),
        ("max_ejection_percent", "part_max"),
        ("success_rate_stdev_factor", "deviations"),
    ] {
        fields.place(book, name, &format!("{at}.{as_}"));
    }
    let part = if fields.flag(book, "always_eject_one_host") {
        (part as f64 / 100.0).max(1.0 / hosts.max(1) as f64)
    } else {
        part as f64 / 100.0
    };
    fields.close(book, &harmless, &Touches::Resilience);
    let by_status = (enforced > 0).then_some(consecutive);
    let by_gateway = (gateway_enforced > 0).then_some(gateway);
    let fewest = [by_status, by_gateway].into_iter().flatten().min();
    Some(Ejection {
        path: at,
        consecutive: fewest.map(|count| count as u32),
        lasts: lasts.unwrap_or(Duration::from_secs(30)),
        part_max: part,
        deviations: (deviations_enforced > 0).then_some(factor as f64 / 1_000.0),
    })
}

/// Limits of a cluster, as Envoy applies them to the default priority.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Breakers {
    pub(super) connections: u64,
    pub(super) pending: u64,
    pub(super) requests: u64,
    pub(super) retries: u64,
    /// Retries over requests in flight; replaces `retries`.
    pub(super) retry_budget: Option<f64>,
    /// Connections to one host.
    pub(super) per_host: Option<u64>,
}

/// The limits of the cluster at `path`, defaults filled in.
pub(super) fn breakers(book: &mut Book<'_>, cluster: &mut Fields<'_>, path: &str) -> Breakers {
    let mut breakers = Breakers {
        connections: 1_024,
        pending: 1_024,
        requests: 1_024,
        retries: 3,
        retry_budget: None,
        per_host: None,
    };
    let at = format!("{path}.breakers");
    cluster.place_key(book, "circuit_breakers", &at);
    let Some(mut fields) = cluster.message_at(book, "circuit_breakers", &at) else {
        return breakers;
    };
    let thresholds = fields
        .list(book, "thresholds")
        .iter()
        .map(|node| (node, false));
    let thresholds: Vec<_> = thresholds.collect();
    let per_host = fields.list(book, "per_host_thresholds").iter();
    for (node, is_per_host) in thresholds
        .into_iter()
        .chain(per_host.map(|node| (node, true)))
    {
        if let Some(threshold) = Fields::open(book, node, &at) {
            apply(book, threshold, path, is_per_host, &mut breakers);
        }
    }
    fields.close(book, &[], &Touches::Resilience);
    breakers
}

fn apply(
    book: &mut Book<'_>,
    mut threshold: Fields<'_>,
    path: &str,
    is_per_host: bool,
    breakers: &mut Breakers,
) {
    let priority = threshold.word(book, "priority", &["DEFAULT", "HIGH"]);
    let connections = threshold.number(book, "max_connections", 0..=WORD);
    let pending = threshold.number(book, "max_pending_requests", 0..=WORD);
    let requests = threshold.number(book, "max_requests", 0..=WORD);
    let retries = threshold.number(book, "max_retries", 0..=WORD);
    let is_default = priority.is_none_or(|priority| priority == "DEFAULT");
    if is_default && is_per_host {
        breakers.per_host = connections;
    } else if is_default {
        breakers.connections = connections.unwrap_or(breakers.connections);
        breakers.pending = pending.unwrap_or(breakers.pending);
        breakers.requests = requests.unwrap_or(breakers.requests);
        breakers.retries = retries.unwrap_or(breakers.retries);
        for (name, as_) in [
            ("max_connections", "breakers.connections_max"),
            ("max_pending_requests", "queue_max"),
            ("max_requests", "breakers.requests_max"),
            ("max_retries", "breakers.retries_max"),
            ("retry_budget", "retry.budget"),
        ] {
            threshold.place(book, name, &format!("{path}.{as_}"));
        }
    }
    if let Some(mut budget) = threshold.message(book, "retry_budget") {
        let part = budget.percent(book, "budget_percent").unwrap_or(0.2);
        if is_default && !is_per_host {
            breakers.retry_budget = Some(part);
        }
        let harmless = ["min_retry_concurrency", "budget_interval"];
        budget.close(book, &harmless, &Touches::Resilience);
    }
    let harmless = ["track_remaining", "max_connection_pools"];
    threshold.close(book, &harmless, &Touches::Resilience);
}
