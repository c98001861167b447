//! Prints the tables of docs/detector.md: delay, coverage and cost of every test, by
//! seeded simulation. `cargo run --release -p evenkeel-detect --example delays [RUNS]`

#![expect(clippy::print_stdout, reason = "printing is what this program is for")]

#[path = "../tests/simulation/draw.rs"]
mod draw;

use std::error::Error;
use std::hint::black_box;

use draw::{arrivals, multinomial, one_off};
use evenkeel_detect::arl::Arl;
use evenkeel_detect::harm::HarmTest;
use evenkeel_detect::onset::{TickCount, change_point};
use evenkeel_detect::sequence::{self, Interval, Standing};
use evenkeel_detect::share::ShareTest;
use evenkeel_detect::shift::{Count, ShiftTest};
use evenkeel_model::clock::Mono;
use evenkeel_model::rng::Rng;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Quiet ticks before each change, so that the test has a past.
const QUIET_TICKS: u64 = 120;

fn main() -> Outcome<()> {
    let runs = std::env::args().nth(1).map_or(Ok(300), |n| n.parse())?;
    share_delays(runs)?;
    harm_delays(runs)?;
    recovery(runs)?;
    verification(runs);
    peeking(runs);
    onset_coverage(runs);
    shift_delays(runs)?;
    cost()
}

/// The q-quantile of `sorted`.
fn quantile(sorted: &[u64], q: f64) -> String {
    let index = ((sorted.len() as f64 * q).ceil() as usize).saturating_sub(1);
    match sorted.get(index) {
        Some(&u64::MAX) => "-".to_owned(),
        Some(value) => value.to_string(),
        None => "?".to_owned(),
    }
}

fn summary(mut delays: Vec<u64>) -> String {
    delays.sort_unstable();
    format!("{}/{}", quantile(&delays, 0.5), quantile(&delays, 0.95))
}

/// Ticks from the change to the alarm; `u64::MAX` when there was none within `limit`, 0 for an alarm before the change.
fn share_delay(
    theta: &[f64],
    changed: &[f64],
    tolerance: f64,
    rate: f64,
    seed: u64,
) -> Outcome<u64> {
    let mut rng = Rng::new(seed);
    let arl = Arl::TEN_YEARS.part(0.25)?;
    let mut test = ShareTest::new(theta, tolerance, arl, Mono::ZERO)?;
    let limit = 600;
    for t in 1..=QUIET_TICKS + limit {
        let shares = if t <= QUIET_TICKS { theta } else { changed };
        let n = arrivals(&mut rng, rate);
        let picks = multinomial(&mut rng, n, shares);
        if test.tick(&picks, Mono::from_secs(t)).alarm {
            return Ok(t.saturating_sub(QUIET_TICKS));
        }
    }
    Ok(u64::MAX)
}

fn share_delays(runs: u64) -> Outcome<()> {
    println!(
        "share: seconds from the change to the alarm, median/95 % (ten years, a quarter of it)"
    );
    println!("tolerance | change | 10 rps | 100 rps | 900 rps");
    let cases: [(f64, usize, f64, f64); 13] = [
        (0.2, 3, 1.0 / 3.0, 10.0 / 12.0),
        (0.2, 3, 1.0 / 3.0, 2.0 / 3.0),
        (0.2, 3, 1.0 / 3.0, 0.5),
        (0.2, 3, 1.0 / 3.0, 0.0),
        (0.2, 10, 0.1, 0.2),
        (0.2, 10, 0.1, 0.0),
        (0.2, 100, 0.01, 0.02),
        (0.0, 3, 1.0 / 3.0, 0.5),
        (0.0, 3, 1.0 / 3.0, 0.4),
        (0.0, 3, 1.0 / 3.0, 0.36),
        (0.0, 10, 0.1, 0.2),
        (0.05, 3, 1.0 / 3.0, 0.5),
        (0.05, 10, 0.1, 0.2),
    ];
    for (tolerance, backends, from, to) in cases {
        let (theta, changed) = (one_off(backends, from), one_off(backends, to));
        let mut cells = Vec::new();
        for rate in [10.0, 100.0, 900.0] {
            let delays: Outcome<Vec<u64>> = (0..runs)
                .map(|seed| share_delay(&theta, &changed, tolerance, rate, seed))
                .collect();
            cells.push(summary(delays?));
        }
        println!(
            "{tolerance} | K={backends} {from:.2} -> {to:.2} | {}",
            cells.join(" | ")
        );
    }
    Ok(())
}

