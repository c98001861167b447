//! The samples of each metric, from the published present.

use std::sync::Arc;

use evenkeel_control::{
    BackendCounters, Dialled, Dials, Handshake, Handshakes, Hedges, Http2Counts, Leads, Looks,
    OverloadView, Probes, Published, RefusedHeaders, RouteCounter, SpanCounts, TunnelCounts,
    WorkerCounters,
};
use evenkeel_guard::{BackendView, GuardView, HealthView, PoolView, Status};
use evenkeel_model::ids::Name;
use evenkeel_model::record::IncidentSeverity;
use evenkeel_model::tally::{Latency, LatencyTotal, RouteKey};

use super::names::Metric;
use super::traffic;
use crate::api::webhooks::Messages;

/// Buckets of the workers that make one bucket here: one per doubling remains, 16 in all.
const THINNED: usize = 4;

/// Every state of the instance.
const STATES: [Status; 6] = [
    Status::Ok,
    Status::Drift,
    Status::Verifying,
    Status::Held,
    Status::RollingBack,
    Status::Incident,
];

/// A value with its labels.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) labels: Vec<(&'static str, String)>,
    pub(super) value: Value,
}

/// A value.
#[derive(Debug)]
pub(super) enum Value {
    /// Of a counter.
    Count(u64),
    /// Of a gauge.
    Gauge(f64),
    /// Of a histogram: seconds; the buckets do not hold each other.
    Times {
        sum: f64,
        count: u64,
        buckets: Vec<(f64, u64)>,
    },
}

/// The samples of a metric; none where nothing is known.
pub(super) fn of(metric: Metric, published: &Published, messages: &Messages) -> Vec<Sample> {
    let view = published.view.as_ref();
    match metric {
        Metric::Picks | Metric::Responses | Metric::Harmed | Metric::ResponseTime => {
            counted(metric, published)
        }
        Metric::Unpicked => {
            let pools = published.pools.iter();
            pools
                .map(|(pool, counters)| {
                    sample(
                        [("pool", pool.to_string())],
                        Value::Count(counters.unpicked),
                    )
                })
                .collect()
        }
        Metric::RouteRequests => published.routes.iter().map(led).collect(),
        Metric::RouteResponses
        | Metric::RouteTime
        | Metric::RouteBytes
        | Metric::BackendBytes
        | Metric::ConnectTime
        | Metric::QueueTime => traffic::passed(metric, &published.traffic),
        Metric::HotKey => view.map(hot_keys).unwrap_or_default(),
        Metric::MembersFailed | Metric::MembersAge => looked(metric, published),
        Metric::WebhookMessages => came(published, messages),
        Metric::Queue | Metric::QueueWaiting => waits(metric, published),
        Metric::Share
        | Metric::Verdict
        | Metric::InFlight
        | Metric::InFlightLimit
        | Metric::BackendUp
        | Metric::BackendCpu
        | Metric::BackendMemory => view.map(|view| seen(metric, view)).unwrap_or_default(),
        Metric::RevisionInfo | Metric::State | Metric::IncidentsOpen | Metric::JournalUp => {
            view.map(|view| whole(metric, view)).unwrap_or_default()
        }
        Metric::Connections => one(Value::Gauge(f64::from(published.connections))),
        Metric::WorkerPicks => published.workers.iter().map(picked).collect(),
        Metric::TlsHandshakes => published.handshakes.iter().flat_map(shaken).collect(),
        Metric::BackendTlsHandshakes => published.dials.iter().flat_map(dialled).collect(),
        Metric::RateLimited => published.rate_limited.iter().map(limited).collect(),
        Metric::Hedges => {
            let pools = published.hedges.iter();
            pools
                .flat_map(|(pool, hedges)| hedged(pool, hedges))
                .collect()
        }
        Metric::Probes => {
            let pools = published.probes.iter();
            pools
                .flat_map(|(pool, probes)| probed(pool, probes))
                .collect()
        }
        Metric::TunnelsOpen | Metric::Tunnels | Metric::TunnelBytes => {
            let backends = published.tunnels.iter();
            backends
                .flat_map(|counted| tunnelled(metric, counted))
                .collect()
        }
        Metric::HeadersRefused | Metric::Http2StreamsOpen | Metric::Http2Refused => {
            arrivals(metric, published)
        }
        Metric::Shed
        | Metric::ConnectionsRefused
        | Metric::MemoryBytes
        | Metric::MemoryPressure => overloaded(metric, &published.overload),
        Metric::AccessLogLost | Metric::TraceSpans => told(metric, published),
        Metric::StartTime => one(Value::Gauge(published.started_at.0 as f64 / 1_000.0)),
    }
}

