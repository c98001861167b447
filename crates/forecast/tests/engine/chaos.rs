//! Whatever is done to it in whatever order, the engine keeps its books.

use proptest::prelude::*;

use evenkeel_forecast::engine::Engine;
use evenkeel_forecast::engine::spec::{ClientRetry, Fault, Flap, NetworkFault, Overflow, Snapshot};
use evenkeel_model::clock::Mono;
use evenkeel_model::ids::Epoch;

use super::{MS, assert_conserved, config, key, name, spec};

#[derive(Debug, Clone)]
enum Step {
    Run(u64),
    Fault(usize, Fault),
    Network(usize, NetworkFault),
    Rate(f64),
    Weights(Vec<u32>),
    Out(Vec<bool>),
    RestartBackend(usize, u64),
    RestartBalancer(u64),
}

fn fault() -> impl Strategy<Value = Fault> {
    let flag = || prop::bool::weighted(0.2);
    let status = prop::option::weighted(0.2, 400u16..600);
    (flag(), flag(), flag(), status, 0.5f64..10.0, 0.0f64..1.0).prop_map(
        |(refuses, hangs, flaps, fails_fast, slow_factor, error_rate)| Fault {
            slow_factor,
            error_rate,
            fails_fast,
            refuses,
            hangs,
            flaps: flaps.then_some(Flap {
                up: MS(300),
                down: MS(200),
            }),
            ..Fault::default()
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let loss = (0u64..300, 0.0f64..1.0, prop::bool::weighted(0.2));
    prop_oneof![
        6 => (1u64..1_500).prop_map(Step::Run),
        3 => (0usize..3, fault()).prop_map(|(i, f)| Step::Fault(i, f)),
        1 => (0usize..3, loss).prop_map(|(i, (ms, loss, refuse))| {
            Step::Network(i, NetworkFault { latency: MS(ms), loss, refuse })
        }),
        1 => (0.0f64..2_000.0).prop_map(Step::Rate),
        1 => prop::collection::vec(0u32..5, 1..5)
            .prop_filter("some weight", |w| w.iter().any(|w| *w > 0))
            .prop_map(Step::Weights),
        1 => prop::collection::vec(any::<bool>(), 5).prop_map(Step::Out),
        1 => (0usize..3, 0u64..2_000).prop_map(|(i, ms)| Step::RestartBackend(i, ms)),
        1 => (0u64..1_000).prop_map(Step::RestartBalancer),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn every_request_is_accounted_for_whatever_happens(
        steps in prop::collection::vec(step(), 1..25), seed: u64, algorithm in 0usize..3,
    ) {
        let algorithm = ["round_robin", "least_request", "random"][algorithm];
        let pool = format!(
            "algorithm = \"{algorithm}\"\nresponse_timeout = \"800ms\"\nmax_in_flight = 60\nrequest_timeout = \"2s\""
        );
        let mut now_config = config(&[1, 1, 1], &pool);
        let mut spec = spec(&now_config, 400.0, seed);
        spec.streams[0].retry = ClientRetry { attempts: 2, delay: MS(50), backoff: 2.0 };
        spec.streams[0].patience = Some(MS(1_500));
        spec.default_model.overflow = Overflow::Hang;
        spec.default_model.queue_max = 20;
        let mut engine = Engine::new(spec);
        let mut at = 0;
        for (n, step) in steps.into_iter().enumerate() {
            let backend = |i: usize| key(&format!("web-{}", i + 1));
            let epoch = Epoch(n as u64 + 2);
            match step {
                Step::Run(ms) => at += ms,
                Step::Fault(i, fault) => engine.set_fault(&backend(i), fault).unwrap(),
                Step::Network(i, network) => engine.set_network(&backend(i), network).unwrap(),
                Step::Rate(rate) => engine.set_rate(&name("users"), rate).unwrap(),
                Step::Weights(weights) => {
                    now_config = config(&weights, &pool);
                    engine.swap(&Snapshot::all_up(now_config.clone(), epoch));
                }
                Step::Out(out) => {
                    let mut snapshot = Snapshot::all_up(now_config.clone(), epoch);
                    for (member, out) in snapshot.pools[0].members.iter_mut().zip(out) {
                        member.eligible = !out;
                    }
                    engine.swap(&snapshot);
                }
                Step::RestartBackend(i, ms) => engine.restart_backend(&backend(i), MS(ms)).unwrap(),
                Step::RestartBalancer(ms) => {
                    engine.restart_balancer(MS(ms), &Snapshot::all_up(now_config.clone(), epoch));
                }
            }
            engine.run_until(Mono::from_millis(at));
            assert_conserved(&engine);
            let waiting: u32 = engine.vitals()[0].1.iter().map(|v| v.in_flight).sum();
            prop_assert!(u64::from(waiting) <= engine.totals().in_flight);
        }
        // Without new requests everything ends: by an answer, a timeout or an impatient client.
        engine.set_rate(&name("users"), 0.0).unwrap();
        engine.run_until(Mono::from_millis(at + 60_000));
        prop_assert_eq!(engine.totals().in_flight, 0);
        let waiting: u32 = engine.vitals()[0].1.iter().map(|v| v.in_flight).sum();
        prop_assert_eq!(waiting, 0);
        for cell in engine.take_tallies().iter().flat_map(|t| &t.pools).flat_map(|p| &p.epochs).flat_map(|e| &e.backends) {
            prop_assert_eq!(cell.picks_free + cell.picks_retry, cell.outcomes.total());
            prop_assert!(cell.slow <= cell.harmed && cell.harmed <= cell.outcomes.total());
        }
    }
}
