//! The answer to a scrape, whole and in its promises.

use super::names::Metric;
use super::render;
use crate::api::webhooks::Messages;
use crate::sample;
use evenkeel_control::{
    BackendCounters, BackendTraffic, Dials, Hedges, Http2Counts, Leads, Looks, PoolCounters,
    Probes, Published, RefusedHeaders, RouteCounter, RouteTraffic, Series, ShedBy, Traffic,
    TunnelCounts, WorkerCounters,
};
use evenkeel_model::clock::Wall;
use evenkeel_model::config::Priority;
use evenkeel_model::ids::Name;
use evenkeel_model::tally::{LatencyTotal, Outcomes, RouteKey};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

fn times(all: &[u64]) -> LatencyTotal {
    let mut times = LatencyTotal::default();
    for us in all {
        times.record(*us);
    }
    times
}

fn traffic() -> Traffic {
    let name = |text| Name::new(text).unwrap();
    let by_route = RouteTraffic {
        classes: [1, 30, 4, 3, 2, 1],
        took: times(&[400, 30_000_000]),
        bytes_in: 700,
        bytes_out: 90_000,
    };
    let at_backend = BackendTraffic {
        bytes_in: 700,
        bytes_out: 89_000,
        connects: times(&[100]),
    };
    Traffic {
        routes: vec![(route(None, "/cart", 0).route, by_route)],
        backends: vec![(name("shop"), name("web-1"), at_backend)],
        queues: of_shop(times(&[5_000, 700_000])),
    }
}

fn counters() -> BackendCounters {
    let latency = times(&[200, 900, 12_000, 12_500, 480_000, 30_000_000]);
    BackendCounters {
        picks_free: 100,
        picks_forced: 20,
        picks_retry: 3,
        outcomes: Outcomes {
            ok: 110,
            server_error: 9,
            timeout: 4,
            ..Outcomes::default()
        },
        harmed: 13,
        slow: 2,
        latency,
    }
}

fn of_shop<T>(what: T) -> Vec<(Name, T)> {
    vec![(Name::new("shop").unwrap(), what)]
}

fn tunnels() -> Vec<(Name, Name, TunnelCounts)> {
    let counts = TunnelCounts {
        open: 2,
        opened: 11,
        bytes_in: 300,
        bytes_out: 4_000,
    };
    let name = |text| Name::new(text).unwrap();
    vec![(name("shop"), name("web-1"), counts)]
}

fn refused_headers() -> RefusedHeaders {
    RefusedHeaders {
        source: 5,
        invalid: 2,
        timeout: 1,
    }
}

fn http2() -> Http2Counts {
    Http2Counts {
        open: 6,
        flood: 1,
        protocol: 2,
        timeout: 3,
        malformed: 4,
    }
}

fn dials() -> Vec<(Name, Name, Dials)> {
    let [pool, backend] = ["shop", "web-1"].map(|name| Name::new(name).unwrap());
    vec![(pool, backend, std::array::from_fn(|i| i as u64))]
}