fn picked((id, worker): &(u16, WorkerCounters)) -> Sample {
    sample([("worker", id.to_string())], Value::Count(worker.picks))
}

fn limited((route, count): &(Arc<RouteKey>, u64)) -> Sample {
    let labels = [
        ("listener", route.listener.clone()),
        ("host", route.host.clone().unwrap_or_default()),
        ("path_prefix", route.path_prefix.clone()),
        ("condition", route.condition.clone().unwrap_or_default()),
    ];
    sample(labels, Value::Count(*count))
}

pub(super) fn sample<const N: usize>(labels: [(&'static str, String); N], value: Value) -> Sample {
    Sample {
        labels: labels.into(),
        value,
    }
}

fn one(value: Value) -> Vec<Sample> {
    vec![sample([], value)]
}

/// What became of second tries in `pool`.
fn hedged(pool: &Name, hedges: &Hedges) -> Vec<Sample> {
    let counts = [
        ("made", hedges.made),
        ("won", hedges.won),
        ("failed", hedges.failed),
        ("over_budget", hedges.over_budget),
        ("no_room", hedges.no_room),
    ];
    by_outcome(pool, counts)
}

/// What became of probes in `pool`.
fn probed(pool: &Name, probes: &Probes) -> Vec<Sample> {
    let counts = [
        ("sent", probes.sent),
        ("answered", probes.answered),
        ("silent", probes.silent),
        ("late", probes.late),
        ("failed", probes.failed),
    ];
    by_outcome(pool, counts)
}

fn by_outcome(pool: &Name, counts: [(&str, u64); 5]) -> Vec<Sample> {
    counts
        .into_iter()
        .map(|(outcome, count)| {
            let labels = [("pool", pool.to_string()), ("outcome", outcome.to_owned())];
            sample(labels, Value::Count(count))
        })
        .collect()
}

/// Tunnels of one backend.
fn tunnelled(metric: Metric, (pool, backend, counts): &(Name, Name, TunnelCounts)) -> Vec<Sample> {
    let place = || vec![("pool", pool.to_string()), ("backend", backend.to_string())];
    let plain = |value| Sample {
        labels: place(),
        value,
    };
    let directed = |(direction, bytes): (&str, u64)| {
        let mut labels = place();
        labels.push(("direction", direction.to_owned()));
        let value = Value::Count(bytes);
        Sample { labels, value }
    };
    match metric {
        Metric::TunnelsOpen => vec![plain(Value::Gauge(f64::from(counts.open)))],
        Metric::Tunnels => vec![plain(Value::Count(counts.opened))],
        _ => [("in", counts.bytes_in), ("out", counts.bytes_out)]
            .into_iter()
            .map(directed)
            .collect(),
    }
}

/// What comes in another way than as plain HTTP/1.
fn arrivals(metric: Metric, published: &Published) -> Vec<Sample> {
    let http2 = published.http2.iter();
    match metric {
        Metric::Http2StreamsOpen => http2
            .map(|counts| sample([], Value::Gauge(f64::from(counts.open))))
            .collect(),
        Metric::Http2Refused => http2.flat_map(http2_refused).collect(),
        _ => {
            let refused = published.refused_headers.iter();
            refused.flat_map(headers).collect()
        }
    }
}

/// What became of handshakes on a listener.
fn shaken((listener, counts): &(Name, Handshakes)) -> Vec<Sample> {
    let counts = Handshake::ALL.iter().zip(counts);
    let one = |(result, count): (&Handshake, &u64)| {
        let labels = [
            ("listener", listener.to_string()),
            ("result", result.as_str().to_owned()),
        ];
        sample(labels, Value::Count(*count))
    };
    counts.map(one).collect()
}

/// What became of handshakes with a backend.
fn dialled((pool, backend, counts): &(Name, Name, Dials)) -> Vec<Sample> {
    let counts = Dialled::ALL.iter().zip(counts);
    let one = |(result, count): (&Dialled, &u64)| {
        let labels = [
            ("pool", pool.to_string()),
            ("backend", backend.to_string()),
            ("result", result.as_str().to_owned()),
        ];
        sample(labels, Value::Count(*count))
    };
    counts.map(one).collect()
}

/// Connections refused because of how they began.
fn headers(refused: &RefusedHeaders) -> [Sample; 3] {
    [
        ("source", refused.source),
        ("invalid", refused.invalid),
        ("timeout", refused.timeout),
    ]
    .map(|(reason, count)| sample([("reason", reason.to_owned())], Value::Count(count)))
}

/// What was refused of HTTP/2.
fn http2_refused(counts: &Http2Counts) -> [Sample; 4] {
    [
        ("flood", counts.flood),
        ("protocol", counts.protocol),
        ("timeout", counts.timeout),
        ("malformed", counts.malformed),
    ]
    .map(|(reason, count)| sample([("reason", reason.to_owned())], Value::Count(count)))
}

/// What became of what is told of each request.
fn told(metric: Metric, published: &Published) -> Vec<Sample> {
    if metric == Metric::AccessLogLost {
        return one(Value::Count(published.access_log_lost));
    }
    let by = |counts: SpanCounts| {
        [
            ("sent", counts.sent),
            ("dropped", counts.dropped),
            ("failed", counts.failed),
        ]
    };
    let outcomes = published.spans.into_iter().flat_map(by);
    outcomes
        .map(|(outcome, many)| sample([("outcome", outcome.to_owned())], Value::Count(many)))
        .collect()
}

/// What overload protection sees and did.
fn overloaded(metric: Metric, overload: &OverloadView) -> Vec<Sample> {
    match metric {
        Metric::Shed => {
            let shed = overload.shed.iter();
            shed.map(|(priority, by, count)| {
                let labels = [
                    ("priority", priority.as_str().to_owned()),
                    ("short_of", by.as_str().to_owned()),
                ];
                sample(labels, Value::Count(*count))
            })
            .collect()
        }
        Metric::ConnectionsRefused => one(Value::Count(overload.connections_refused)),
        Metric::MemoryPressure => one(Value::Gauge(f64::from(overload.pressure as u8))),
        _ => {
            let memory = overload.memory.iter();
            memory
                .flat_map(|bytes| one(Value::Gauge(*bytes as f64)))
                .collect()
        }
    }
}

/// What came by a route.
fn led(counter: &RouteCounter) -> Sample {
    let key = &counter.route;
    let leads = match &counter.leads {
        Leads::Pool(pool) => ("pool", pool.to_string()),
        Leads::Status(status) => ("status", status.to_string()),
    };
    let labels = [
        ("listener", key.listener.clone()),
        ("route", key.requests()),
        leads,
    ];
    sample(labels, Value::Count(counter.requests))
}

/// What the workers counted.
fn counted(metric: Metric, published: &Published) -> Vec<Sample> {
    let mut samples = Vec::new();
    for (pool, counters) in &published.pools {
        for (backend, counters) in &counters.backends {
            let mut add = |more: Option<(&'static str, &str)>, value| {
                let mut labels = vec![("pool", pool.to_string()), ("backend", backend.to_string())];
                labels.extend(more.map(|(key, word)| (key, word.to_owned())));
                samples.push(Sample { labels, value });
            };
            match metric {
                Metric::Picks => {
                    add(Some(("kind", "free")), Value::Count(counters.picks_free));
                    add(
                        Some(("kind", "forced")),
                        Value::Count(counters.picks_forced),
                    );
                    add(Some(("kind", "retry")), Value::Count(counters.picks_retry));
                }
                Metric::Responses => {
                    for (class, count) in classes(counters) {
                        add(Some(("class", class)), Value::Count(count));
                    }
                }
                Metric::Harmed => add(None, Value::Count(counters.harmed)),
                _ => add(None, times(&counters.latency)),
            }
        }
    }
    samples
}

/// How the looks for members went.
fn looked(metric: Metric, published: &Published) -> Vec<Sample> {
    let of_pool = |(pool, looks): &(Name, Looks)| {
        let value = match metric {
            Metric::MembersFailed => Value::Count(looks.failed),
            _ => Value::Gauge(looks.age?.as_secs_f64()),
        };
        Some(sample([("pool", pool.to_string())], value))
    };
    published.looks.iter().filter_map(of_pool).collect()
}

/// What became of messages, of webhooks that there still are.
fn came(published: &Published, messages: &Messages) -> Vec<Sample> {
    let known = |name: &str| {
        let mut webhooks = published.config.webhooks.iter();
        webhooks.any(|webhook| webhook.name.as_str() == name)
    };
    let counts = messages.counts().into_iter();
    counts
        .filter(|((webhook, _), _)| known(webhook))
        .map(|((webhook, outcome), count)| {
            let labels = [("webhook", webhook), ("outcome", outcome.to_owned())];
            sample(labels, Value::Count(count))
        })
        .collect()
}

/// The part of one hot key.
fn hot_keys(view: &GuardView) -> Vec<Sample> {
    let part = |pool: &PoolView| {
        let hot = pool.hot_key.as_ref()?;
        let labels = [
            ("pool", pool.name.to_string()),
            ("backend", hot.backend.to_string()),
        ];
        Some(sample(labels, Value::Gauge(hot.part)))
    };
    view.pools.iter().filter_map(part).collect()
}

/// What became of requests that found every backend at its limit.
fn waits(metric: Metric, published: &Published) -> Vec<Sample> {
    let mut samples = Vec::new();
    for (pool, counters) in &published.pools {
        let waits = &counters.waits;
        if metric == Metric::QueueWaiting {
            let value = Value::Gauge(waits.waiting() as f64);
            samples.push(sample([("pool", pool.to_string())], value));
            continue;
        }
        for (event, count) in [
            ("queued", waits.queued),
            ("served", waits.served),
            ("timed_out", waits.timed_out),
            ("left", waits.left),
            ("full", waits.full),
            ("shed", waits.shed),
        ] {
            let labels = [("pool", pool.to_string()), ("event", event.to_owned())];
            samples.push(sample(labels, Value::Count(count)));
        }
    }
    samples
}

const fn classes(counters: &BackendCounters) -> [(&'static str, u64); 8] {
    let outcomes = &counters.outcomes;
    [
        ("ok", outcomes.ok),
        ("client_error", outcomes.client_error),
        ("server_error", outcomes.server_error),
        ("connect_failed", outcomes.connect_failed),
        ("reset", outcomes.reset),
        ("timeout", outcomes.timeout),
        ("client_abort", outcomes.client_abort),
        ("cancelled", outcomes.cancelled),
    ]
}

/// Response times in one bucket per doubling. The sum takes the middle of each fine bucket.
pub(super) fn times(latency: &LatencyTotal) -> Value {
    let mut buckets: Vec<(f64, u64)> = Vec::new();
    let (mut sum, mut held, mut below_us) = (0.0, 0, 0);
    for (index, count) in latency.buckets.iter().enumerate() {
        let count = *count;
        let bound_us = Latency::bound_us(index);
        sum += count as f64 * (below_us + bound_us) as f64 / 2e6;
        held += count;
        if index % THINNED == 0 {
            buckets.push((bound_us as f64 / 1e6, held));
            held = 0;
        }
        below_us = bound_us;
    }
    buckets.push((f64::INFINITY, held));
    Value::Times {
        sum,
        count: latency.count(),
        buckets,
    }
}

/// What the guard knows of each backend.
fn seen(metric: Metric, view: &GuardView) -> Vec<Sample> {
    let each = |pool: &PoolView, backend: &BackendView| {
        let place = || {
            vec![
                ("pool", pool.name.to_string()),
                ("backend", backend.name.to_string()),
            ]
        };
        let plain = |value: Option<f64>| -> Vec<Sample> {
            let sample = |value| Sample {
                labels: place(),
                value: Value::Gauge(value),
            };
            value.map(sample).into_iter().collect()
        };
        let worded = |key, word: &str, value: f64| {
            let mut labels = place();
            labels.push((key, word.to_owned()));
            Sample {
                labels,
                value: Value::Gauge(value),
            }
        };
        match metric {
            Metric::Share => [
                ("intended", backend.intended_share),
                ("expected", backend.expected_share),
                ("observed", backend.observed_share),
            ]
            .into_iter()
            .filter_map(|(which, share)| Some(worded("which", which, share?)))
            .collect(),
            Metric::Verdict => vec![worded("verdict", backend.verdict.as_str(), 1.0)],
            Metric::InFlight => plain(backend.in_flight.map(f64::from)),
            Metric::InFlightLimit => plain(backend.in_flight_limit.map(f64::from)),
            Metric::BackendCpu => plain(backend.cpu),
            Metric::BackendMemory => plain(backend.memory),
            _ => plain(match backend.health {
                HealthView::Up => Some(1.0),
                HealthView::Down => Some(0.0),
                HealthView::Unknown => None,
            }),
        }
    };
    let pools = view.pools.iter();
    pools
        .flat_map(|pool| pool.backends.iter().flat_map(move |b| each(pool, b)))
        .collect()
}

/// What the guard knows of the instance.
fn whole(metric: Metric, view: &GuardView) -> Vec<Sample> {
    let flag = |yes: bool| Value::Gauge(f64::from(u8::from(yes)));
    match metric {
        Metric::RevisionInfo => {
            let labels = [
                ("revision", view.revision.to_string()),
                ("state", view.revision_state.as_str().to_owned()),
            ];
            vec![sample(labels, flag(true))]
        }
        Metric::State => STATES
            .iter()
            .map(|state| {
                let labels = [("state", state.as_str().to_owned())];
                sample(labels, flag(*state == view.state))
            })
            .collect(),
        Metric::IncidentsOpen => IncidentSeverity::ALL
            .iter()
            .map(|severity| {
                let open = view.incidents.iter().filter(|incident| {
                    incident.severity == *severity
                        && evenkeel_incident::lifecycle::is_open(incident.status)
                });
                let labels = [("severity", severity.as_str().to_owned())];
                sample(labels, Value::Gauge(open.count() as f64))
            })
            .collect(),
        _ => one(flag(view.journal_ok)),
    }
}
