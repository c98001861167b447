//! How long tables of keys take to build and to look at, and how even they are.
//! `cargo run --release -p evenkeel-balance --example table_cost`. Prints CPU times, so that what else the machine does
//! counts little; asserts none.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a measurement: it asks the system and prints"
)]

use evenkeel_balance::{KeyTable, Member, digest};
use evenkeel_model::config::Algorithm;
use evenkeel_model::ids::Name;

const LOOKS: u64 = 2_000_000;

fn main() {
    println!("algorithm   backends   places   build ms   owner ns   largest part / weight");
    for algorithm in [
        Algorithm::RingHash,
        Algorithm::Maglev,
        Algorithm::Rendezvous,
    ] {
        for count in [3, 100, 1_000, 10_000] {
            let member = |i| Member {
                name: Name::new(&format!("web-{i}")).unwrap(),
                weight: 1,
                eligible: true,
            };
            let members: Vec<Member> = (0..count).map(member).collect();
            let from = cpu_ns();
            let table = KeyTable::of(algorithm, &members).unwrap();
            let built = cpu_ns() - from;
            let from = cpu_ns();
            let mut sum = 0;
            for n in 0..LOOKS {
                sum += table.owner(digest::key(&n.to_le_bytes())).unwrap();
            }
            let looked = cpu_ns() - from;
            let most = table.parts().into_iter().fold(0.0, f64::max) * f64::from(count);
            println!(
                "{:<11} {count:>8} {:>8} {:>10.1} {:>10.1}   {most:.3}   ({})",
                algorithm.as_str(),
                table.places(),
                built as f64 / 1e6,
                looked as f64 / LOOKS as f64,
                sum % 10
            );
        }
    }
}

/// CPU time of this process as the kernel books it.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}
