//! `least_request` judged on a small queueing simulation: power of two choices on in-flight over capacity.

use evenkeel_detect::arl::Arl;
use evenkeel_detect::load::{LoadCount, LoadError, LoadEvidence, LoadTest, Verdict};
use evenkeel_model::rng::Rng;

/// How a simulated backend behaves.
#[derive(Clone, Copy)]
struct Backend {
    mean_s: f64,
    failing: bool,
}

const fn good(mean_s: f64) -> Backend {
    Backend {
        mean_s,
        failing: false,
    }
}

/// How a pick is made.
#[derive(Clone, Copy, PartialEq)]
enum Policy {
    TwoChoices,
    Random,
    /// Never the first.
    Skip,
}

/// Runs `seconds` at `rate` and returns the evidence after each tick.
fn run(
    backends: &[Backend],
    policy: Policy,
    rate: f64,
    seconds: u64,
    seed: u64,
) -> Vec<Vec<LoadEvidence>> {
    let mut rng = Rng::new(seed);
    let mut test = LoadTest::new(&vec![1.0; backends.len()], Arl::TEN_YEARS).unwrap();
    // (end, backend) of each request in flight.
    let mut open: Vec<(f64, usize)> = Vec::new();
    let mut now = 0.0;
    let mut out = Vec::new();
    for t in 1..=seconds {
        let mut counts = vec![LoadCount::default(); backends.len()];
        loop {
            let next = now + rng.exponential(1.0 / rate);
            if next > t as f64 {
                // Memoryless: the wait may start afresh at the tick.
                now = t as f64;
                break;
            }
            now = next;
            finish(&mut open, now, backends, &mut counts);
            let held = |i: usize| open.iter().filter(|o| o.1 == i).count();
            let any = |rng: &mut Rng| rng.below(backends.len() as u64) as usize;
            let choice = match policy {
                Policy::Random => any(&mut rng),
                Policy::Skip => 1 + rng.below(backends.len() as u64 - 1) as usize,
                Policy::TwoChoices => {
                    let k = backends.len();
                    let a = any(&mut rng);
                    let b = (a + 1 + rng.below(k as u64 - 1) as usize) % k;
                    if held(b) < held(a) { b } else { a }
                }
            };
            counts[choice].picks += 1;
            open.push((now + rng.exponential(backends[choice].mean_s), choice));
        }
        finish(&mut open, now, backends, &mut counts);
        for (i, count) in counts.iter_mut().enumerate() {
            count.in_flight = open.iter().filter(|o| o.1 == i).count() as u32;
        }
        out.push(test.tick(&counts));
    }
    out
}

fn finish(open: &mut Vec<(f64, usize)>, now: f64, backends: &[Backend], counts: &mut [LoadCount]) {
    open.retain(|(end, i)| {
        if *end <= now {
            counts[*i].ended += 1;
            counts[*i].failed += u64::from(backends[*i].failing);
        }
        *end > now
    });
}

#[test]
fn equal_backends_are_ok_and_never_anything_else() {
    for seed in 0..10 {
        for tick in run(&[good(0.2); 3], Policy::TwoChoices, 100.0, 300, seed) {
            for evidence in tick {
                assert!(
                    matches!(evidence.verdict, Verdict::Ok | Verdict::Unknown),
                    "seed {seed}: {evidence}"
                );
            }
        }
    }
}

#[test]
fn long_requests_counted_at_every_tick_raise_nothing() {
    for seed in 0..10 {
        for tick in run(&[good(40.0); 3], Policy::Random, 0.5, 2_000, seed) {
            let quiet = |e: &LoadEvidence| !matches!(e.verdict, Verdict::Over | Verdict::Under);
            assert!(tick.iter().all(quiet), "seed {seed}");
        }
    }
}

#[test]
fn a_slow_backend_that_the_picks_avoid_is_explained() {
    for seed in 0..10 {
        let backends = [good(2.0), good(0.05), good(0.05)];
        let ticks = run(&backends, Policy::TwoChoices, 30.0, 300, seed);
        let last = ticks.last().unwrap();
        assert_eq!(
            last[0].verdict,
            Verdict::Explained,
            "seed {seed}: {}",
            last[0]
        );
        let wrong = |e: &&LoadEvidence| matches!(e.verdict, Verdict::Over | Verdict::Under);
        assert_eq!(ticks.iter().flatten().find(wrong), None, "seed {seed}");
    }
}

#[test]
fn a_fast_backend_with_more_picks_is_explained() {
    for seed in 0..10 {
        let ticks = run(
            &[good(0.02), good(0.3), good(0.3)],
            Policy::TwoChoices,
            100.0,
            300,
            seed,
        );
        let last = ticks.last().unwrap();
        assert_eq!(
            last[0].verdict,
            Verdict::Explained,
            "seed {seed}: {}",
            last[0]
        );
        assert!(
            ticks
                .iter()
                .flatten()
                .all(|e| e.verdict != Verdict::Sinkhole)
        );
    }
}

#[test]
fn a_slow_backend_that_the_picks_do_not_avoid_is_over() {
    for seed in 0..10 {
        let ticks = run(
            &[good(1.0), good(0.1), good(0.1)],
            Policy::Random,
            100.0,
            60,
            seed,
        );
        let found = ticks
            .iter()
            .position(|tick| tick[0].verdict == Verdict::Over);
        assert!(found.is_some_and(|t| t <= 20), "seed {seed}: {found:?}");
    }
}

#[test]
fn a_backend_that_fails_fast_and_draws_traffic_is_a_sinkhole() {
    let failing = Backend {
        mean_s: 0.002,
        failing: true,
    };
    for seed in 0..10 {
        let ticks = run(
            &[failing, good(0.3), good(0.3)],
            Policy::TwoChoices,
            200.0,
            60,
            seed,
        );
        let found = ticks
            .iter()
            .position(|tick| tick[0].verdict == Verdict::Sinkhole);
        assert!(found.is_some_and(|t| t <= 20), "seed {seed}: {found:?}");
    }
}

#[test]
fn a_backend_that_is_never_picked_is_under() {
    for seed in 0..10 {
        let ticks = run(&[good(0.2); 3], Policy::Skip, 200.0, 60, seed);
        let found = ticks
            .iter()
            .position(|tick| tick[0].verdict == Verdict::Under);
        assert!(found.is_some_and(|t| t <= 20), "seed {seed}: {found:?}");
    }
}

#[test]
fn next_to_nothing_in_flight_is_unknown() {
    let ticks = run(&[good(0.001); 3], Policy::TwoChoices, 10.0, 120, 1);
    let last = ticks.last().unwrap();
    assert!(
        last.iter().all(|e| e.verdict == Verdict::Unknown),
        "{}",
        last[0]
    );
}

#[test]
fn capacities_that_cannot_be_compared_are_refused() {
    let new = |capacity: &[f64]| LoadTest::new(capacity, Arl::TEN_YEARS).map(|_| ());
    assert_eq!(new(&[]), Err(LoadError::Capacity));
    assert_eq!(new(&[0.0]), Err(LoadError::Capacity));
    assert_eq!(new(&[1.0, -1.0]), Err(LoadError::Capacity));
}
