//! Closed forms against the event engine and against theory.

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel_forecast::{BackendFacts, Facts, Method, PoolFacts, PoolForecast, forecast};
use evenkeel_model::setup::{Pool, Selection};

use crate::{pool, selections, setup};

fn base(pool: Pool, facts: &Facts) -> PoolForecast {
    forecast(&setup(pool), facts).pools.remove(0)
}

fn shares(forecast: &PoolForecast) -> Vec<f64> {
    forecast
        .backends
        .iter()
        .map(|b| b.expected_share.unwrap())
        .collect()
}

fn serving(seconds: f64, backends: usize) -> Facts {
    let service = BackendFacts {
        service_mean: Some(Duration::from_secs_f64(seconds)),
        ..BackendFacts::default()
    };
    let known = (0..backends).map(|number| (format!("b{number}"), service));
    let pool = PoolFacts {
        backends: known.collect(),
        ..PoolFacts::default()
    };
    Facts {
        pools: BTreeMap::from([("p".to_owned(), pool)]),
        ..Facts::default()
    }
}

fn by_load() -> impl Iterator<Item = Selection> {
    let is = |selection: &Selection| {
        matches!(
            selection,
            Selection::LeastLoaded(_) | Selection::WeightOverLoad { .. }
        )
    };
    selections().into_iter().filter(is)
}

/// A backend with a capacity so large that its rate is next to nothing in flight.
fn idle(pool: &Pool) -> Pool {
    let mut pool = pool.clone();
    for backend in &mut pool.backends {
        backend.capacity_rps = Some(100_000.0);
    }
    pool
}

#[test]
fn the_engine_comes_to_the_low_load_limit_when_next_to_nothing_is_in_flight() {
    for selection in by_load() {
        let known = idle(&pool(&selection, &[5, 3, 1], Some(1.0)));
        let unknown = Pool {
            peak_rps: None,
            ..known.clone()
        };
        let run = base(known, &Facts::default());
        let limit = base(unknown, &Facts::default());
        assert_eq!(
            (run.method, limit.method),
            (Method::Simulated, Method::LowLoad)
        );
        for (run, limit) in run.backends.iter().zip(&limit.backends) {
            let (low, high) = (run.share_low.unwrap(), run.share_high.unwrap());
            let limit = limit.expected_share.unwrap();
            // Twice the interval: it is one of 95 %, and many are looked at.
            let slack = (high - low) / 2.0 + 0.004;
            assert!(
                (low - slack..high + slack).contains(&limit),
                "{selection:?} {run:?} {limit}"
            );
        }
    }
}

#[test]
fn between_few_and_very_many_in_flight_the_engine_stays_in_the_span_of_the_limits() {
    for selection in by_load() {
        let limit = base(pool(&selection, &[5, 3, 1], None), &Facts::default());
        // Equal speed and no waiting: slots without end.
        for in_flight in [1.0, 8.0, 60.0] {
            let seconds = 0.1;
            let mut loaded = pool(&selection, &[5, 3, 1], Some(in_flight / seconds));
            for backend in &mut loaded.backends {
                backend.capacity_rps = Some(10_000.0);
            }
            let run = base(loaded, &serving(seconds, 3));
            assert_eq!(run.method, Method::Simulated);
            for (run, limit) in run.backends.iter().zip(&limit.backends) {
                let (low, high) = (limit.share_low.unwrap(), limit.share_high.unwrap());
                let share = run.expected_share.unwrap();
                // Rules that draw two come to the weights by the way of what two draws can even out.
                assert!(
                    (low - 0.05..high + 0.05).contains(&share),
                    "{selection:?} {in_flight} {run:?} {limit:?}"
                );
            }
        }
    }
}

#[test]
fn backends_that_are_alike_share_evenly_in_the_engine_too() {
    for selection in by_load() {
        // As good as alike: the closed form for equals must not be taken.
        let mut nearly = pool(&selection, &[2, 2, 2], Some(240.0));
        nearly.backends[0].capacity_rps = Some(100.001);
        let run = base(nearly, &Facts::default());
        let equal = base(pool(&selection, &[2, 2, 2], Some(240.0)), &Facts::default());
        assert_eq!(run.method, Method::Simulated);
        for (run, equal) in shares(&run).iter().zip(shares(&equal)) {
            assert!((run - equal).abs() < 0.03, "{selection:?} {run} {equal}");
        }
    }
}

#[test]
fn first_fills_in_order_as_erlang_says() {
    let mut ordered = pool(&Selection::First, &[1, 1, 1], Some(100.0));
    for backend in &mut ordered.backends {
        backend.in_flight_max = Some(5);
    }
    // 100 rps x 30 ms: 3 busy on average; Erlang B for 5, 10 and 15 slots is 0.11005, 0.00081 and 0.0000.
    let forecast = base(ordered.clone(), &serving(0.03, 3));
    let shares = shares(&forecast);
    assert!(
        (shares[0] - 0.889_95).abs() < 1e-4 && (shares[1] - 0.109_24).abs() < 1e-4,
        "{shares:?}"
    );
    // Without service times all goes to the first, and the span reaches to everybody being full.
    let unknown = base(ordered, &Facts::default());
    assert_eq!(unknown.method, Method::LowLoad);
    let span = |index: usize| {
        let backend = &unknown.backends[index];
        (
            backend.share_low.unwrap(),
            backend.expected_share.unwrap(),
            backend.share_high.unwrap(),
        )
    };
    assert_eq!(
        [span(0), span(1), span(2)],
        [
            (1.0 / 3.0, 1.0, 1.0),
            (0.0, 0.0, 0.5),
            (0.0, 0.0, 1.0 / 3.0)
        ]
    );
}

#[test]
fn requests_in_flight_and_waiting_follow_the_service_time_and_are_none_without_it() {
    let two = pool(&Selection::ByWeight, &[1, 1], Some(160.0));
    let known = base(two.clone(), &serving(0.01, 2));
    // Each an M/M/1 at 80 %.
    let backend = &known.backends[0];
    assert!((backend.in_flight.unwrap() - 4.0).abs() < 1e-9);
    assert!((backend.queue_seconds.unwrap() - 0.04).abs() < 1e-9);
    let unknown = base(two, &Facts::default());
    assert_eq!(
        (
            unknown.backends[0].in_flight,
            unknown.backends[0].queue_seconds
        ),
        (None, None)
    );
    assert!((unknown.backends[0].utilisation.unwrap() - 0.8).abs() < 1e-9);
}
