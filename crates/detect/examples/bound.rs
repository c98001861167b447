//! Prints the table "against the bound" of docs/detector.md: seconds from a change of shares to the alarm beside what no
//! test can undercut, by seeded simulation. `cargo run --release -p evenkeel-detect --example bound [RUNS]`

#![expect(clippy::print_stdout, reason = "printing is what this program is for")]

#[path = "../tests/simulation/draw.rs"]
mod draw;

use std::error::Error;

use draw::{arrivals, multinomial, one_off};
use evenkeel_detect::arl::Arl;
use evenkeel_detect::band::Band;
use evenkeel_detect::share::ShareTest;
use evenkeel_model::clock::Mono;
use evenkeel_model::rng::Rng;

/// Quiet ticks before each change.
const QUIET_TICKS: u64 = 60;
/// No rate shows a change in less: the first tick may hold a part of it only.
const FLOOR_TICKS: f64 = 2.0;
/// Changes whose bound lies beyond are not simulated, seconds.
const BOUND_MAX: f64 = 3_600.0;
/// Times the bound after which a run is given up.
const GIVE_UP: f64 = 8.0;

/// A null as the guard runs it.
struct Null {
    name: &'static str,
    tolerance: f64,
    part: f64,
    factors: &'static [f64],
}

const NULLS: [Null; 2] = [
    Null {
        name: "intent",
        tolerance: 0.2,
        part: 0.4,
        factors: &[1.5, 2.0, 3.0, 5.0, 10.0],
    },
    Null {
        name: "fidelity",
        tolerance: 0.1,
        part: 0.2,
        factors: &[1.2, 1.5, 2.0, 3.0, 5.0, 10.0],
    },
];
const HEAD: &str = "| test | K | share times | 10 rps | 100 rps | 1,000 rps | 10,000 rps |";
const SIZES: [usize; 6] = [2, 3, 5, 10, 30, 100];
const RATES: [f64; 4] = [10.0, 100.0, 1_000.0, 10_000.0];

/// Times the bound within which the median and the 95 % of the delays shall lie.
const fn goal(backends: usize) -> (f64, f64) {
    if backends <= 10 {
        (1.5, 4.0)
    } else {
        (3.0, 4.0)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let runs = std::env::args().nth(1).map_or(Ok(200), |n| n.parse())?;
    println!("one backend\n{HEAD}");
    for null in &NULLS {
        for backends in SIZES {
            let size = backends as f64;
            for factor in null.factors.iter().filter(|f| **f < size) {
                let changed = one_off(backends, factor / size);
                row(null, &changed, &format!("{factor}x"), runs)?;
            }
            let typo = one_off(backends, 10.0 / (9.0 + size));
            row(null, &typo, "weight 10 for 1", runs)?;
        }
    }
    println!("\nhalf of the backends up, the others as much down\n{HEAD}");
    for null in &NULLS {
        for backends in [10usize, 100] {
            for up in [1.25, 1.5, 1.9] {
                let half = |i: usize| if i.is_multiple_of(2) { up } else { 2.0 - up };
                let changed: Vec<f64> = (0..backends).map(|i| half(i) / backends as f64).collect();
                row(null, &changed, &format!("{up}x"), runs)?;
            }
        }
    }
    Ok(())
}

/// One change at every rate: bound, median and 95 % of the delays; a star where the goal is missed.
fn row(null: &Null, changed: &[f64], name: &str, runs: u64) -> Result<(), Box<dyn Error>> {
    let backends = changed.len();
    let theta = vec![1.0 / backends as f64; backends];
    let nats = Band::around(&theta, null.tolerance).divergence(changed);
    let mut cells = vec![null.name.to_owned(), format!("{backends}"), name.to_owned()];
    for rate in RATES {
        let bound = Arl::TEN_YEARS.log_threshold() / (nats * rate);
        if bound > BOUND_MAX {
            cells.push("-".to_owned());
            continue;
        }
        let limit = (bound * GIVE_UP).max(20.0) as u64;
        let delays = (0..runs).map(|seed| delay(null, changed, rate, limit, seed));
        let mut delays = delays.collect::<Result<Vec<u64>, _>>()?;
        delays.sort_unstable();
        let at = |part: f64| delays[((delays.len() as f64 * part).ceil() as usize).max(1) - 1];
        let (median, late) = (at(0.5), at(0.95));
        let (most, latest) = goal(backends);
        // Delays are whole ticks.
        let missed =
            |delay: u64, times: f64| delay as f64 > (times * bound).ceil().max(FLOOR_TICKS);
        let star = if missed(median, most) || missed(late, latest) {
            " *"
        } else {
            ""
        };
        let bound = match format!("{bound:.1}") {
            least if least == "0.0" => "<0.1".to_owned(),
            bound => bound,
        };
        cells.push(format!("{bound}: {median}/{late}{star}"));
    }
    println!("| {} |", cells.join(" | "));
    Ok(())
}

/// Ticks from the change to the alarm, at most `limit`.
fn delay(
    null: &Null,
    changed: &[f64],
    rate: f64,
    limit: u64,
    seed: u64,
) -> Result<u64, Box<dyn Error>> {
    let mut rng = Rng::new(seed);
    let theta = vec![1.0; changed.len()];
    let arl = Arl::TEN_YEARS.part(null.part)?;
    let mut test = ShareTest::new(&theta, null.tolerance, arl, Mono::ZERO)?;
    for t in 1..=QUIET_TICKS + limit {
        let shares = if t <= QUIET_TICKS { &theta } else { changed };
        let n = arrivals(&mut rng, rate);
        let picks = multinomial(&mut rng, n, shares);
        if test.tick(&picks, Mono::from_secs(t)).alarm {
            return Ok(t.saturating_sub(QUIET_TICKS));
        }
    }
    Ok(limit)
}
