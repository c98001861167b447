//! Every metric by name, in one place: what it is called, what it means, which labels it has.
//!
//! A name is a promise to whoever built an alert on it: add, never rename. docs/guide/metrics.md lists them all; a
//! test compares.

use prometheus_client::metrics::MetricType;

/// What a metric is.
#[derive(Debug, Clone, Copy)]
pub(super) struct About {
    /// Its name, without the `_total` that the format adds to a counter.
    pub(super) name: &'static str,
    /// What it means, with its unit.
    pub(super) help: &'static str,
    /// Counter, gauge or histogram.
    pub(super) kind: MetricType,
}

macro_rules! metrics {
    ($($variant:ident: $kind:ident $name:literal, $help:literal;)+) => {
        /// A metric.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Metric { $($variant),+ }

        impl Metric {
            /// Every metric, in the order of the answer.
            pub(super) const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// What it is.
            pub(super) const fn about(self) -> About {
                match self {
                    $(Self::$variant => About { name: $name, help: $help, kind: MetricType::$kind }),+
                }
            }
        }
    };
}

metrics! {
    Picks: Counter "evenkeel_picks",
        "Times a backend was picked; kind: free (by the algorithm), forced (by cookie or key), retry (a further try).";
    Responses: Counter "evenkeel_responses",
        "Tries that ended at a backend, by class.";
    Harmed: Counter "evenkeel_harmed",
        "Requests that ended at a backend beyond the objective of the pool: failed or too slow.";
    ResponseTime: Histogram "evenkeel_response_seconds",
        "Time from the pick to the end of the response head, in seconds; the sum is estimated from the buckets.";
    Unpicked: Counter "evenkeel_unpicked",
        "Requests for which no backend could be picked.";
    RouteRequests: Counter "evenkeel_route_requests",
        "Requests that a route led to its pool, or answered with its status; route: host, if it names one, and path prefix.";
    RouteResponses: Counter "evenkeel_route_responses",
        "Requests of a route that are over, by class: 1xx to 5xx, left (the client left before it had its answer).";
    RouteTime: Histogram "evenkeel_route_seconds",
        "Time from the head of a request to the end of its response, in seconds, without tunnels; the sum is estimated from the buckets.";
    RouteBytes: Counter "evenkeel_route_bytes",
        "Bytes by a route; direction: in (bodies of requests), out (responses with their heads).";
    BackendBytes: Counter "evenkeel_backend_bytes",
        "Bytes to and from a backend; direction: in (bodies of requests), out (responses with their heads).";
    ConnectTime: Histogram "evenkeel_connect_seconds",
        "Time that connections to a backend took to be there, in seconds; the sum is estimated from the buckets.";
    QueueTime: Histogram "evenkeel_queue_seconds",
        "Time that requests waited in the queue of the pool, however it ended, in seconds; the sum is estimated from the buckets.";
    HotKey: Gauge "evenkeel_hot_key",
        "Part of the requests with a key, 0 to 1, that one hot key brings to its backend; absent without such a key.";
    MembersFailed: Counter "evenkeel_members_failed",
        "Looks for the members of the pool that gave no list that can be used; the members before stay.";
    MembersAge: Gauge "evenkeel_members_age_seconds",
        "Seconds since the last look for the members of the pool that gave a list; absent before the first.";
    WebhookMessages: Counter "evenkeel_webhook_messages",
        "Messages about deployments, by webhook and outcome: recorded, repeated, not_signed, refused, failed.";
    Queue: Counter "evenkeel_queue",
        "Requests that found every backend at its limit, by what happened: queued, served, timed_out, left, full, shed.";
    QueueWaiting: Gauge "evenkeel_queue_waiting",
        "Requests that wait in the queue of the pool now.";
    Share: Gauge "evenkeel_share",
        "Share of the picks of the pool, 0 to 1; which: intended, expected (by the configuration), observed (last 10 s).";
    Verdict: Gauge "evenkeel_verdict",
        "1 for what the test says about the share of the backend: ok, over, under, unknown or explained.";
    InFlightLimit: Gauge "evenkeel_in_flight_limit",
        "The most that a backend may hold, in pools whose limit adapts.";
    InFlight: Gauge "evenkeel_in_flight",
        "Requests in flight at the backend.";
    BackendUp: Gauge "evenkeel_backend_up",
        "1 when the backend takes traffic, 0 when it does not.";
    BackendCpu: Gauge "evenkeel_backend_cpu",
        "CPU utilisation as the backend reported it, 0 to 1.";
    BackendMemory: Gauge "evenkeel_backend_memory",
        "Memory utilisation as the backend reported it, 0 to 1.";
    RevisionInfo: Gauge "evenkeel_revision_info",
        "1 for the revision that runs, with its state.";
    State: Gauge "evenkeel_state",
        "1 for the state of the instance, 0 for the others.";
    IncidentsOpen: Gauge "evenkeel_incidents_open",
        "Open incidents by severity.";
    JournalUp: Gauge "evenkeel_journal_up",
        "1 when the journal takes entries, 0 when it does not.";
    Connections: Gauge "evenkeel_connections",
        "Client connections open.";
    WorkerPicks: Counter "evenkeel_worker_picks",
        "Picks by worker of the data plane.";
    TlsHandshakes: Counter "evenkeel_tls_handshakes",
        "TLS handshakes of clients by listener and result: full, resumed, timeout, closed, plain_http, incompatible, unknown_name, client_certificate, refused_by_client, invalid, not_tls_here.";
    BackendTlsHandshakes: Counter "evenkeel_backend_tls_handshakes",
        "TLS handshakes with the backend by result: full, resumed, timeout, closed, not_tls, incompatible, unknown_authority, wrong_name, expired, certificate, refused_by_backend, invalid.";
    RateLimited: Counter "evenkeel_rate_limited",
        "Requests refused with 429 by the rate limit of a route.";
    Hedges: Counter "evenkeel_hedges",
        "Second tries of requests whose first backend was slow, by outcome: made, won, failed, over_budget, no_room.";
    Probes: Counter "evenkeel_probes",
        "Probes for the requests that backends hold, by outcome: sent, answered, silent, late, failed.";
    TunnelsOpen: Gauge "evenkeel_tunnels_open",
        "Connections to the backend that left HTTP by an upgrade, such as WebSocket, and are open now.";
    Tunnels: Counter "evenkeel_tunnels",
        "Connections to the backend that left HTTP by an upgrade.";
    TunnelBytes: Counter "evenkeel_tunnel_bytes",
        "Bytes through the tunnels of the backend; direction: in (from clients), out (to clients).";
    Shed: Counter "evenkeel_shed",
        "Requests refused with 503 because there was too much, by priority and by what was short.";
    ConnectionsRefused: Counter "evenkeel_connections_refused",
        "Client connections refused because too many were open.";
    HeadersRefused: Counter "evenkeel_proxy_headers_refused",
        "Client connections refused because of their PROXY protocol header, by reason: source, invalid, timeout.";
    Http2StreamsOpen: Gauge "evenkeel_http2_streams_open",
        "Requests of clients that speak HTTP/2 that are open now.";
    Http2Refused: Counter "evenkeel_http2_refused",
        "What clients that speak HTTP/2 were refused, by reason: connections ended for flood, protocol or timeout, requests reset as malformed.";
    MemoryBytes: Gauge "evenkeel_memory_bytes",
        "Resident memory, where the configuration bounds it.";
    MemoryPressure: Gauge "evenkeel_memory_pressure",
        "How full the memory is: 0 calm, 1 tight, 2 to 4 low, normal, high priority refused as well.";
    AccessLogLost: Counter "evenkeel_access_log_lost",
        "Lines of the access log that were dropped because writing was too slow.";
    TraceSpans: Counter "evenkeel_trace_spans",
        "Spans by what became of them: sent, dropped because too many waited, failed at the collector.";
    StartTime: Gauge "evenkeel_start_time_seconds",
        "When the process started, in seconds since 1970.";
}