fn harm_delays(runs: u64) -> Outcome<()> {
    println!("\nharm: seconds to the alarm, objective 1 %, before 0.1 %");
    println!("rate of harm | 10 rps | 100 rps | 900 rps");
    for after in [0.015, 0.02, 0.03, 0.05, 0.2, 1.0] {
        let mut cells = Vec::new();
        for rate in [10.0, 100.0, 900.0] {
            let mut delays = Vec::new();
            for seed in 0..runs {
                let mut rng = Rng::new(seed);
                let mut test = HarmTest::new(0.01, Arl::TEN_YEARS.part(0.25)?, Mono::ZERO)?;
                let mut delay = u64::MAX;
                for t in 1..=QUIET_TICKS + 600 {
                    let p = if t <= QUIET_TICKS { 0.001 } else { after };
                    let n = arrivals(&mut rng, rate);
                    let harmed = (0..n).filter(|_| rng.unit() < p).count() as u64;
                    if test.tick(harmed, n, Mono::from_secs(t)).alarm {
                        delay = t.saturating_sub(QUIET_TICKS);
                        break;
                    }
                }
                delays.push(delay);
            }
            cells.push(summary(delays));
        }
        println!("{:.1} % | {}", after * 100.0, cells.join(" | "));
    }
    Ok(())
}

fn recovery(runs: u64) -> Outcome<()> {
    println!(
        "\nrecovery without a new epoch: seconds from the repair to the fall of the alarm, tolerance 20 %, K = 3"
    );
    for (to, rate) in [
        (10.0 / 12.0, 100.0),
        (0.5, 100.0),
        (10.0 / 12.0, 900.0),
        (0.0, 100.0),
    ] {
        let mut delays = Vec::new();
        for seed in 0..runs {
            let mut rng = Rng::new(seed);
            let arl = Arl::TEN_YEARS.part(0.25)?;
            let mut test = ShareTest::new(&[1.0; 3], 0.2, arl, Mono::ZERO)?;
            let mut delay = u64::MAX;
            for t in 1..=900u64 {
                let shares = one_off(3, if t <= 120 { to } else { 1.0 / 3.0 });
                let n = arrivals(&mut rng, rate);
                let picks = multinomial(&mut rng, n, &shares);
                if !test.tick(&picks, Mono::from_secs(t)).alarm && t > 120 {
                    delay = t - 120;
                    break;
                }
            }
            delays.push(delay);
        }
        println!("{to:.2} -> 0.33 at {rate} rps | {}", summary(delays));
    }
    Ok(())
}

fn verification(runs: u64) {
    println!(
        "\nverification: seconds until each backend's 99 % sequence lies inside the band of 20 %"
    );
    println!("backends | 10 rps | 100 rps | 900 rps");
    for backends in [3usize, 5, 10] {
        let theta = vec![1.0; backends];
        let part = 1.0 / backends as f64;
        let band = Interval {
            lo: part * 0.8,
            hi: part * 1.2,
        };
        let mut cells = Vec::new();
        for rate in [10.0, 100.0, 900.0] {
            let mut delays = Vec::new();
            for seed in 0..runs.min(100) {
                let mut rng = Rng::new(seed);
                let mut counts = vec![0u64; backends];
                let mut total = 0;
                let done = (1..=1_200u64).find(|_| {
                    let n = arrivals(&mut rng, rate);
                    total += n;
                    for (sum, more) in counts.iter_mut().zip(multinomial(&mut rng, n, &theta)) {
                        *sum += more;
                    }
                    let inside = |hits: &u64| {
                        sequence::standing(*hits, total, sequence::ALPHA_VERIFIED, band)
                            == Standing::Inside
                    };
                    counts.iter().all(inside)
                });
                delays.push(done.unwrap_or(u64::MAX));
            }
            cells.push(summary(delays));
        }
        println!("K={backends} | {}", cells.join(" | "));
    }
}

fn peeking(runs: u64) {
    let runs = runs * 10;
    println!(
        "\nconfidence sequence, looked at after each of 2,000 picks: share of {runs} runs that ever missed the truth"
    );
    for (p, alpha) in [(1.0 / 3.0, 0.05), (1.0 / 3.0, 0.01), (0.01, 0.05)] {
        let threshold = -f64::ln(alpha);
        let mut missed = 0;
        for seed in 0..runs {
            let mut rng = Rng::new(seed);
            let mut hits = 0;
            missed += u64::from((1..=2_000u64).any(|n| {
                hits += u64::from(rng.unit() < p);
                sequence::log_evidence(hits, n, p) >= threshold
            }));
        }
        println!(
            "share {p:.2}, error {alpha} | {:.2} %",
            missed as f64 * 100.0 / runs as f64
        );
    }
}

