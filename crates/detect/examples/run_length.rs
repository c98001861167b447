//! Prints the table "false alarms" of docs/detector.md, and fails where a null alarms more often than stated: seeded runs
//! of every test that the guard runs, without a fault. `cargo run --release -p evenkeel-detect --example run_length [RUNS]`

#![expect(clippy::print_stdout, reason = "printing is what this program is for")]

#[path = "../tests/simulation/draw.rs"]
mod draw;
#[path = "../tests/simulation/nulls.rs"]
mod nulls;

use std::error::Error;

use evenkeel_detect::arl::Arl;
use nulls::Null;

/// Runs are stopped at so many times the stated length, so that the mean printed is at most the true one.
const STOP: f64 = 3.0;

fn main() -> Result<(), Box<dyn Error>> {
    let runs: u64 = std::env::args().nth(1).map_or(Ok(1_000), |n| n.parse())?;
    println!(
        "| stated | null | mean of {runs} runs, stopped at {STOP} x | alarmed before the stated |"
    );
    let mut short = Vec::new();
    for stated in [1_000.0, 10_000.0] {
        let arl = Arl::new(stated)?;
        for null in Null::ALL {
            let (mut sum, mut early) = (0, 0);
            for seed in 0..runs {
                let length = null.first_alarm(arl, (STOP * stated) as u64, seed)?;
                sum += length;
                early += u64::from((length as f64) < stated);
            }
            let (mean, early) = (sum as f64 / runs as f64, early as f64 / runs as f64 * 100.0);
            println!("| {stated} | {null:?} | {mean:.0} | {early:.1} % |");
            if mean < stated {
                short.push(format!("{null:?} at {stated}: {mean:.0}"));
            }
        }
    }
    if short.is_empty() {
        Ok(())
    } else {
        Err(format!("shorter than stated: {}", short.join(", ")).into())
    }
}