fn published(state: sample::State) -> Published {
    let pool = PoolCounters {
        backends: BTreeMap::from([(Name::new("web-1").unwrap(), counters())]),
        unpicked: 5,
        waits: evenkeel_model::tally::Waits {
            queued: 21,
            served: 15,
            timed_out: 2,
            left: 1,
            full: 4,
            shed: 0,
        },
    };
    Published {
        balanced: Arc::new(state.config.clone()),
        view: Some(state.view),
        config: Arc::new(state.config),
        pools: of_shop(pool),
        routes: vec![
            route(None, "/cart", 40),
            route(Some("*.shop.example"), "/", 83),
        ],
        workers: vec![(0, worker(70)), (1, worker(53))],
        series: Series::default(),
        facts: evenkeel_forecast::Facts::default(),
        addresses: Vec::new(),
        connections: 12,
        access_log_lost: 0,
        spans: Some(evenkeel_control::SpanCounts {
            sent: 31,
            dropped: 2,
            failed: 1,
        }),
        rate_limited: vec![(route(None, "/login", 0).route, 8)],
        handshakes: vec![(Name::new("web").unwrap(), std::array::from_fn(|i| i as u64))],
        dials: dials(),
        hedges: of_shop(Hedges {
            made: 6,
            won: 4,
            failed: 1,
            over_budget: 2,
            no_room: 3,
        }),
        probes: of_shop(Probes {
            sent: 9,
            answered: 4,
            silent: 3,
            late: 2,
            failed: 1,
        }),
        tunnels: tunnels(),
        traffic: traffic(),
        looks: of_shop(Looks {
            failed: 2,
            age: Some(Duration::from_millis(1_500)),
        }),
        refused_headers: Some(refused_headers()),
        http2: Some(http2()),
        overload: evenkeel_control::OverloadView {
            memory: Some(150 << 20),
            shed: vec![
                (Priority::Low, ShedBy::Memory, 4),
                (Priority::Low, ShedBy::Pool, 2),
            ],
            connections_refused: 7,
            ..Default::default()
        },
        started_at: Wall(1_767_200_000_500),
    }
}

fn route(host: Option<&str>, path_prefix: &str, requests: u64) -> RouteCounter {
    RouteCounter {
        route: Arc::new(RouteKey {
            listener: "web".to_owned(),
            host: host.map(str::to_owned),
            path_prefix: path_prefix.to_owned(),
            condition: None,
        }),
        leads: Leads::Pool(Name::new("shop").unwrap()),
        requests,
    }
}

fn worker(picks: u64) -> WorkerCounters {
    WorkerCounters {
        picks,
        ..WorkerCounters::default()
    }
}

fn text(state: sample::State) -> String {
    render(Arc::new(published(state)), Messages::default()).unwrap()
}

#[test]
fn a_scrape_reads_as_before() {
    insta::assert_snapshot!("scrape", text(sample::incident()));
}

#[test]
fn what_is_unknown_is_absent_and_not_zero() {
    let text = text(sample::quiet());
    assert!(!text.contains("which=\"observed\""));
    for name in ["in_flight", "backend_cpu", "backend_memory", "backend_up"] {
        assert!(!text.contains(&format!("evenkeel_{name}{{")), "{name}");
    }
    assert!(text.contains("verdict=\"unknown\"} 1"));
    let mut starting = published(sample::ok());
    starting.view = None;
    let text = render(Arc::new(starting), Messages::default()).unwrap();
    assert!(!text.contains("\nevenkeel_journal_up "));
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn buckets_hold_each_count_once_and_end_with_all() {
    let text = text(sample::ok());
    let buckets: Vec<u64> = text
        .lines()
        .filter(|line| line.starts_with("evenkeel_response_seconds_bucket{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(buckets.len(), 17);
    assert!(buckets.is_sorted());
    assert_eq!(buckets.first(), Some(&1));
    assert_eq!(buckets.last(), Some(&6));
    assert!(text.contains("le=\"0.016\",pool=\"shop\"") || text.contains("le=\"0.016\""));
}

#[test]
fn the_guide_lists_every_metric_and_no_other() {
    let guide = include_str!("../../../../docs/guide/metrics.md");
    let listed: Vec<&str> = guide
        .lines()
        .filter_map(|line| line.strip_prefix("| `evenkeel_")?.split('`').next())
        .collect();
    let suffix = |metric: &Metric| match metric.about().kind {
        prometheus_client::metrics::MetricType::Counter => "_total",
        _ => "",
    };
    let known: Vec<String> = Metric::ALL
        .iter()
        .map(|metric| format!("{}{}", metric.about().name, suffix(metric)))
        .collect();
    let listed: Vec<String> = listed
        .iter()
        .map(|name| format!("evenkeel_{name}"))
        .collect();
    assert_eq!(listed, known);
}