fn onset_coverage(runs: u64) {
    println!(
        "\nonset: share of runs whose 95 % interval holds the truth, mean width (s), median distance (s)"
    );
    for (from, to, rate, after) in [
        (1.0 / 3.0, 10.0 / 12.0, 100.0, 2u64),
        (1.0 / 3.0, 0.5, 100.0, 12),
        (1.0 / 3.0, 0.5, 10.0, 60),
        (0.001, 0.05, 100.0, 8),
    ] {
        let (mut held, mut width) = (0, 0.0);
        let mut far = Vec::new();
        for seed in 0..runs {
            let mut rng = Rng::new(seed);
            let truth = 60.0 + rng.unit();
            let mut ticks = Vec::new();
            for t in 1..=61 + after {
                let end = t as f64;
                let changed = (end - truth).clamp(0.0, 1.0);
                let p = to * changed + from * (1.0 - changed);
                let of = arrivals(&mut rng, rate);
                let hits = (0..of).filter(|_| rng.unit() < p).count() as u64;
                ticks.push(TickCount {
                    at: Mono::from_secs(t),
                    hits,
                    of,
                });
            }
            if let Some(onset) = change_point(&ticks, Mono::ZERO) {
                let (lo, hi) = (onset.lo.as_secs_f64(), onset.hi.as_secs_f64());
                held += u64::from(lo <= truth && truth <= hi);
                width += hi - lo;
                far.push(((onset.best.as_secs_f64() - truth).abs() * 100.0) as u64);
            }
        }
        far.sort_unstable();
        let middle = far.get(far.len() / 2).copied().unwrap_or(0) as f64 / 100.0;
        println!(
            "{from:.3} -> {to:.3} at {rate} rps, {after} s after | {:.1} % | {:.1} | {middle:.2}",
            held as f64 * 100.0 / runs as f64,
            width / runs as f64
        );
    }
}

fn shift_delays(runs: u64) -> Outcome<()> {
    println!(
        "\nshift: one of three members worse than the others, seconds to its alarm (others' false alarms)"
    );
    for (rest, worse, rate) in [
        (0.5, 0.8, 100.0),
        (0.5, 0.65, 100.0),
        (0.002, 0.1, 100.0),
        (0.5, 0.8, 10.0),
    ] {
        let (mut delays, mut wrong) = (Vec::new(), 0);
        for seed in 0..runs {
            let mut rng = Rng::new(seed);
            let mut test = ShiftTest::new(3, 1.2, Arl::TEN_YEARS.part(0.1)?);
            let mut delay = u64::MAX;
            for t in 1..=QUIET_TICKS + 600 {
                let counts: Vec<Count> = (0..3)
                    .map(|i| {
                        let p = if i == 0 && t > QUIET_TICKS {
                            worse
                        } else {
                            rest
                        };
                        let of = arrivals(&mut rng, rate / 3.0);
                        let hits = (0..of).filter(|_| rng.unit() < p).count() as u64;
                        Count { hits, of }
                    })
                    .collect();
                let evidence = test.tick(&counts);
                wrong += evidence.iter().skip(1).filter(|e| e.alarm).count();
                if evidence.first().is_some_and(|e| e.alarm) {
                    delay = t.saturating_sub(QUIET_TICKS);
                    break;
                }
            }
            delays.push(delay);
        }
        println!(
            "{rest} -> {worse} at {rate} rps | {} | {wrong}",
            summary(delays)
        );
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock; the room does not"
)]
fn cost() -> Outcome<()> {
    println!("\ncost of one tick (median of 200, microseconds)");
    for backends in [3usize, 10, 100, 1_000] {
        let mut rng = Rng::new(1);
        let theta = vec![1.0; backends];
        let mut test = ShareTest::new(&theta, 0.2, Arl::TEN_YEARS, Mono::ZERO)?;
        let mut times = Vec::new();
        for t in 1..=200 {
            let picks = multinomial(&mut rng, 2_000, &theta);
            let start = std::time::Instant::now();
            black_box(test.tick(&picks, Mono::from_secs(t)));
            times.push(start.elapsed().as_nanos() as u64);
        }
        times.sort_unstable();
        let median = times.get(100).copied().unwrap_or(0);
        println!("K={backends} | {:.1}", median as f64 / 1_000.0);
    }
    Ok(())
}
