//! Samples of what passed by routes, backends and queues.

use evenkeel_control::{BackendTraffic, CLASSES, RouteTraffic, Traffic};
use evenkeel_model::ids::Name;
use evenkeel_model::tally::RouteKey;

use super::names::Metric;
use super::samples::{Sample, Value, sample, times};

/// Those of one of these metrics.
pub(super) fn passed(metric: Metric, traffic: &Traffic) -> Vec<Sample> {
    match metric {
        Metric::BackendBytes | Metric::ConnectTime => {
            let backends = traffic.backends.iter();
            backends
                .flat_map(|(pool, backend, traffic)| at_backend(metric, (pool, backend), traffic))
                .collect()
        }
        Metric::QueueTime => {
            let queues = traffic.queues.iter();
            queues
                .map(|(pool, waited)| sample([("pool", pool.to_string())], times(waited)))
                .collect()
        }
        _ => {
            let routes = traffic.routes.iter();
            routes
                .flat_map(|(route, traffic)| by_route(metric, route, traffic))
                .collect()
        }
    }
}

fn by_route(metric: Metric, route: &RouteKey, traffic: &RouteTraffic) -> Vec<Sample> {
    let place = || {
        [
            ("listener", route.listener.clone()),
            ("route", route.requests()),
        ]
    };
    let counted = |key: &'static str, word: &str, count| {
        let [listener, route] = place();
        sample(
            [listener, route, (key, word.to_owned())],
            Value::Count(count),
        )
    };
    match metric {
        Metric::RouteTime => vec![sample(place(), times(&traffic.took))],
        Metric::RouteBytes => vec![
            counted("direction", "in", traffic.bytes_in),
            counted("direction", "out", traffic.bytes_out),
        ],
        _ => CLASSES
            .into_iter()
            .zip(traffic.classes)
            .map(|(class, count)| counted("class", class, count))
            .collect(),
    }
}

fn at_backend(
    metric: Metric,
    (pool, backend): (&Name, &Name),
    traffic: &BackendTraffic,
) -> Vec<Sample> {
    let place = || [("pool", pool.to_string()), ("backend", backend.to_string())];
    if metric == Metric::ConnectTime {
        return vec![sample(place(), times(&traffic.connects))];
    }
    let directed = |(direction, bytes): (&str, u64)| {
        let [pool, backend] = place();
        let labels = [pool, backend, ("direction", direction.to_owned())];
        sample(labels, Value::Count(bytes))
    };
    [("in", traffic.bytes_in), ("out", traffic.bytes_out)]
        .map(directed)
        .into()
}
